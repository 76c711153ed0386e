"""LibriSpeech, and whatever lies in its layout: directory -> Lhotse manifests -> cuts.

The manifests are made by Lhotse's own `prepare_librispeech`.  It stops at the first fault without
saying where, and skips audio that has no transcript: the files are therefore checked before.
"""

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile
from lhotse import MonoCut
from lhotse.recipes import prepare_librispeech
from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH

from espnet_ottc.corpora.links import with_own_paths, without_linked_folders
from espnet_ottc.corpora.manifests import (
    CorpusError,
    PartSummary,
    Problem,
    encoding_problems,
    matched_manifests,
)
from espnet_ottc.utils.files import files_below, written_aside

SAMPLING_RATE = 16000
PREFIX = "librispeech"
KNOWN_PARTS = (*LIBRISPEECH, *MINI_LIBRISPEECH)


def present_parts(corpus: Path) -> tuple[str, ...]:
    """The parts of LibriSpeech and Mini LibriSpeech that `corpus` has.

    Raises:
        FileNotFoundError: no such directory, or none of the parts in it.
    """
    if not corpus.is_dir():
        raise FileNotFoundError(f"the corpus must be a directory, got {corpus}")
    parts = tuple(part for part in KNOWN_PARTS if (corpus / part).is_dir())
    if not parts:
        raise FileNotFoundError(
            f"{corpus} must contain parts of LibriSpeech ({', '.join(KNOWN_PARTS)}), got none"
        )
    return parts


def prepare_parts(
    corpus: Path,
    parts: Sequence[str],
    out: Path,
    *,
    alignments: Path | None = None,
    nj: int = 1,
) -> Iterator[PartSummary]:
    """Prepare parts one after the other (see `prepare_part`).

    Raises:
        FileNotFoundError: a part is absent.
    """
    check_present(corpus, parts)
    for part in parts:
        yield prepare_part(corpus, part, out, alignments=alignments, nj=nj)


def prepare_part(
    corpus: Path, part: str, out: Path, *, alignments: Path | None = None, nj: int = 1
) -> PartSummary:
    """Write `librispeech_{recordings,supervisions}_<part>.jsonl.gz` to `out`, sorted by id.

    Args:
        corpus: the directory that contains the parts.
        part: a directory in it; any name is accepted.
        out: where the manifests go; those of an earlier run are replaced.
        alignments: a directory of the same shape with `*.alignment.txt`; by default the alignments
            are looked for beside the transcripts.
        nj: threads.

    Raises:
        FileNotFoundError: the part is absent, or `alignments` was given and has none for it.
        CorpusError: with every problem of the part's files.
    """
    check_present(corpus, [part])
    # Absolute, since the manifests are read from other directories later.
    corpus = corpus.absolute()
    alignments = corpus if alignments is None else alignments.absolute()
    if alignments != corpus and not any(
        path.name.endswith(".alignment.txt") for path in files_below(alignments / part)
    ):
        raise FileNotFoundError(
            f"alignments of {part} must be at {alignments / part}/<speaker>/<chapter>/"
            "<speaker>-<chapter>.alignment.txt, got none"
        )
    problems = list(_file_problems(corpus / part, alignments / part))
    if problems:
        raise CorpusError(f"part {part}", problems)
    # Its bars are for a terminal; without an output directory it caches nothing stale.
    with (
        contextlib.nullcontext()
        if sys.stderr.isatty()
        else contextlib.redirect_stderr(io.StringIO()),
        without_linked_folders(corpus, [part]) as tree,
    ):
        manifests = prepare_librispeech(
            tree, alignments_dir=alignments, dataset_parts=[part], num_jobs=nj
        )[part]
        manifests["recordings"] = with_own_paths(manifests["recordings"], tree, corpus)
    out.mkdir(parents=True, exist_ok=True)
    supervisions = manifests["supervisions"]
    for kind, path in manifest_paths(out, part).items():
        entries = sorted(manifests[kind], key=lambda entry: entry.id)
        with written_aside(path) as partial:
            type(manifests[kind]).from_items(entries).to_file(partial)
    return PartSummary(
        part=part,
        utterances=len(supervisions),
        aligned=sum(bool(item.alignment) for item in supervisions),
        hours=sum(item.duration for item in supervisions) / 3600,
    )


