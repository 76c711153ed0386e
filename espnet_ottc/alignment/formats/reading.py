"""Times from a file of any kind, going by its name."""

from pathlib import Path

from espnet_ottc.alignment.formats.ctm import read_ctm, read_ctm_table
from espnet_ottc.alignment.formats.supervisions import SUFFIXES, read_supervisions
from espnet_ottc.alignment.formats.textgrid import read_textgrid
from espnet_ottc.alignment.span_table import SpanTable
from espnet_ottc.alignment.spans import SpansById
from espnet_ottc.utils.escapes import id_of_file_name


def holds_times(path: str | Path) -> bool:
    """Whether `read_spans` takes the path for one of its kinds, going by its name."""
    path = Path(path)
    return (
        path.is_dir()
        or path.suffix.lower() in (".ctm", ".textgrid")
        or path.name.endswith(SUFFIXES)
    )


def read_spans(
    path: str | Path, tier: str = "words", channel: str | None = None, encoding: str | None = None
) -> SpansById:
    """Read times by kind: `*.ctm`, `*.TextGrid`, a folder of TextGrids, a Lhotse manifest.

    Args:
        path: a TextGrid's stem is its utterance's id; folders are searched through.
        tier: the TextGrid's tier; for supervisions the alignment `word` or `phone` that it names.
        channel: the CTM's channel.
        encoding: of TextGrids and CTMs; None: guessed for TextGrids, UTF-8 for CTMs.

    Raises:
        ValueError: an unknown kind of file, a folder without TextGrids, whatever the reader raises.
        OSError: the file cannot be read.
        ImportError: the package that reads the kind is not installed.
    """
    path = Path(path)
    if path.is_dir():
        spans: SpansById = {}
        for file in sorted(p for p in path.rglob("*") if p.suffix.lower() == ".textgrid"):
            name = id_of_file_name(file.stem)
            if name in spans:
                raise ValueError(f"{name}: each id must stand once; {file} repeats it")
            spans[name] = read_textgrid(file, tier, encoding)
        if not spans:
            raise ValueError(f"{path}: a folder must hold TextGrids, found none")
        return spans
    if path.suffix.lower() == ".textgrid":
        return {id_of_file_name(path.stem): read_textgrid(path, tier, encoding)}
    if _is_ctm(path):
        return read_ctm(path, channel, encoding)
    if path.name.endswith(SUFFIXES):
        return read_supervisions(path, tier.removesuffix("s"))
    raise ValueError(
        f"{path}: times are read from *.ctm, *.TextGrid, a folder of TextGrids or "
        f"{', '.join('*' + suffix for suffix in SUFFIXES)}"
    )


def read_span_table(
    path: str | Path, tier: str = "words", channel: str | None = None, encoding: str | None = None
) -> SpanTable:
    """Read times by kind as columns, without scores; see `read_spans`.

    Args:
        path: as there; of a CTM no object is made for a span, so that it may be of any size.
        tier: as there.
        channel: as there.
        encoding: as there.

    Raises:
        ValueError, OSError, ImportError: as there.
    """
    path = Path(path)
    if _is_ctm(path):
        return read_ctm_table(path, channel, encoding)
    return SpanTable.of(read_spans(path, tier, channel, encoding))


def _is_ctm(path: Path) -> bool:
    return path.suffix.lower() == ".ctm" and not path.is_dir()
