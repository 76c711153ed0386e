"""The phones of synthetic speech as TIMIT's."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from espnet_ottc.utils.files import data_lines

# The closures that TIMIT writes before these.
_CLOSURES = {
    **{"b": "bcl", "d": "dcl", "g": "gcl", "k": "kcl", "p": "pcl", "t": "tcl"},
    **{"ch": "tcl", "jh": "dcl"},
}
# espeak-ng's marks of primary and secondary stress, and of none.
_STRESS = "',%="
# Shorter silence before a burst is rounding, in seconds.
_SHORTEST_CLOSURE = 0.005


def timit_phones(
    samples: NDArray[np.int16], phones: Sequence[tuple[str, int, int]], sampling_rate: int
) -> Iterator[tuple[str, int, int]]:
    """espeak-ng's phones as TIMIT's, with the closures of stops and affricates as phones of their own.

    A closure is the run of zeros with which a stop starts: espeak-ng's silence is exact.

    Args:
        samples: as espeak-ng gives them, at `sampling_rate` Hz.
        phones: (phone, start, end) in samples.

    Raises:
        ValueError: a phone that the table does not have.
    """
    nearest = _nearest()
    for symbol, start, end in phones:
        phone = nearest.get(symbol.lstrip(_STRESS))
        if phone is None:
            raise ValueError(f"espeak-ng's phone {symbol!r} must be in phones_espeak.txt")
        if phone in _CLOSURES:
            sounding = np.flatnonzero(samples[start:end])
            burst = start + (int(sounding[0]) if len(sounding) else 0)
            if burst - start >= _SHORTEST_CLOSURE * sampling_rate:
                yield _CLOSURES[phone], start, burst
                start = burst
        yield phone, start, end


@cache
def _nearest() -> dict[str, str]:
    table = {}
    for line in data_lines(__package__, "phones_espeak.txt"):
        symbol, phone = line.split()
        table[symbol] = phone
    return table
