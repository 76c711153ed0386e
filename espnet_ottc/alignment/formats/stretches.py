"""Files of lines that begin with an utterance's id, cut at the same utterances, to be read in parts."""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from espnet_ottc.utils.encodings import encoding_of

# Utterances in a row that another file may lack where it is cut.
_TRIES = 50
# Cuts that cannot be made before no others are tried.
_FAULTS = 3
_COMMENTS = (b";;", b"#")
_SPACE = b" \t\r\n"

Data = bytes | mmap.mmap


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file.

    Attributes:
        path: the file.
        first: byte at which they begin.
        stop: byte behind their end.
        line: number of the first, counted from 1.
    """

    path: Path
    first: int
    stop: int
    line: int

    def read(self) -> bytes:
        """The lines, in UTF-8, without a byte order mark.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self.first)
            return file.read(self.stop - self.first).removeprefix(
                b"\xef\xbb\xbf" if not self.first else b""
            )


def divide(files: Mapping[str, Path], parts: int) -> list[dict[str, Stretch]] | None:
    """Cut files at the same utterances, where they have them in the same order.

    The first file is cut into parts of about as many bytes, each other one where the same utterance begins.
    Where it lacks that utterance and many that follow there is no cut.  Whether each part of one file has the
    utterances of the same part of another is for the reader to see.

    Args:
        files: by any names; lines of each begin with an id.
        parts: how many at most, ≥ 1.

    Returns:
        For each part its lines of each file; None for files in UTF-16.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as opened:
        data = {name: _mapped(path, opened) for name, path in files.items()}
        if any(
            one[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding_of(one[:4]) for one in data.values()
        ):
            return None
        cuts, faults = [dict.fromkeys(data, 0)], 0
        first = next(iter(data.values()))
        for number in range(1, parts):
            place = len(first) * number // parts
            if place <= next(iter(cuts[-1].values())):
                continue  # an utterance is longer than a part
            found = _cut(data, place, cuts[-1])
            _let_go(data)
            if found is not None:
                cuts.append(found)
                continue
            # Each takes a look at the whole of a file.
            faults += 1
            if faults == _FAULTS:
                break
        cuts.append({name: len(one) for name, one in data.items()})
        return [*_stretches(files, data, cuts)]


def _mapped(path: Path, opened: ExitStack) -> Data:
    file = opened.enter_context(path.open("rb"))
    if not path.stat().st_size:
        return b""
    return opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _let_go(data: Mapping[str, Data]) -> None:
    """Let what was looked at count as memory no longer; it is read again where it is needed."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for one in data.values():
            if isinstance(one, mmap.mmap):
                one.madvise(mmap.MADV_DONTNEED)


def _stretches(
    files: Mapping[str, Path], data: Mapping[str, Data], cuts: list[dict[str, int]]
) -> Iterator[dict[str, Stretch]]:
    lines = dict.fromkeys(files, 1)
    last = dict.fromkeys(files, 0)
    for before, after in pairwise(cuts):
        for name in files:
            lines[name] += data[name][last[name] : before[name]].count(b"\n")
        _let_go(data)
        last = before
        yield {
            name: Stretch(path, before[name], after[name], lines[name])
            for name, path in files.items()
        }


def _cut(data: Mapping[str, Data], place: int, before: Mapping[str, int]) -> dict[str, int] | None:
    """Where an utterance begins in all files, behind this place of the first; None where there is none."""
    (name, first), *others = data.items()
    starts = _utterances(first, place)
    found: dict[str, int] = {}
    for begin, identity in starts:
        found.setdefault(name, begin)
        for other, content in others:
            if (
                other not in found
                and (at := _line_of(content, identity, before[other])) is not None
            ):
                found[other] = at
        if len(found) == len(data):
            return found if found[name] > before[name] else None
    return None


def _utterances(data: Data, place: int) -> Iterator[tuple[int, bytes]]:
    """Where the next utterances behind a place begin, and their ids."""
    begin = data.rfind(b"\n", 0, place) + 1
    last, count = _id_at(data, begin), 0
    while count < _TRIES and (end := data.find(b"\n", begin)) >= 0 and end + 1 < len(data):
        begin = end + 1
        identity = _id_at(data, begin)
        if identity and identity != last and not identity.startswith(_COMMENTS):
            yield begin, identity
            last, count = identity, count + 1


def _id_at(data: Data, begin: int) -> bytes:
    """The first column of the line that begins here; empty where it does not begin with one."""
    end = data.find(b"\n", begin)
    line = data[begin : end if end >= 0 else len(data)]
    return b"" if line[:1] in (b"", *(bytes([one]) for one in _SPACE)) else line.split(None, 1)[0]


def _line_of(data: Data, identity: bytes, start: int) -> int | None:
    """Where a line begins with this id, from a place on; None where none does."""
    wanted = b"\n" + identity
    at = data.find(wanted, max(start - 1, 0))
    while at >= 0:
        behind = at + len(wanted)
        if behind == len(data) or data[behind] in _SPACE:
            return at + 1
        at = data.find(wanted, at + 1)
    return None