def inputs(corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
    """What the manifests of some parts are made of."""
    return tuple(corpus / part for part in parts)


def check_present(corpus: Path, parts: Sequence[str]) -> None:
    """Raise FileNotFoundError with the names of all `parts` that `corpus` lacks."""
    absent = [part for part in parts if not (corpus / part).is_dir()]
    if absent:
        there = ", ".join(present_parts(corpus))
        raise FileNotFoundError(f"{corpus} lacks the part(s) {', '.join(absent)}; it has {there}")


def manifest_paths(directory: Path, part: str) -> dict[str, Path]:
    """Where the manifests of a part lie: keys `recordings` and `supervisions`."""
    return {
        kind: directory / f"{PREFIX}_{kind}_{part}.jsonl.gz"
        for kind in ("recordings", "supervisions")
    }


def cuts_of(manifests: Path, parts: Sequence[str]) -> Iterator[MonoCut]:
    """The cuts of some parts, as a stream.

    Raises:
        FileNotFoundError: a part has no manifests, at the call.
    """
    return matched_manifests([manifest_paths(manifests, part) for part in parts])


def _file_problems(part: Path, alignments: Path) -> Iterator[Problem]:
    """Faults of transcripts, audio headers and alignment files of one part."""
    files = sorted(files_below(part))
    transcripts = [path for path in files if path.name.endswith(".trans.txt")]
    if not transcripts:
        yield Problem(part.name, "must contain */*.trans.txt, got none")
    seen: set[str] = set()
    for path in transcripts:
        yield from _transcript_problems(path, part, seen)
        stem = path.name.removesuffix(".trans.txt")
        lines = alignments / path.parent.relative_to(part) / f"{stem}.alignment.txt"
        if lines.exists():
            yield from _alignment_problems(lines)
    for path in files:
        if path.suffix == ".flac" and path.stem not in seen:
            yield Problem(path.stem, f"must have text in a *.trans.txt of {path.parent}, got none")


def _transcript_problems(path: Path, part: Path, seen: set[str]) -> Iterator[Problem]:
    """Faults of one transcript and of the audio it names; its ids are added to `seen`."""
    yield from encoding_problems(path)
    for number, line in enumerate(_lines(path), 1):
        fields = line.split(maxsplit=1)
        if not fields:
            yield Problem(f"{path}:{number}", "must be '<id> <TEXT>', got an empty line")
            continue
        name = fields[0]
        if len(fields) < 2:
            yield Problem(name, f"must have text in {path}, got the id alone")
        if name in seen:
            yield Problem(name, f"must occur once in the transcripts, got it again in {path}")
            continue
        seen.add(name)
        yield from _audio_problems(name, part / Path(*name.split("-")[:-1]) / f"{name}.flac")


def _audio_problems(name: str, path: Path) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(name, f"must have audio at {path}, got no such file")
        return
    try:
        header = soundfile.info(path)
    except (OSError, soundfile.SoundFileError) as fault:
        yield Problem(name, f"must be readable FLAC, got {fault}")
        return
    got = (header.samplerate, header.channels)
    if got != (SAMPLING_RATE, 1) or header.frames < 1:
        yield Problem(
            name,
            f"{path} must have samples at {SAMPLING_RATE} Hz in one channel, got {header.frames} "
            f"samples at {got[0]} Hz in {got[1]}",
        )


def _alignment_problems(path: Path) -> Iterator[Problem]:
    yield from encoding_problems(path)
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if len(fields) != 3:
            where = fields[0] if fields else f"{path}:{number}"
            yield Problem(where, f"alignment must have 3 fields in {path}, got {len(fields)}")
            continue
        name, words, times = (field.replace('"', "") for field in fields)
        counts = len(words.split(",")), len(times.split(","))
        try:
            [float(time) for time in times.split(",")]
        except ValueError as fault:
            yield Problem(name, f"alignment must have times in seconds in {path}: {fault}")
            continue
        if counts[0] != counts[1]:
            yield Problem(
                name,
                f"alignment must have a time for each word in {path}, got {counts[0]} words and "
                f"{counts[1]} times",
            )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
