"""Times from a file of any kind, going by its name."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from unicodedata import normalize

from espnet_ottc.alignment.formats.ctm import read_ctm, read_ctm_table
from espnet_ottc.alignment.formats.supervisions import SUFFIXES, read_supervisions
from espnet_ottc.alignment.formats.textgrid import read_textgrid
from espnet_ottc.alignment.outputs.json_file import is_alignment, read_alignment
from espnet_ottc.alignment.span_table import SpanTable
from espnet_ottc.alignment.spans import SpansById
from espnet_ottc.utils.escapes import id_of_file_name

# Behind a recording's name where results lie beside it, so that none is taken for its text.
OUTPUT_MARK = ".aligned"
_TIERS = ("words", "tokens")


def holds_times(path: str | Path) -> bool:
    """Whether `read_spans` takes the path for one of its kinds, going by its name."""
    path = Path(path)
    return named_by_files(path) or path.suffix.lower() == ".ctm" or path.name.endswith(SUFFIXES)


def named_by_files(path: Path) -> bool:
    """Whether ids are the names of files: those of a TextGrid, or of a folder's."""
    return path.is_dir() or _is_textgrid(path)


def read_spans(
    path: str | Path,
    tier: str = "words",
    channel: str | None = None,
    encoding: str | None = None,
    *,
    like: Collection[str] = (),
) -> SpansById:
    """Read times by kind.

    `*.ctm`, `*.TextGrid`, a Lhotse manifest, the JSON of an alignment, a folder of TextGrids or else of such
    JSON.  The id of a TextGrid is its stem, without `.aligned`; in a folder its path below that, where stems
    come twice or the ids of `like` are such paths.

    Args:
        path: a file, or a folder, which is searched through.
        tier: the TextGrid's tier; of JSON `words` or `tokens`; for supervisions the alignment `word` or
            `phone` that it names.
        channel: the CTM's channel.
        encoding: of TextGrids and CTMs; None: guessed for TextGrids, UTF-8 for CTMs.
        like: ids that the files' are to be compared with.

    Raises:
        ValueError: an unknown kind of file, a folder without such files, an id that comes twice, whatever
            the reader raises.
        OSError: the file cannot be read.
        ImportError: the package that reads the kind is not installed.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        if grids := [one for one in files if _is_textgrid(one)]:
            names = _ids([one.relative_to(path) for one in grids], like)
            return {
                name: read_textgrid(grid, tier, encoding)
                for name, grid in zip(names, grids, strict=True)
            }
        return _read_alignments(path, [one for one in files if _is_alignment(one)], tier)
    if _is_textgrid(path):
        (name,) = _ids([PurePath(path.name)], like)
        return {name: read_textgrid(path, tier, encoding)}
    if _is_ctm(path):
        return read_ctm(path, channel, encoding)
    if _is_alignment(path):
        return _read_alignments(path, [path], tier)
    if path.name.endswith(SUFFIXES):
        return read_supervisions(path, tier.removesuffix("s"))
    raise ValueError(
        f"{path}: times are read from *.ctm, *.TextGrid, a folder of TextGrids or of JSON, or "
        f"{', '.join('*' + suffix for suffix in SUFFIXES)}"
    )


def read_span_table(
    path: str | Path,
    tier: str = "words",
    channel: str | None = None,
    encoding: str | None = None,
    *,
    like: Collection[str] = (),
) -> SpanTable:
    """Read times by kind as columns, without scores; see `read_spans`.

    Args:
        path: as there; of a CTM no object is made for a span, so that it may be of any size.
        tier: as there.
        channel: as there.
        encoding: as there.
        like: as there.

    Raises:
        ValueError, OSError, ImportError: as there.
    """
    path = Path(path)
    if _is_ctm(path):
        return read_ctm_table(path, channel, encoding)
    return SpanTable.of(read_spans(path, tier, channel, encoding, like=like))


def _ids(files: Sequence[PurePath], like: Collection[str]) -> list[str]:
    """Ids by the names of files, which are relative: the shortest that differ and that `like` has most of."""
    kinds = [
        [_id(file, below, marked) for file in files]
        for marked in (False, True)
        for below in (False, True)
    ]
    single = [ids for ids in kinds if len(set(ids)) == len(ids)]
    if not single:
        name = next(one for place, one in enumerate(kinds[-1]) if one in kinds[-1][:place])
        repeated = files[len(files) - 1 - kinds[-1][::-1].index(name)]
        raise ValueError(f"{name}: each id must stand once; {repeated} repeats it")
    known = {normalize("NFC", one) for one in like}
    return max(single, key=lambda ids: sum(normalize("NFC", one) in known for one in ids))


def _id(file: PurePath, below: bool, marked: bool) -> str:
    stem = file.stem if marked else file.stem.removesuffix(OUTPUT_MARK) or file.stem
    return "/".join(map(id_of_file_name, [*(file.parts[:-1] if below else ()), stem]))


def _read_alignments(path: Path, files: Sequence[Path], tier: str) -> SpansById:
    """The utterances of the JSON of some recordings."""
    if not files:
        raise ValueError(
            f"{path}: a folder must hold TextGrids, or the JSON of alignments; found none"
        )
    if tier not in _TIERS:
        raise ValueError(f"{path}: the tier must be one of {', '.join(_TIERS)}, got {tier}")
    spans: SpansById = {}
    for file in files:
        for one in read_alignment(file):
            if one.id in spans:
                raise ValueError(f"{one.id}: each id must stand once; {file} repeats it")
            spans[one.id] = one.word_spans if tier == _TIERS[0] else one.token_spans
    return spans


def _is_alignment(path: Path) -> bool:
    return path.suffix.lower() == ".json" and is_alignment(path)


def _is_textgrid(path: Path) -> bool:
    return path.suffix.lower() == ".textgrid" and not path.is_dir()


def _is_ctm(path: Path) -> bool:
    return path.suffix.lower() == ".ctm" and not path.is_dir()
