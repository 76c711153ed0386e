"""Lhotse cuts from manifests: one cut an utterance, times relative to it, checked and written as a whole.

What the corpora have in common.  Every problem of the data is collected and reported with its
utterance id; nothing is left out silently.
"""

import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import (
    CutSet,
    MonoCut,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
)
from lhotse.qa import validate
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment.formats import read_manifest, text_tier
from espnet_ottc.alignment.formats.manifests import item_of, json_lines
from espnet_ottc.alignment.formats.shar import shar_part
from espnet_ottc.utils.encodings import no_utf8
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

# Alignments are made in frames of 10 ms: their last time may lie a frame behind the samples' end.
_TIME_TOLERANCE = 0.02
_BATCH = 256
# What was found in a part of a set.
AUDIO_PROBLEMS = "problems.jsonl"


class Problem(NamedTuple):
    """Something wrong with one utterance, or with the file or set that `where` names."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def encoding_problems(path: Path) -> Iterator[Problem]:
    """That a text of a corpus is no UTF-8, with its line: Lhotse's recipes read nothing else."""
    fault = no_utf8(path)
    if fault is not None:
        line, byte = fault
        yield Problem(f"{path}:{line}", f"must be UTF-8 text, got the byte 0x{byte:02X}")


class CorpusError(ValueError):
    """The problems of a corpus, all of them; the message has a line for each."""

    def __init__(self, corpus: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"{corpus} has {len(problems)} problem(s):", *map(str, problems)]
        super().__init__("\n  ".join(lines))


@dataclass(frozen=True)
class PartSummary:
    """One part's manifests.

    Attributes:
        part: of the corpus.
        utterances: how many.
        aligned: how many of them have times of their text.
        hours: of utterances.
        notes: what was amended or left out, and why.
    """

    part: str
    utterances: int
    aligned: int
    hours: float
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class CutsSummary:
    """What `write_cuts` wrote: counts, hours, and the alignments it dropped."""

    cuts: int
    hours: float
    aligned: int
    dropped_alignments: tuple[Problem, ...]


def cut_of(recording: Recording, supervision: SupervisionSegment) -> MonoCut:
    """The cut of one utterance, named after it; its word times count from the cut's start.

    Lhotse shifts a supervision but leaves the times of its alignment relative to the recording
    (`SupervisionSegment.with_offset`, 1.33): both are shifted here.  Items without a symbol
    (silences) are left out: the words of the cut are those of its text.
    """
    start = supervision.start
    alignment = None
    if supervision.alignment:
        alignment = {
            kind: [
                item._replace(start=round(item.start - start, 8)) for item in items if item.symbol
            ]
            for kind, items in supervision.alignment.items()
        }
    return MonoCut(
        id=supervision.id,
        start=start,
        duration=supervision.duration,
        channel=supervision.channel,
        supervisions=[replace(supervision, start=0.0, alignment=alignment)],
        recording=recording,
    )


def part_paths(directory: Path, prefix: str, part: str) -> dict[str, Path]:
    """Where the manifests of a part lie: keys `recordings`, `supervisions` and `notes`."""
    endings = {"recordings": "jsonl.gz", "supervisions": "jsonl.gz", "notes": "txt"}
    return {
        kind: directory / f"{prefix}_{kind}_{part}.{ending}" for kind, ending in endings.items()
    }


def write_part(
    part: str,
    paths: Mapping[str, Path],
    recordings: Iterable[Recording],
    supervisions: Sequence[SupervisionSegment],
    notes: Sequence[Problem],
) -> PartSummary:
    """Write the manifests of a part, sorted by id, and a line for each note.

    Args:
        part: its name.
        paths: `part_paths`; an earlier run's files are replaced.
        recordings: of the part.
        supervisions: its utterances.
        notes: what was amended or left out, and why.
    """
    with written_aside(paths["recordings"]) as partial:
        RecordingSet.from_recordings(sorted(recordings, key=_id)).to_file(partial)
    with written_aside(paths["supervisions"]) as partial:
        SupervisionSet.from_segments(sorted(supervisions, key=_id)).to_file(partial)
    with written_aside(paths["notes"]) as partial:
        partial.write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")
    return PartSummary(
        part=part,
        utterances=len(supervisions),
        aligned=sum(bool(item.alignment) for item in supervisions),
        hours=sum(item.duration for item in supervisions) / 3600,
        notes=tuple(notes),
    )


