"""Medians of more numbers than memory holds."""

import tempfile
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Bits = npt.NDArray[Any]

# Bytes that stay in memory; more lie in a file without a name.
_KEPT = 16_000_000
# Bytes read at a time.
_READ = 8_000_000
# Numbers that are put in order at a time.
_ORDERED = 1_000_000
_DIGIT = 16


class Magnitudes:
    """Sizes |x| of numbers that come bit by bit."""

    def __init__(self) -> None:
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_KEPT)  # noqa: SIM115 - closed below
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._count

    def add(self, values: "Values") -> None:
        """Add numbers.

        Args:
            values: (N,), finite; their signs do not matter.

        Raises:
            OSError: the file cannot be written.
        """
        import numpy as np

        self._count += len(values)
        self._file.seek(0, 2)
        self._file.write(np.abs(values).tobytes())

    def bits(self) -> "Iterator[Bits]":
        """All of them as whole numbers in the same order of size, some at a time."""
        import numpy as np

        self._file.seek(0)
        while block := self._file.read(_READ):
            yield np.frombuffer(block, np.uint64)


def median(*stores: Magnitudes) -> float | None:
    """The median of all numbers; of an even count the mean of the two in the middle; None of none.

    Args:
        stores: with numbers.
    """
    count = sum(map(len, stores))
    if not count:
        return None
    low = _ordered(stores, (count - 1) // 2)
    high = low if count % 2 else _ordered(stores, count // 2)
    return low if count % 2 else (low + high) / 2


def _ordered(stores: tuple[Magnitudes, ...], rank: int) -> float:
    """The number of this rank, found digit by digit of its bits."""
    import numpy as np

    prefix = 0
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for bits in _beginning(stores, prefix, shift + _DIGIT):
            digits = (bits >> np.uint64(shift)) & np.uint64((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=len(counts))
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit] - counts[digit])
        prefix = prefix << _DIGIT | digit
        if counts[digit] <= _ORDERED:
            found = np.concatenate([*_beginning(stores, prefix, shift)])
            return float(np.partition(found, rank)[rank : rank + 1].view(np.float64)[0])
    return float(np.array([prefix], np.uint64).view(np.float64)[0])


def _beginning(stores: tuple[Magnitudes, ...], prefix: int, shift: int) -> "Iterator[Bits]":
    """Those numbers whose bits above `shift` are these."""
    import numpy as np

    for store in stores:
        for bits in store.bits():
            yield bits if shift == 64 else bits[(bits >> np.uint64(shift)) == prefix]
