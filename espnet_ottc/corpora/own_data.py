"""Data of one's own: a Kaldi data directory, Lhotse cuts, or a folder of audio with texts beside it.

The data may come divided: three folders `train`, `dev` and `test` (or manifests `train.jsonl.gz` ...), each
of one of these kinds.  Otherwise they are divided by speaker (`espnet_ottc.corpora.splits`).  An utterance
that cannot be used is left out and named, with the reason, in `own_notes_<part>.txt`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse import MonoCut

from espnet_ottc.alignment.formats import read_manifest
from espnet_ottc.corpora.manifests import (
    CorpusError,
    PartSummary,
    Problem,
    check_prepared,
    cut_of,
    part_paths,
    write_part,
)
from espnet_ottc.corpora.own_formats import Collected, read_cuts, read_folder, read_kaldi
from espnet_ottc.corpora.splits import PARTS, split_by_speaker

PREFIX = "own"
KNOWN_PARTS: tuple[str, ...] = PARTS
# Other names of the parts that a division may have.
_ALSO = {"dev": ("valid", "validation", "development"), "train": ("training",), "test": ("eval",)}
_MANIFESTS = (".jsonl.gz", ".jsonl")


def present_parts(corpus: Path) -> tuple[str, ...]:
    """The parts: always all three, since data without a division are divided.

    Raises:
        FileNotFoundError: nothing at `corpus`.
        ValueError: a division that lacks a part.
    """
    _division(corpus)
    return PARTS


def inputs(corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
    """What the manifests of some parts are made of."""
    return (corpus,)


def prepare_parts(
    corpus: Path,
    parts: Sequence[str],
    out: Path,
    *,
    alignments: Path | None = None,
    nj: int = 1,
) -> Iterator[PartSummary]:
    """Write `own_{recordings,supervisions}_<part>.jsonl.gz` and `own_notes_<part>.txt` to `out`.

    Args:
        corpus: a manifest of cuts, a Kaldi data directory, a folder, or a division into three of them.
        parts: of `KNOWN_PARTS`.
        out: where the manifests go; those of an earlier run are replaced.
        alignments: None, since times stand in the data: `ctm`, TextGrids, the cuts' own.
        nj: of no effect; only headers of audio are read.

    Raises:
        FileNotFoundError: nothing at `corpus`.
        ValueError: alignments, a division that lacks a part, too few utterances to divide.
        CorpusError: not one utterance of a part can be used; it has the reason for each.
    """
    if alignments is not None:
        raise ValueError(f"times stand in the data (ctm, TextGrids, cuts), got {alignments}")
    corpus = corpus.absolute()
    division = _division(corpus)
    if division is None:
        found = _checked(corpus, _read(corpus))
        divided, kept_together = split_by_speaker(found.supervisions)
        note = Problem(corpus.name, f"divided into {', '.join(PARTS)} by {kept_together}")
        by_part = {part: (found, divided[part], [note, *found.notes]) for part in PARTS}
    else:
        read = {part: _checked(path, _read(path)) for part, path in division.items()}
        by_part = {part: (one, one.supervisions, one.notes) for part, one in read.items()}
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        source, supervisions, notes = by_part[part]
        names = {one.recording_id for one in supervisions}
        recordings = [one for name, one in source.recordings.items() if name in names]
        yield write_part(part, manifest_paths(out, part), recordings, supervisions, notes)


def manifest_paths(directory: Path, part: str) -> dict[str, Path]:
    """Where the manifests of a part lie: keys `recordings`, `supervisions` and `notes`."""
    return part_paths(directory, PREFIX, part)


def cuts_of(manifests: Path, parts: Sequence[str]) -> Iterator[MonoCut]:
    """The cuts of some parts, as a stream.

    Raises:
        FileNotFoundError: a part has no manifests, at the call.
    """
    paths = [manifest_paths(manifests, part) for part in parts]
    check_prepared(paths)
    return _stream(paths)


def _stream(paths: Sequence[dict[str, Path]]) -> Iterator[MonoCut]:
    for group in paths:
        recordings = {one.id: one for one in read_manifest(group["recordings"], "recordings")}
        for supervision in read_manifest(group["supervisions"], "supervisions"):
            yield cut_of(recordings[supervision.recording_id], supervision)


def _division(corpus: Path) -> dict[str, Path] | None:
    """The place of each part; None for data without a division."""
    if not corpus.exists():
        raise FileNotFoundError(f"--data: there is no {corpus}")
    if not corpus.is_dir() or (corpus / "wav.scp").exists():
        return None
    places = {}
    for part in PARTS:
        names = (part, *_ALSO[part])
        candidates = [corpus / f"{name}{ending}" for name in names for ending in ("", *_MANIFESTS)]
        there = [path for path in candidates if path.exists()]
        if len(there) > 1:
            raise ValueError(
                f"{corpus} has several places for {part}: {', '.join(map(str, there))}"
            )
        if there:
            places[part] = there[0]
    # A folder `test` alone may well be a speaker's.
    if "train" not in places:
        return None
    missing = [part for part in PARTS if part not in places]
    if missing:
        raise ValueError(
            f"{corpus} has {places['train'].name}, so it must have {' and '.join(missing)} too: a folder "
            "or a manifest each; or put everything into one folder to have it divided"
        )
    return places


def _read(path: Path) -> Collected:
    if path.is_file():
        if not path.name.endswith(_MANIFESTS):
            raise ValueError(
                f"--data: a file must be a manifest of Lhotse cuts (*{' or *'.join(_MANIFESTS)}), got {path}"
            )
        return read_cuts(path)
    return read_kaldi(path) if (path / "wav.scp").exists() else read_folder(path)


def _checked(path: Path, found: Collected) -> Collected:
    if not found.supervisions:
        empty = Problem(str(path), "must have audio with text, got none that can be used")
        raise CorpusError(str(path), [empty, *found.notes])
    return found