def _id(entry: Recording | SupervisionSegment) -> str:
    name: str = entry.id
    return name


def check_prepared(paths: Iterable[Mapping[str, Path]]) -> None:
    """Raise FileNotFoundError with the names of all `paths` of parts that are not there."""
    missing = [str(path) for part in paths for path in part.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"manifests must be prepared first, there is no {missing}")


def matched_manifests(paths: Sequence[Mapping[str, Path]]) -> Iterator[MonoCut]:
    """The cuts of parts with one recording an utterance, as a stream.

    Args:
        paths: of each part, those of `recordings` and `supervisions`, both sorted alike.

    Raises:
        FileNotFoundError: there is no such file, at the call.
        ValueError: a recording that is not the utterance's.
    """
    check_prepared(paths)
    return _matched(paths)


def _matched(paths: Sequence[Mapping[str, Path]]) -> Iterator[MonoCut]:
    for pair in paths:
        recordings = read_manifest(pair["recordings"], "recordings")
        supervisions = read_manifest(pair["supervisions"], "supervisions")
        for recording, supervision in zip(recordings, supervisions, strict=True):
            if recording.id != supervision.recording_id:
                raise ValueError(
                    f"{supervision.id}: manifests must have one recording an utterance, in the "
                    f"same order; got the recording {recording.id}"
                )
            yield cut_of(recording, supervision)


def text_problems(cut: MonoCut) -> list[Problem]:
    """What is wrong with the cut as a manifest, and with its text."""
    problems = []
    try:
        validate(cut)
    except AssertionError as fault:
        problems.append(Problem(cut.id, str(fault)))
    if not (cut.supervisions[0].text or "").strip():
        problems.append(Problem(cut.id, "must have text, got none"))
    return problems


def alignment_problems(cut: MonoCut) -> list[Problem]:
    """What is wrong with the times of the text; nothing where the cut has none."""
    supervision = cut.supervisions[0]
    tier = text_tier(supervision)
    if supervision.alignment is None or tier is None:
        return []
    items: list[AlignmentItem] = supervision.alignment[tier]
    words = (supervision.text or "").split()
    aligned = [item.symbol for item in items]
    if aligned != words:
        return [
            Problem(
                cut.id, f"alignment must have the words of the text: {_difference(words, aligned)}"
            )
        ]
    now = 0.0
    for number, item in enumerate(items):
        inside = now - 1e-6 <= item.start and item.end <= cut.duration + _TIME_TOLERANCE
        if not (inside and item.duration > 0 and math.isfinite(item.end)):
            rule = f"must be in order, not empty and within [0, {cut.duration}] s"
            got = f"[{item.start}, {item.end}) after {now}"
            return [
                Problem(cut.id, f"alignment of word {number} ({item.symbol}) {rule}, got {got}")
            ]
        now = item.end
    return []


def audio_problems(cut: MonoCut) -> list[Problem]:
    """What is wrong with the samples; they are read and decoded."""
    # Whatever a decoder raises is the same to the reader: this file cannot be read.
    try:
        samples = cut.load_audio()
    except Exception as fault:
        reason = " ".join(str(fault).split())[:300]
        return [Problem(cut.id, f"audio must be readable, got {type(fault).__name__}: {reason}")]
    if samples is None or samples.shape[1] != cut.num_samples:
        got = None if samples is None else samples.shape[1]
        return [Problem(cut.id, f"audio must have {cut.num_samples} samples, got {got}")]
    if not math.isfinite(float(samples.sum())):
        return [Problem(cut.id, "audio must have numbers for samples, got NaN or infinite ones")]
    return []


