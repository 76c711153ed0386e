"""AMI's headset recordings, and whatever lies in its layout: directory -> manifests -> cuts.

The manifests are those of Lhotse's own `prepare_ami`: AMI's official division for recognition
(`full-corpus-asr`), a sentence an utterance, text normalised as in Kaldi's recipe.  They are amended
where they do not agree with the corpus's annotation (`ami_annotation`); each amendment is named.
"""

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from itertools import accumulate
from pathlib import Path

import soundfile
from lhotse import (
    MonoCut,
    Recording,
    SupervisionSegment,
)
from lhotse.recipes import prepare_ami
from lhotse.recipes.ami import PARTITIONS
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment.formats import read_manifest
from espnet_ottc.corpora.ami_annotation import (
    NORMALISATION,
    Participant,
    SaidWord,
    read_participants,
)
from espnet_ottc.corpora.links import with_own_paths, without_linked_folders
from espnet_ottc.corpora.manifests import (
    CorpusError,
    PartSummary,
    Problem,
    alignment_problems,
    check_prepared,
    cut_of,
    part_paths,
    write_part,
)
from espnet_ottc.utils.files import files_below

SAMPLING_RATE = 16000
ANNOTATIONS = "ami_public_manual_1.6.2"
PREFIX = "ami-ihm"  # Lhotse's name
PARTITION = "full-corpus-asr"
KNOWN_PARTS: tuple[str, ...] = ("train", "dev", "test")
# Lhotse rounds starts to 0.1 ms and durations to a sample: neighbours may overlap by so much.
_ROUNDING = 2e-4
# Words in a note.
_SHOWN = 10


def present_parts(corpus: Path) -> tuple[str, ...]:
    """The parts of the official division; a corpus must have meetings of each.

    Raises:
        FileNotFoundError: no such directory, or no meeting of one of the parts.
    """
    find_headsets(corpus)
    return KNOWN_PARTS


