"""Sums of floats without rounding, which no order and no division into parts changes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Every float64 is a whole multiple of 2^-1074.
_BITS = 1074
_MANTISSA = 53
_HALF = 27


def exact_sum(values: "npt.NDArray[np.float64]") -> int:
    """The sum in units of 2^-1074, exactly.

    Args:
        values: (N,) finite, N < 2^26.
    """
    import numpy as np

    if not len(values):
        return 0
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, _MANTISSA).astype(np.int64)
    least = int(exponents.min())
    total = 0
    # In halves, so that a float holds the sum of each.
    for half, shift in ((whole >> _HALF, _HALF), (whole & ((1 << _HALF) - 1), 0)):
        sums = np.bincount(exponents - least, weights=half)
        total += sum(int(one) << (place + shift) for place, one in enumerate(sums.tolist()))
    places = least - _MANTISSA + _BITS
    # Denormal numbers end in zeros.
    return total << places if places >= 0 else total >> -places


def rounded(total: int) -> float:
    """The float nearest to a sum of `exact_sum`.

    Args:
        total: in units of 2^-1074.
    """
    return total / (1 << _BITS)
