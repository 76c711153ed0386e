"""TIMIT, and whatever lies in its layout: directory -> manifests -> cuts, with phones as text.

The parts are those of Lhotse's `prepare_timit`: training speakers, the 50 development speakers and the 24
of the core test set.  That recipe finds files by their exact names below `data/`, takes the dialect sentences
SA too, drops what has no `.WRD` without a word, and fails where a part has no sentence.  Here files are found
and checked first, and Lhotse reads each sentence by itself: copies without `data/` or in lower case work, the
SA sentences are left out, and every fault is named.

An utterance's text is its phones, all 61, silence included, and the alignment `phone` has their times;
`word` has the words', and `custom["sentence"]` the prompt.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.recipes.timit import get_speakers, prepare_recording

from espnet_ottc.corpora.manifests import (
    CorpusError,
    PartSummary,
    Problem,
    alignment_problems,
    cut_of,
    encoding_problems,
    matched_manifests,
    part_paths,
    write_part,
)
from espnet_ottc.corpora.timit_phones import timit_61

SAMPLING_RATE = 16000
PREFIX = "timit"
KNOWN_PARTS: tuple[str, ...] = ("TRAIN", "DEV", "TEST")  # Lhotse's names
# Sentences that every speaker reads: they would be in training and test alike.
DIALECT = "SA"
_TIERS = (".PHN", ".WRD")
_ENDINGS = (".WAV", ".TXT", *_TIERS)

# Files of a sentence, by ending.
_Files = Mapping[str, Path]


def part_of(use: str, speaker: str) -> str | None:
    """The part that a speaker is in, as in Lhotse; None for one of the full test set alone.

    Args:
        use: TRAIN or TEST.
        speaker: sex, initials and number, as FELC0.
    """
    if use == "TRAIN":
        return "TRAIN"
    development, test = get_speakers()
    name = speaker.lower()
    return "DEV" if name in development else "TEST" if name in test else None


def present_parts(corpus: Path) -> tuple[str, ...]:
    """The parts of which the corpus has sentences.

    Raises:
        FileNotFoundError: no such directory, or no sentences in it.
    """
    found = {part for part, _, _ in _find(corpus)}
    return tuple(part for part in KNOWN_PARTS if part in found)


def inputs(corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
    """What the manifests of some parts are made of: development and test share their folders."""
    return (corpus,)


def prepare_parts(
    corpus: Path,
    parts: Sequence[str],
    out: Path,
    *,
    alignments: Path | None = None,
    nj: int = 1,
) -> Iterator[PartSummary]:
    """Write `timit_{recordings,supervisions}_<part>.jsonl.gz` to `out`, sorted by id.

    Ids are `<SPEAKER>-<SENTENCE>`.  An utterance whose phones overlap, are empty or leave the recording has
    no times; `timit_notes_<part>.txt` has a line for each.

    Args:
        corpus: the directory with `TRAIN` and `TEST`, or with `data/` that has them.
        parts: of `KNOWN_PARTS`.
        out: where the manifests go; those of an earlier run are replaced.
        alignments: None, since the times are in `.PHN` and `.WRD`.
        nj: of no effect: Lhotse reads a sentence in a millisecond.

    Raises:
        FileNotFoundError: no such directory, or none of a part's sentences in it.
        ValueError: alignments, or a part that there is not.
        CorpusError: with every fault of the files: one of a sentence's four is missing, audio that
            cannot be read or is not at 16 kHz, malformed times, a phone that is not of the 61.
    """
    if alignments is not None:
        raise ValueError(f"TIMIT's times are in its .PHN and .WRD, got {alignments}")
    if not set(parts) <= set(KNOWN_PARTS):
        raise ValueError(f"TIMIT has the parts {', '.join(KNOWN_PARTS)}, got {', '.join(parts)}")
    # Absolute, since the manifests are read from other directories later.
    sentences = [one for one in _find(corpus.absolute()) if one[0] in parts]
    absent = set(parts) - {part for part, _, _ in sentences}
    if absent:
        raise FileNotFoundError(f"{corpus} has no sentences of {', '.join(sorted(absent))}")
    problems = [fault for _, path, files in sentences for fault in _faults(path, files)]
    if problems:
        raise CorpusError(str(corpus), problems)
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        found = _read_by_lhotse((path, files) for one, path, files in sentences if one == part)
        amended = [_with_phones_as_text(*pair) for pair in found]
        yield write_part(
            part,
            manifest_paths(out, part),
            [recording for recording, _ in found],
            [item for item, _ in amended],
            [note for _, notes in amended for note in notes],
        )


def manifest_paths(directory: Path, part: str) -> dict[str, Path]:
    """Where the manifests of a part lie: keys `recordings`, `supervisions` and `notes`."""
    return part_paths(directory, PREFIX, part)


def cuts_of(manifests: Path, parts: Sequence[str]) -> Iterator[MonoCut]:
    """The cuts of some parts, as a stream.

    Raises:
        FileNotFoundError: a part has no manifests, at the call.
    """
    return matched_manifests([manifest_paths(manifests, part) for part in parts])


def _find(corpus: Path) -> list[tuple[str, Path, _Files]]:
    """(part, `TRAIN/DR1/FCJF0/SX37` in capitals, its files) of each sentence that is used, sorted."""
    if not corpus.is_dir():
        raise FileNotFoundError(f"the corpus must be a directory, got {corpus}")
    root = next((one for one in corpus.iterdir() if one.name.upper() == "DATA"), corpus)
    found: dict[Path, dict[str, Path]] = {}
    for file in root.glob("*/*/*/*"):
        path = Path(str(file.relative_to(root)).upper())
        use = path.parts[0]
        # Some copies have a second recording, as SA1.WAV.wav.
        if use in ("TRAIN", "TEST") and path.suffix in _ENDINGS and "." not in path.stem:
            found.setdefault(path.with_suffix(""), {})[path.suffix] = file
    sentences: list[tuple[str, Path, _Files]] = []
    for path, files in sorted(found.items()):
        use, _, speaker, sentence = path.parts
        part = part_of(use, speaker)
        if part is not None and not sentence.startswith(DIALECT):
            sentences.append((part, path, files))
    if not sentences:
        raise FileNotFoundError(
            f"{corpus} must have TRAIN/DR<n>/<SPEAKER>/<SENTENCE>.WAV and TEST/..., or data/ with "
            "them; got no sentence"
        )
    return sentences


def _read_by_lhotse(
    sentences: Iterable[tuple[Path, _Files]],
) -> list[tuple[Recording, SupervisionSegment]]:
    """What Lhotse makes of each sentence, in order; it reads links with the names that it knows."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for path, files in sentences:
            link = Path(folder, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            for ending, file in files.items():
                link.with_suffix(ending).symlink_to(file)
            # 60 is Lhotse's word for all 61: the phones as they stand in the file.
            recording, supervision = prepare_recording(link.with_suffix(".WAV"), 60, {})
            source = replace(recording.sources[0], source=str(files[".WAV"]))
            found.append((replace(recording, sources=[source]), supervision))
    return found


def _faults(path: Path, files: _Files) -> Iterator[Problem]:
    """What would stop Lhotse's recipe, or be dropped by it silently."""
    name = str(path)
    missing = [ending for ending in _ENDINGS if ending not in files]
    if missing:
        yield Problem(name, f"must have {' '.join(_ENDINGS)}, lacks {' '.join(missing)}")
        return
    try:
        header = soundfile.info(files[".WAV"])
    except (OSError, soundfile.SoundFileError) as fault:
        yield Problem(name, f"must be readable NIST SPHERE or WAV, got {fault}")
    else:
        if (header.samplerate, header.channels) != (SAMPLING_RATE, 1) or header.frames < 1:
            yield Problem(
                name,
                f"must have samples at {SAMPLING_RATE} Hz in one channel, got {header.frames} "
                f"samples at {header.samplerate} Hz in {header.channels}",
            )
    for ending in (".TXT", *_TIERS):
        yield from encoding_problems(files[ending])
    for ending in _TIERS:
        lines = files[ending].read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines:
            yield Problem(name + ending, "must have lines, got none")
        for number, line in enumerate(lines, 1):
            fields = line.strip().split(" ")
            where = f"{name}{ending}:{number}"
            if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
                yield Problem(where, f"must be '<start> <end> <symbol>' in samples, got {line!r}")
            elif ending == ".PHN" and fields[2] not in timit_61():
                yield Problem(where, f"must be one of TIMIT's 61 phones, got {fields[2]!r}")


def _with_phones_as_text(
    recording: Recording, item: SupervisionSegment
) -> tuple[SupervisionSegment, list[Problem]]:
    """The utterance with its phones as text; where their times are faulty without times, and why."""
    phones = " ".join(phone.symbol for phone in item.alignment["phone"])
    amended = replace(item, text=phones, custom={"sentence": item.text})
    faults = alignment_problems(cut_of(recording, amended))
    if faults:
        amended = replace(amended, alignment=None)
    return amended, [Problem(one.where, f"{one.message}: no times") for one in faults]