def inputs(corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
    """What the manifests of some parts are made of: Lhotse reads the whole corpus for any."""
    return (corpus,)


def prepare_parts(
    corpus: Path,
    parts: Sequence[str],
    out: Path,
    *,
    alignments: Path | None = None,
    nj: int = 1,
) -> Iterator[PartSummary]:
    """Write `ami-ihm_{recordings,supervisions}_<part>.jsonl.gz` to `out`, sorted by id.

    `ami-ihm_notes_<part>.txt` beside them has a line for whatever was amended or is lacking.

    Args:
        corpus: the directory that contains `ami_public_manual_1.6.2` and, anywhere below it,
            `<meeting>/audio/<meeting>.Headset-<number>.wav`.
        parts: of `KNOWN_PARTS`.
        out: where the manifests go; those of an earlier run are replaced.
        alignments: None, since the word times are in the annotation.
        nj: of no effect: Lhotse reads AMI in one process.

    Raises:
        FileNotFoundError: no annotation, or no meeting of one of the parts.
        ValueError: alignments, or a part that there is not.
        CorpusError: with every fault of the files: audio that is not at 16 kHz, headsets that are
            not numbered from 0 (Lhotse would give them each other's words), XML that cannot be
            read.
    """
    if alignments is not None:
        raise ValueError(f"AMI's word times are in its annotation, got {alignments}")
    if not set(parts) <= set(KNOWN_PARTS):
        raise ValueError(f"AMI has the parts {', '.join(KNOWN_PARTS)}, got {', '.join(parts)}")
    # Absolute, since the manifests are read from other directories later.
    corpus = corpus.absolute()
    headsets = find_headsets(corpus)
    annotations = _annotations(corpus)
    participants, problems = read_participants(annotations)
    problems += [fault for name in sorted(headsets) for fault in _faults(name, headsets[name])]
    if problems:
        raise CorpusError(str(corpus), problems)
    # Its bars are for a terminal.
    with (
        contextlib.nullcontext()
        if sys.stderr.isatty()
        else contextlib.redirect_stderr(io.StringIO()),
        without_linked_folders(corpus) as tree,
    ):
        manifests = prepare_ami(
            tree, annotations, mic="ihm", partition=PARTITION, normalize_text=NORMALISATION
        )
        for of_part in manifests.values():
            of_part["recordings"] = with_own_paths(of_part["recordings"], tree, corpus)
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        yield _write_part(
            out,
            part,
            list(manifests[part]["recordings"]),
            manifests[part]["supervisions"],
            {name: paths for name, paths in headsets.items() if name in _meetings(part)},
            participants,
        )


def manifest_paths(directory: Path, part: str) -> dict[str, Path]:
    """Where the manifests of a part lie: keys `recordings`, `supervisions` and `notes`."""
    return part_paths(directory, PREFIX, part)


def cuts_of(manifests: Path, parts: Sequence[str]) -> Iterator[MonoCut]:
    """The cuts of some parts, as a stream: each is a stretch of one headset's recording.

    Raises:
        FileNotFoundError: a part has no manifests, at the call.
    """
    paths = [manifest_paths(manifests, part) for part in parts]
    check_prepared(paths)
    return _stream(paths)


def find_headsets(corpus: Path) -> dict[str, list[Path]]:
    """The headset recordings of the official meetings that `corpus` has, by meeting.

    Raises:
        FileNotFoundError: no such directory, or no meeting of one of the parts.
    """
    if not corpus.is_dir():
        raise FileNotFoundError(f"the corpus must be a directory, got {corpus}")
    found: dict[str, list[Path]] = defaultdict(list)
    # Where Lhotse looks, and what it takes for the meeting.
    headsets = (path for path in files_below(corpus) if fnmatch(path.name, "*Headset-?.wav"))
    for path in sorted(headsets):
        found[path.parts[-3]].append(path)
    for part in KNOWN_PARTS:
        if not found.keys() & _meetings(part):
            raise FileNotFoundError(
                f"{corpus} must have <meeting>/audio/<meeting>.Headset-<number>.wav of a meeting "
                f"of {part}, as {min(_meetings(part))}; got none"
            )
    official = set().union(*map(_meetings, KNOWN_PARTS))
    return {name: paths for name, paths in found.items() if name in official}


def amend(
    item: SupervisionSegment, participant: Participant
) -> tuple[SupervisionSegment | None, list[Problem]]:
    """One utterance as it is to be used, and notes on what was changed.

    * Without text, as laughter alone, it is left out: None.
    * A word that the annotation gives no time or no duration is missing from Lhotse's text.  It is
      put back, since it is heard, and the utterance has no word times.
    * Where one timed item is several words, as FORTY FIVE, its time is divided by their letters.
    * A start that is rounded to before the end of the word before is that end.
    """
    words = (item.text or "").split()
    if not words:
        return None, [Problem(item.id, "has no text: left out")]
    said = participant.said(item.start, item.end)
    if [w for word in said if word.has_time for w in word.text.split()] != words:
        heard = " ".join(word.text for word in said)
        return _timed(item, [Problem(item.id, f"other segments overlap it, and say {heard!r}")])
    untimed = [word.text for word in said if not word.has_time]
    if untimed:
        note = f"has words without duration, {untimed}: put into the text, no word times"
        text = " ".join(word.text for word in said)
        return replace(item, text=text, alignment=None), [Problem(item.id, note)]
    return _timed(item, [])


def _timed(
    item: SupervisionSegment, notes: list[Problem]
) -> tuple[SupervisionSegment, list[Problem]]:
    """The utterance with one alignment item a word, in order up to rounding."""
    items: list[AlignmentItem] = []
    now = item.start
    for annotated in (item.alignment or {}).get("word", []):
        words = annotated.symbol.split()
        if len(words) > 1:
            notes.append(Problem(item.id, f"{annotated.symbol!r} has one time: divided by letters"))
        start, end = annotated.start, annotated.end
        if now - _ROUNDING <= start < now < end:
            start = now
        letters = [0, *accumulate(map(len, words))]
        edges = [start + (end - start) * count / letters[-1] for count in letters]
        items += [
            AlignmentItem(word, left, right - left)
            for word, left, right in zip(words, edges[:-1], edges[1:], strict=True)
        ]
        now = end
    return replace(item, alignment={"word": items}), notes


def _meetings(part: str) -> set[str]:
    return set(PARTITIONS[PARTITION][part])


def _annotations(corpus: Path) -> Path:
    path = corpus / ANNOTATIONS
    if not path.is_dir():
        archive = corpus / f"{ANNOTATIONS}.zip"
        hint = f": unzip -d {path} {archive}" if archive.exists() else ""
        raise FileNotFoundError(f"the annotation must be unpacked at {path}{hint}")
    return path


def _faults(meeting: str, headsets: Sequence[Path]) -> Iterator[Problem]:
    """What would stop Lhotse's recipe, or make it go wrong silently."""
    names = [path.name for path in headsets]
    expected = [f"{meeting}.Headset-{number}.wav" for number in range(len(names))]
    if names != expected:
        yield Problem(
            meeting,
            "headsets must be numbered from 0 without a gap, since Lhotse takes their order for "
            f"their number and would shift the speakers; got {', '.join(names)}",
        )
    for path in headsets:
        try:
            header = soundfile.info(path)
        except (OSError, soundfile.SoundFileError) as fault:
            yield Problem(path.name, f"must be readable WAV, got {fault}")
            continue
        if header.samplerate != SAMPLING_RATE or header.frames < 1:
            yield Problem(
                path.name,
                f"must have samples at {SAMPLING_RATE} Hz, got {header.frames} samples at "
                f"{header.samplerate} Hz",
            )


def _write_part(
    out: Path,
    part: str,
    recordings: Sequence[Recording],
    supervisions: Iterable[SupervisionSegment],
    headsets: Mapping[str, Sequence[Path]],
    participants: Sequence[Participant],
) -> PartSummary:
    by_channel = {(one.meeting, one.channel): one for one in participants}
    whole = {one.id: _of_shortest(one, headsets[one.id]) for one in recordings}
    ends = {name: recording.duration for name, recording in whole.items()}
    notes = list(_meeting_notes(headsets, by_channel, ends))
    kept = []
    for item in supervisions:
        # Named by its speaker's words: Lhotse knows of one headset's length alone.
        if item.end > ends[item.recording_id]:
            continue
        amended, more = amend(item, by_channel[item.recording_id, item.channel])
        notes += more
        if amended is None:
            continue
        if faults := alignment_problems(cut_of(whole[item.recording_id], amended)):
            notes += [Problem(one.where, f"{one.message}: no word times") for one in faults]
            amended = replace(amended, alignment=None)
        kept.append(amended)
    return write_part(part, manifest_paths(out, part), whole.values(), kept, notes)


def _of_shortest(recording: Recording, headsets: Sequence[Path]) -> Recording:
    """The recording, as long as its shortest headset; Lhotse has the length of any of them."""
    samples = min(soundfile.info(path).frames for path in headsets)
    return replace(recording, num_samples=samples, duration=samples / SAMPLING_RATE)


def why_left_out(headsets: Sequence[Path]) -> str:
    """Why Lhotse leaves out a meeting with these headsets, as far as they tell."""
    headers = {path.name: soundfile.info(path) for path in headsets}
    if stereo := [name for name, header in headers.items() if header.channels > 1]:
        return f"{', '.join(stereo)} must have one channel"
    seconds = {name: header.frames / header.samplerate for name, header in headers.items()}
    shortest = min(seconds, key=lambda name: seconds[name])
    if max(seconds.values()) - seconds[shortest] > 1.0:
        return (
            f"{shortest} lasts {seconds[shortest]:.1f} s, and other headsets up to "
            f"{max(seconds.values()):.1f} s"
        )
    return "no words are annotated"


def _meeting_notes(
    headsets: Mapping[str, Sequence[Path]],
    by_channel: Mapping[tuple[str, int], Participant],
    ends: Mapping[str, float],
) -> Iterator[Problem]:
    """Recordings and words of which nothing comes into the manifests."""
    for meeting, paths in sorted(headsets.items()):
        if meeting not in ends:
            yield Problem(meeting, f"left out by Lhotse: {why_left_out(paths)}")
            continue
        for channel, path in enumerate(paths):
            if (meeting, channel) not in by_channel:
                yield Problem(path.name, "nobody's words are annotated")
    for (meeting, channel), one in by_channel.items():
        if meeting not in ends:
            continue
        where = f"{meeting}.{one.agent}"
        if channel >= len(headsets[meeting]):
            yield Problem(where, f"there is no Headset-{channel}: all words are left out")
            continue
        if outside := one.outside():
            yield Problem(where, f"in no segment, left out: {_some(outside)}")
        if late := [word for word in one.words if word.end > ends[meeting]]:
            yield Problem(where, f"after the recording's end, left out: {_some(late)}")


def _some(words: Sequence[SaidWord]) -> str:
    shown = " ".join(word.text for word in words[:_SHOWN])
    return f"{len(words)} word(s), {shown}{' ...' if len(words) > _SHOWN else ''}"


def _stream(paths: Sequence[dict[str, Path]]) -> Iterator[MonoCut]:
    for group in paths:
        recordings = {one.id: one for one in read_manifest(group["recordings"], "recordings")}
        for supervision in read_manifest(group["supervisions"], "supervisions"):
            yield cut_of(recordings[supervision.recording_id], supervision)
