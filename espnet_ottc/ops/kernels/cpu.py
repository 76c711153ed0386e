"""The C kernel of the loss (`ottc_cpu.c`), called through ctypes; float32 on the CPU.

The shared library is compiled when the package is installed.  It runs on PyTorch's own OpenMP
threads, since both load the same libgomp.
"""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import (
    NO_NULL_CAPACITY,
    NullCapacity,
    OTTCForward,
    OTTCGradients,
    OTTCInputs,
    Slopes,
)
from espnet_ottc.ops.kernels.library import compiled, load_library
from espnet_ottc.ops.kernels.memory import address, contiguous, in_dtypes, packed
from espnet_ottc.ops.transport import TIE
from espnet_ottc.ops.weights import SMALLEST_LABEL_WEIGHT

_ELEMENTS_PER_THREAD = 1 << 15

_INT64, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Batch(ctypes.Structure):
    """`ottc_batch` of the C source, field for field."""

    _fields_ = (
        ("batch", _INT64),
        ("frames", _INT64),
        ("labels", _INT64),
        ("vocabulary", _INT64),
        ("logits_batch_stride", _INT64),
        ("logits_frame_stride", _INT64),
        ("logits", _POINTER),
        ("frame_logits", _POINTER),
        ("targets", _POINTER),
        ("frame_lengths", _POINTER),
        ("label_lengths", _POINTER),
        ("label_weights", _POINTER),
        ("tie", ctypes.c_double),
        ("smallest_weight", ctypes.c_double),
        ("null_capacity", ctypes.c_double),
        ("null_weight", ctypes.c_double),
        ("null_label", _INT64),
        ("threads", ctypes.c_int32),
        ("suspect", ctypes.c_int32),
        ("alpha", _POINTER),
        ("normalizer", _POINTER),
        ("frame_ends", _POINTER),
        ("label_ends", _POINTER),
        ("first", _POINTER),
        ("losses", _POINTER),
        ("edge_scores", _POINTER),
        ("frame_losses", _POINTER),
        ("grad_frame_logits", _POINTER),
        ("grad_label_weights", _POINTER),
        ("grad_losses", _POINTER),
        ("grad_logits", _POINTER),
        ("scaled_frame_logits", _POINTER),
        ("scaled_label_weights", _POINTER),
    )


def load(path: Path) -> ctypes.CDLL:
    """The compiled `ottc_cpu.c` in the file `path`.

    Raises:
        ImportError: it cannot be loaded.
    """
    return load_library(path, _Batch, ("ottc_forward", "ottc_backward"))


_LIBRARY = load(compiled("_ottc_cpu"))


def state_columns(inputs: OTTCInputs, slopes: Slopes) -> int:
    """See `Implementation`; `_place_state` has the layout."""
    T, U = inputs.logits.shape[1], inputs.targets.shape[1]
    return T + U + (_short_entries(T, U, slopes) + 1) // 2


def forward(
    inputs: OTTCInputs, slopes: Slopes, null: NullCapacity = NO_NULL_CAPACITY
) -> OTTCForward:
    """See `Implementation`."""
    inputs = packed(inputs, frame_dtype=torch.float32, weight_dtype=torch.float64)
    logits = inputs.logits
    B, T, _ = logits.shape
    U = inputs.targets.shape[1]
    losses = torch.empty(B)
    state = torch.empty(B, state_columns(inputs, slopes), dtype=torch.float64)
    if _short_entries(T, U, slopes) % 2:
        # What no array fills.
        ctypes.memset(state.data_ptr() + 8 * state.numel() - 4 * B, 0, 4 * B)
    scratch = torch.empty(B * 2 * T, dtype=torch.float64)
    batch = _describe(inputs, null)
    _place_state(batch, state, slopes)
    batch.frame_logits = address(inputs.frame_logits, torch.float32)
    if inputs.label_weights is not None:
        batch.label_weights = address(inputs.label_weights, torch.float64)
    batch.losses = losses.data_ptr()
    batch.frame_losses = start = scratch.data_ptr()
    if slopes.frame_logits:
        batch.edge_scores = start + 8 * B * T
    _LIBRARY.ottc_forward(ctypes.byref(batch))
    normalizer = None
    if batch.suspect:
        start = 2 * (T + U) * B + T * B
        normalizer = state.view(torch.float32).view(-1)[start : start + T * B].view(B, T)
    return OTTCForward(losses, state, normalizer)


def backward(
    inputs: OTTCInputs,
    state: Tensor,
    slopes: Slopes,
    grad_losses: Tensor,
    logits_wanted: bool,
    null: NullCapacity = NO_NULL_CAPACITY,
) -> OTTCGradients:
    """See `Implementation`."""
    inputs = packed(inputs)
    logits, frame_logits, targets, *_ = inputs
    grad_losses = contiguous(grad_losses, torch.float32)
    grad = torch.empty(logits.shape if logits_wanted else 0)
    frame_grad = torch.empty(frame_logits.shape if slopes.frame_logits else 0)
    label_grad = torch.empty(targets.shape if slopes.label_weights else 0)
    batch = _describe(inputs, null)
    _place_state(batch, state, slopes)
    batch.grad_losses = address(grad_losses, torch.float32)
    # The address of a tensor without elements is 0, which stands for what is not wanted.
    batch.grad_logits = grad.data_ptr()
    batch.scaled_frame_logits = frame_grad.data_ptr()
    batch.scaled_label_weights = label_grad.data_ptr()
    _LIBRARY.ottc_backward(ctypes.byref(batch))
    return in_dtypes(OTTCGradients(grad, frame_grad, label_grad), inputs)


def _short_entries(T: int, U: int, slopes: Slopes) -> int:
    """How many entries of four bytes the state has for an utterance."""
    return (3 + slopes.frame_logits) * T + (U if slopes.label_weights else 0)


def _place_state(batch: _Batch, state: Tensor, slopes: Slopes) -> None:
    """Point at the arrays within the state: two of doubles for the whole batch, then those of four bytes."""
    frames, labels = batch.batch * batch.frames, batch.batch * batch.labels
    # Not read back from the structure: ctypes gives None for the address 0 of an empty tensor.
    start = address(state, torch.float64)
    batch.frame_ends = start
    batch.label_ends = start + 8 * frames
    batch.alpha = short = start + 8 * (frames + labels)
    batch.normalizer = short + 4 * frames
    batch.first = short + 8 * frames
    if slopes.frame_logits:
        batch.grad_frame_logits = short + 12 * frames
    if slopes.label_weights:
        batch.grad_label_weights = short + 4 * (3 + slopes.frame_logits) * frames


def _describe(inputs: OTTCInputs, null: NullCapacity) -> _Batch:
    logits, _, targets, frame_lengths, label_lengths, _ = inputs
    batch = _Batch()
    batch.batch, batch.frames, batch.vocabulary = logits.shape
    batch.labels = targets.shape[1]
    batch.logits_batch_stride, batch.logits_frame_stride, _ = logits.stride()
    batch.logits = logits.data_ptr()
    batch.targets = address(targets, torch.int64)
    batch.frame_lengths = address(frame_lengths, torch.int64)
    batch.label_lengths = address(label_lengths, torch.int64)
    batch.tie, batch.smallest_weight = TIE, SMALLEST_LABEL_WEIGHT
    batch.null_capacity, batch.null_weight, batch.null_label = (
        null if null.used else NO_NULL_CAPACITY
    )
    # A thread for a small batch costs more than it does.
    batch.threads = min(torch.get_num_threads(), 1 + logits.numel() // _ELEMENTS_PER_THREAD)
    return batch