def write_cuts(
    cuts: Iterable[MonoCut],
    out: Path,
    *,
    nj: int = 1,
    decode: bool = True,
    drop_bad_alignments: bool = False,
    check_audio: Callable[[Path, int], Iterable[Problem]] | None = None,
) -> CutsSummary:
    """Check cuts and write `out/cuts.jsonl.gz` and `out/text` (`<id> <text>`).

    Args:
        cuts: one cut an utterance, as `cut_of` makes them; read as a stream.
        out: the directory of the set; its name is the set's in messages.
        nj: threads that read audio.
        decode: read and decode all audio.
        drop_bad_alignments: keep an utterance whose alignment is wrong, without its alignment.
        check_audio: checks the audio of a manifest of so many cuts; None: `audio_problems_of` does.

    Raises:
        CorpusError: with every problem of the set.  No file is written or replaced.

    A process that is killed between the two may leave a new text beside older cuts: the stage's mark, which
    comes last, says that both are done.
    """
    problems: list[Problem] = []
    dropped: list[Problem] = []
    count = aligned = 0
    seconds = 0.0
    out.mkdir(parents=True, exist_ok=True)
    with (
        written_aside(out / "cuts.jsonl.gz") as cuts_path,
        written_aside(out / "text") as text_path,
    ):
        with (
            CutSet.open_writer(cuts_path) as writer,
            open(text_path, "w", encoding="utf-8") as text,
            progress(title=f"cuts of {out.name}", unit="cut") as bar,
            contextlib.closing(_Names()) as names,
        ):
            for cut in cuts:
                bar.update()
                problems += text_problems(cut)
                if not names.add(cut.id):
                    problems.append(Problem(cut.id, "must occur once in a set, got it twice"))
                bad_alignment = alignment_problems(cut)
                if drop_bad_alignments and bad_alignment:
                    dropped += bad_alignment
                    cut = replace(cut, supervisions=[replace(cut.supervisions[0], alignment=None)])
                else:
                    problems += bad_alignment
                # Also what has problems: its audio is to be checked, too.
                writer.write(cut)
                text.write(f"{cut.id} {cut.supervisions[0].text}\n")
                count += 1
                aligned += bool(cut.supervisions[0].alignment)
                seconds += cut.duration
        if not count:
            problems.append(Problem(out.name, "must have utterances, got none"))
        elif decode:
            check = check_audio or (lambda path, _: audio_problems_of(path, nj=nj))
            problems += check(cuts_path, count)
        if problems:
            raise CorpusError(f"set {out.name}", problems)
    return CutsSummary(count, seconds / 3600, aligned, tuple(dropped))


def audio_problems_of(
    path: Path,
    *,
    nj: int = 1,
    shar: str | None = None,
    first: int = 0,
    stop: int | None = None,
    done: Callable[[int], object] | None = None,
) -> Iterator[Problem]:
    """What is wrong with the audio of a manifest's cuts; all of it is read and decoded.

    Args:
        path: of cuts, as JSON lines.
        nj: threads.
        shar: folder or URL of Lhotse Shar, which has the audio; None: where the manifest says.
        first: place of the first cut.
        stop: place after the last; None: all from there on.
        done: called with how many cuts have been checked since the last time.

    Raises:
        ValueError: a stream that is damaged, or has other cuts than the manifest.
    """
    lines = islice(json_lines(path), first, stop)
    cuts: Iterator[Any] = (item_of(content, f"{path}, line {n}") for n, content in lines)
    if shar is not None:
        cuts = shar_part(shar, cuts, first, stop)
    with ThreadPoolExecutor(nj) as threads:
        # In batches, since `map` would read the whole stream ahead of its results.
        while batch := list(islice(cuts, _BATCH)):
            yield from chain.from_iterable(threads.map(audio_problems, batch))
            if done is not None:
                done(len(batch))


class _Names:
    """Names that were seen; millions of them lie on the disk."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("")
        self._connection.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: str) -> bool:
        """Whether it is new."""
        statement = "INSERT OR IGNORE INTO names VALUES (?)"
        return self._connection.execute(statement, (name,)).rowcount == 1

    def close(self) -> None:
        self._connection.close()


def _difference(words: Sequence[str], aligned: Sequence[str]) -> str:
    if len(words) != len(aligned):
        return f"{len(words)} words expected, got {len(aligned)}"
    number = next(
        i for i, pair in enumerate(zip(words, aligned, strict=True)) if len(set(pair)) > 1
    )
    return f"word {number} must be {words[number]!r}, got {aligned[number]!r}"
