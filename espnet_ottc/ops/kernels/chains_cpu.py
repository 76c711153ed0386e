"""The C kernel of the searches along chains (`chains_cpu.c`), called through ctypes; float32 on the CPU."""

import ctypes

import torch
from torch import Tensor

from espnet_ottc.ops.kernels.chains import BestPaths, ChainInputs, ChainSums, ChainSumsWanted
from espnet_ottc.ops.kernels.library import compiled, load_library
from espnet_ottc.ops.kernels.memory import address

_INT64, _POINTER = ctypes.c_int64, ctypes.c_void_p
_CELLS_PER_THREAD = 1 << 16


class _Batch(ctypes.Structure):
    """`chain_batch` of the C source, field for field."""

    _fields_ = (
        ("utterances", _INT64),
        ("columns", _INT64),
        ("levels", _INT64),
        ("frame_starts", _POINTER),
        ("state_starts", _POINTER),
        ("skip_starts", _POINTER),
        ("mark_starts", _POINTER),
        ("scores", _POINTER),
        ("column", _POINTER),
        ("stay", _POINTER),
        ("move", _POINTER),
        ("enter", _POINTER),
        ("leave", _POINTER),
        ("skip_source", _POINTER),
        ("skip_target", _POINTER),
        ("skip_score", _POINTER),
        ("arrival", _POINTER),
        ("entrance", _POINTER),
        ("mark", _POINTER),
        ("level", _POINTER),
        ("low", _POINTER),
        ("high", _POINTER),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int32),
        ("kept_cells", _INT64),
        ("out_of_memory", ctypes.c_int32),
        ("total", _POINTER),
        ("path", _POINTER),
        ("occupancy", _POINTER),
        ("quantile", _POINTER),
        ("edge", _POINTER),
    )


_LIBRARY = load_library(compiled("_chains_cpu"), _Batch, ("chains_best", "chains_sum"))


def best(inputs: ChainInputs) -> BestPaths:
    """See `espnet_ottc.ops.kernels.chains`."""
    totals = torch.empty(inputs.utterances, dtype=torch.float64)
    paths = torch.empty(len(inputs.scores), dtype=torch.int32)
    batch = _describe(inputs, totals)
    batch.path = address(paths, torch.int32)
    _LIBRARY.chains_best(ctypes.byref(batch))
    _check_memory(batch)
    return BestPaths(paths, totals)


def total(inputs: ChainInputs, wanted: ChainSumsWanted) -> ChainSums:
    """See `espnet_ottc.ops.kernels.chains`."""
    totals = torch.empty(inputs.utterances, dtype=torch.float64)
    occupancy = torch.empty_like(inputs.scores) if wanted.occupancy else None
    levels = torch.tensor(wanted.levels, dtype=torch.float64)
    quantiles = torch.empty(len(inputs.marks), len(levels), dtype=torch.float64)
    batch = _describe(inputs, totals)
    if occupancy is not None:
        batch.occupancy = address(occupancy, torch.float32)
    if quantiles.numel():
        batch.levels = len(levels)
        batch.level = address(levels, torch.float64)
        batch.mark_starts = address(inputs.mark_starts, torch.int64)
        batch.mark = address(inputs.marks, torch.int32)
        batch.quantile = address(quantiles, torch.float64)
    edges = torch.zeros(inputs.utterances, dtype=torch.float64)
    if wanted.band is not None:
        batch.low, batch.high = (address(ends, torch.int32) for ends in wanted.band)
        batch.edge = address(edges, torch.float64)
    _LIBRARY.chains_sum(ctypes.byref(batch))
    _check_memory(batch)
    return ChainSums(totals, occupancy, quantiles, edges)


def _describe(inputs: ChainInputs, totals: Tensor) -> _Batch:
    batch = _Batch()
    batch.utterances, batch.columns = inputs.utterances, inputs.scores.shape[1]
    for name in ("frame_starts", "state_starts", "skip_starts"):
        setattr(batch, name, address(getattr(inputs, name), torch.int64))
    batch.column = address(inputs.columns, torch.int32)
    for name in ("scores", "stay", "move", "enter", "leave"):
        setattr(batch, name, address(getattr(inputs, name), torch.float32))
    batch.skip_source = address(inputs.skip_sources, torch.int32)
    batch.skip_target = address(inputs.skip_targets, torch.int32)
    batch.skip_score = address(inputs.skip_scores, torch.float32)
    batch.arrival = address(inputs.arrivals, torch.float32)
    batch.entrance = address(inputs.entrances, torch.float32)
    batch.scale, batch.kept_cells = inputs.scale, inputs.kept_cells
    batch.total = address(totals, torch.float64)
    cells = int((inputs.frame_starts.diff() * inputs.state_starts.diff()).sum())
    batch.threads = min(torch.get_num_threads(), 1 + cells // _CELLS_PER_THREAD)
    return batch


def _check_memory(batch: _Batch) -> None:
    if batch.out_of_memory:
        raise MemoryError("the search along chains ran out of memory")
