"""Kaldi's files of one line for each utterance: text, utt2dur, columns; and what CTM shares with them."""

import io
import math
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from espnet_ottc.utils.encodings import UTF8_WITH_MARK, decoded, marked_encoding
from espnet_ottc.utils.files import written_aside

# Bytes that are read at a time.
_BLOCK = 1 << 20


def read_text(path: str | Path, encoding: str | None = None) -> dict[str, list[str]]:
    """Read Kaldi text: a line is an utterance id and its words; an id alone is an empty utterance.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Returns:
        Words by utterance id, in the file's order.

    Raises:
        ValueError: an id that repeats; bytes that are not UTF-8.
        OSError: the file cannot be read.
    """
    path = Path(path)
    return dict(text_lines(path, encoding))


def text_lines(path: str | Path, encoding: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """The id and the words of each line of Kaldi text, one after the other; see `read_text`.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError, OSError: as `read_text`.
    """
    path = Path(path)
    seen: set[str] = set()
    words = WordsOfBytes()
    for first, block in raw_blocks(path, encoding):
        for number, name, spoken in text_entries(block, path, first, words):
            if name in seen:
                raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
            seen.add(name)
            yield name, spoken


class WordsOfBytes(dict[bytes, str]):
    """Words by their bytes, each decoded once."""

    def __missing__(self, column: bytes) -> str:
        word = self[column] = sys.intern(column.decode())
        return word


def text_entries(
    block: bytes, path: Path, first: int, words: WordsOfBytes
) -> Iterator[tuple[int, str, list[str]]]:
    """Number, id and words of each line of some Kaldi text.

    Args:
        block: whole lines, UTF-8.
        path: of their file, for messages.
        first: number of the first line.
        words: that are known.

    Raises:
        ValueError: bytes that are not UTF-8.
    """
    known = words.__getitem__
    for number, raw in enumerate(block.split(b"\n"), first):
        columns = raw.split()
        try:
            name = columns[0].decode() if columns else ""
            # A word stands many times: one object for all of them.
            spoken = list(map(known, islice(columns, 1, None)))
        except UnicodeDecodeError:
            utf8(raw, f"{path}:{number}")  # says which byte
            raise
        if spoken or name.strip():
            yield number, name, spoken


def text_ids(path: str | Path) -> Iterator[str]:
    """The ids of Kaldi text, one after the other; the words are not looked at.

    Args:
        path: the file, UTF-8.

    Raises:
        ValueError: bytes of an id that are not UTF-8.
        OSError: the file cannot be read.
    """
    path = Path(path)
    for number, raw in raw_lines(path):
        if columns := raw.split(None, 1):
            yield utf8(columns[0], f"{path}:{number}")


def read_durations(path: str | Path) -> dict[str, float]:
    """Read Kaldi's utt2dur: a line is an utterance id and its seconds.

    Args:
        path: the file.

    Returns:
        Seconds by utterance id.

    Raises:
        ValueError: a line that is not so, a duration that is not positive and finite.
        OSError: the file cannot be read.
    """
    path = Path(path)
    return durations_of(read_text(path), path)


def durations_of(texts: Mapping[str, Sequence[str]], path: Path) -> dict[str, float]:
    """The seconds in lines of utt2dur; see `read_durations`.

    Args:
        texts: the columns by utterance id.
        path: of their file, for messages.

    Raises:
        ValueError: as there.
    """
    durations: dict[str, float] = {}
    for name, columns in texts.items():
        try:
            (seconds,) = map(float, columns)
        except ValueError as error:
            raise ValueError(f"{name}: one duration is needed in {path}, got {columns}") from error
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name}: a duration must be positive in {path}, got {seconds}")
        durations[name] = seconds
    return durations


def write_columns(path: str | Path, rows: Mapping[str, Sequence[object]]) -> None:
    """Write Kaldi text: a line is an id and its columns, as `str` gives them.

    Args:
        path: the file.
        rows: columns by id; none of them holds white space.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, columns in rows.items():
            file.write(" ".join([name, *map(str, columns)]) + "\n")


def fields_of(line: str) -> list[str]:
    """The columns of a line: they stand between ASCII's white space, so that words keep no-break spaces."""
    # Bytes are split at just these.
    columns = line.encode("utf-8", "surrogatepass").split()
    return b"\n".join(columns).decode("utf-8", "surrogatepass").split("\n") if columns else []


def numbered_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number, counted from 1.

    A byte order mark at the start is left out.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError: bytes that are not so encoded, an unknown encoding; it names file and line.
        OSError: the file cannot be read.
    """
    for number, raw in raw_lines(path, encoding):
        line = utf8(raw, f"{path}:{number}")
        if line.strip():
            yield number, line


def plain_text(path: Path) -> str:
    """The content of a text file, its lines ended by line feeds.

    Args:
        path: the file, in UTF-8 or in what a byte order mark at its start says.

    Raises:
        ValueError: bytes that are not so encoded; it names file and line.
        OSError: the file cannot be read.
    """
    lines = (utf8(raw, f"{path}:{number}") for number, raw in raw_lines(path))
    return io.StringIO("".join(lines), newline=None).read()


def raw_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file as bytes in UTF-8, each with its number, counted from 1; see `raw_blocks`.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError, OSError: as there.
    """
    for first, block in raw_blocks(path, encoding):
        yield from enumerate(io.BytesIO(block), first)


def raw_blocks(path: Path, encoding: str | None = None) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file as bytes in UTF-8, many at a time, with the number of the first, from 1.

    A byte order mark at the start is left out.  Lines of a file in UTF-8 are not checked: see `utf8`.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError: bytes that are not so encoded, an unknown encoding; it names file and line.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    wide = encoding or marked_encoding(start)
    # UTF-16 has bytes of its own for the ends of lines.
    if wide is not None and wide != UTF8_WITH_MARK:
        # Lines end as in other files: not at U+0085, which Windows-1252 has for an ellipsis.
        text = io.StringIO(decoded(path, wide), newline=None).read()
        yield 1, text.encode("utf-8", "surrogatepass")
        return
    # In bytes, so that a fault has its line and a large file is never whole in memory.
    number = 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            block += file.readline()
            yield number, block.removeprefix(BOM_UTF8) if number == 1 else block
            number += block.count(b"\n")


def utf8(raw: bytes, place: str) -> str:
    """Bytes of a file in UTF-8 as text.

    Args:
        raw: of one line, or of a part of it.
        place: file and line, for messages.

    Raises:
        ValueError: other bytes.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{place}: must be UTF-8 text, got the byte 0x{raw[error.start]:02X}; "
            "convert it, or name its encoding"
        ) from error
