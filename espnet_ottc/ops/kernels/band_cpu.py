"""The C kernel of the search within a band (`band_cpu.c`), called through ctypes; float32 on the CPU."""

import ctypes
import math
from typing import NamedTuple

import torch
from torch import Tensor

from espnet_ottc.ops.kernels.library import compiled, load_library
from espnet_ottc.ops.kernels.memory import address, contiguous

_INT64, _POINTER, _DOUBLE = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double


class _Search(ctypes.Structure):
    """`band_search` of the C source, field for field."""

    _fields_ = (
        ("frames", _INT64),
        ("states", _INT64),
        ("columns", _INT64),
        ("width", _INT64),
        ("block", _INT64),
        ("scores", _POINTER),
        ("column", _POINTER),
        ("jump", _POINTER),
        ("rest", _POINTER),
        ("first", _INT64),
        ("last", _INT64),
        ("jumps", ctypes.c_int32),
        ("out_of_memory", ctypes.c_int32),
        ("path", _POINTER),
        ("total", _DOUBLE),
        ("outside", _DOUBLE),
    )


class BandPath(NamedTuple):
    """What was found within a band.

    Attributes:
        states: (T,) int32 state of each frame; meaningless without a path.
        total: its log-score; −inf without a path in the band.
        outside: no path that leaves the band has a higher score.
    """

    states: Tensor
    total: float
    outside: float


_LIBRARY = load_library(compiled("_band_cpu"), _Search, ["band_best"])


def best(
    scores: Tensor, columns: Tensor, jumps: Tensor, rest: Tensor, ends: tuple[int, int], width: int
) -> BandPath:
    """The best path within a band.

    Args:
        scores: (T, N) float32.
        columns: (S,) int32 column of each state.
        jumps: (S,) bool: a path may come from two states before.
        rest: (T + 1,) float64 sum of the frames' best scores from each frame on.
        ends: in how many of the first states a path may begin, and of the last end.
        width: states of the band, in [1, S].

    Raises:
        MemoryError: the band does not fit into memory.
    """
    T, S = len(scores), len(columns)
    scores = contiguous(scores, torch.float32)
    columns = contiguous(columns, torch.int32)
    penalties = torch.where(jumps, 0.0, -1e30).float()
    rest = contiguous(rest, torch.float64)
    path = torch.empty(T, dtype=torch.int32)
    search = _Search()
    search.frames, search.states, search.columns = T, S, scores.shape[1]
    search.width = width
    search.block = max(math.isqrt(T), 1)
    search.scores = address(scores, torch.float32)
    search.column = address(columns, torch.int32)
    search.jump = address(penalties, torch.float32)
    search.rest = address(rest, torch.float64)
    search.first, search.last = ends
    search.jumps = bool(jumps.any())
    search.path = address(path, torch.int32)
    _LIBRARY.band_best(ctypes.byref(search))
    if search.out_of_memory:
        raise MemoryError(f"a band of {width} states does not fit into memory")
    return BandPath(path, search.total, search.outside)
