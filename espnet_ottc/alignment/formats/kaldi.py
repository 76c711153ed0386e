"""Kaldi's files of one line for each utterance: text, utt2dur, columns; and what CTM shares with them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ottc.utils.encodings import decoded, encoding_of
from espnet_ottc.utils.files import written_aside

_BETWEEN = re.compile(r"[ \t\r\n\f\v]+")


def read_text(path: Path, encoding: str | None = None) -> dict[str, list[str]]:
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
    texts: dict[str, list[str]] = {}
    for number, line in numbered_lines(path, encoding):
        name, *words = fields_of(line)
        if name in texts:
            raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
        texts[name] = words
    return texts


def read_durations(path: Path) -> dict[str, float]:
    """Read Kaldi's utt2dur: a line is an utterance id and its seconds.

    Args:
        path: the file.

    Returns:
        Seconds by utterance id.

    Raises:
        ValueError: a line that is not so, a duration that is not positive and finite.
        OSError: the file cannot be read.
    """
    durations: dict[str, float] = {}
    for name, columns in read_text(path).items():
        try:
            (seconds,) = map(float, columns)
        except ValueError as error:
            raise ValueError(f"{name}: one duration is needed in {path}, got {columns}") from error
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name}: a duration must be positive in {path}, got {seconds}")
        durations[name] = seconds
    return durations


def write_columns(path: Path, rows: Mapping[str, Sequence[object]]) -> None:
    """Write Kaldi text: a line is an id and its columns, as `str` gives them.

    Args:
        path: the file.
        rows: columns by id; none of them holds white space.

    Raises:
        OSError: the file cannot be written.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, columns in rows.items():
            file.write(" ".join([name, *map(str, columns)]) + "\n")


def fields_of(line: str) -> list[str]:
    """The columns of a line: they stand between ASCII's white space, so that words keep no-break spaces."""
    return [field for field in _BETWEEN.split(line) if field]


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
    with path.open("rb") as file:
        start = file.read(4)
    # UTF-16 has bytes of its own for the ends of lines, and says so with a mark.
    wide = encoding or (encoding_of(start) if start[:2] in (b"\xff\xfe", b"\xfe\xff") else None)
    if wide is not None:
        for number, line in enumerate(decoded(path, wide).splitlines(keepends=True), 1):
            if line.strip():
                yield number, line
        return
    # In bytes, so that a fault has its line and a large file is never whole in memory.
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: must be UTF-8 text, got the byte 0x{raw[error.start]:02X}; "
                    "convert it, or name its encoding"
                ) from error
            if line.strip():
                yield number, line
