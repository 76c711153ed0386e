"""How many bytes of samples a file's header announces, where decoders do not tell that some are missing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

# From here on a size of 32 bits means that it was not known when the header was written.
_UNKNOWN = 0x7FFF0000
_NIST_FIELD = re.compile(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", re.MULTILINE)


def share_that_is_there(path: Path) -> float:
    """Of the bytes of samples that a header announces, the share that the file has; 1 where it does not say.

    WAV, RF64, Wave64, AIFF, AU and SPHERE are looked at.  What streams write before they know a size
    (0, 0xFFFFFFFF and the like) announces nothing.

    Args:
        path: of the file.
    """
    with path.open("rb") as file:
        start = file.read(16)
        for mark, reader in _KINDS.items():
            if start.startswith(mark):
                first, size = reader(file)
                break
        else:
            return 1.0
    there = path.stat().st_size - first
    return there / size if 0 < there < size else 1.0


def _chunks(file: BinaryIO, order: Literal["little", "big"], wanted: bytes) -> tuple[int, int]:
    """Where the chunk of samples of RIFF or AIFF begins, and its size; 0 where it is not known."""
    place, long_size = 12, 0
    while True:
        file.seek(place)
        header = file.read(8)
        if len(header) < 8:
            return 0, 0
        name, size = header[:4], int.from_bytes(header[4:], order)
        if name == b"ds64":
            # The size of the chunk of samples of RF64, behind that of the file.
            long_size = int.from_bytes(file.read(16)[8:], "little")
        if name == wanted:
            return place + 8, long_size or (size if size < _UNKNOWN else 0)
        place += 8 + size + size % 2


def _wave64(file: BinaryIO) -> tuple[int, int]:
    place = 40
    while True:
        file.seek(place)
        header = file.read(24)
        size = int.from_bytes(header[16:], "little")
        if len(header) < 24 or size < 24:
            return 0, 0
        if header.startswith(b"data"):
            return place + 24, size - 24
        place += size + -size % 8


def _au(file: BinaryIO) -> tuple[int, int]:
    file.seek(4)
    first, size = (int.from_bytes(file.read(4), "big") for _ in range(2))
    return first, size if size < _UNKNOWN else 0


def _nist(file: BinaryIO) -> tuple[int, int]:
    file.seek(8)
    length = file.read(8).strip()
    if not length.isdigit():
        return 0, 0
    file.seek(0)
    header = file.read(int(length))
    if b"shorten" in header:
        return 0, 0
    fields = {name: int(value) for name, value in _NIST_FIELD.findall(header)}
    size = fields.get(b"sample_count", 0) * fields.get(b"sample_n_bytes", 0)
    return int(length), size * fields.get(b"channel_count", 1)


_KINDS: dict[bytes, Callable[[BinaryIO], tuple[int, int]]] = {
    **dict.fromkeys((b"RIFF", b"RF64", b"BW64"), lambda file: _chunks(file, "little", b"data")),
    b"FORM": lambda file: _chunks(file, "big", b"SSND"),
    b"riff": _wave64,
    b".snd": _au,
    b"NIST_1A": _nist,
}
