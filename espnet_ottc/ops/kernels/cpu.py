"""The C kernel of the loss (`ottc_cpu.c`), called through ctypes; float32 on the CPU.

The shared library is compiled when the package is installed.  It runs on PyTorch's own OpenMP
threads, since both load the same libgomp.
"""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import GradientsWanted, OTTCForward, OTTCGradients, OTTCInputs
from espnet_ottc.ops.kernels.library import compiled, load_library
from espnet_ottc.ops.kernels.memory import address, contiguous, packed
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
    return load_library(path, {"ottc_forward": _Batch, "ottc_backward": _Batch})


_LIBRARY = load(compiled("_ottc_cpu"))


def forward(inputs: OTTCInputs, grads: GradientsWanted) -> OTTCForward:
    """See `espnet_ottc.ops.kernels`; `kept` is one block of memory, laid out by `_place_state`."""
    inputs = packed(inputs, frame_dtype=torch.float32, weight_dtype=torch.float64)
    B, T, _ = inputs.logits.shape
    U = inputs.targets.shape[1]
    losses, normalizer = _floats(B), _floats(B, T)
    grad_frames = _floats(B, T) if grads.frame_logits else None
    grad_weights = _floats(B, U) if grads.label_weights else None
    state = torch.empty(B * (2 * T + U), dtype=torch.float64)
    scratch = torch.empty(B * 2 * T, dtype=torch.float64)
    batch = _describe(inputs)
    _place_state(batch, state)
    batch.frame_logits = address(inputs.frame_logits, torch.float32)
    batch.label_weights = _pointer(inputs.label_weights, torch.float64)
    batch.normalizer = _pointer(normalizer)
    batch.losses = _pointer(losses)
    start = address(scratch, torch.float64)
    batch.frame_losses = start
    batch.edge_scores = start + 8 * B * T if grads.frame_logits else None
    batch.grad_frame_logits = _pointer(grad_frames)
    batch.grad_label_weights = _pointer(grad_weights)
    _LIBRARY.ottc_forward(ctypes.byref(batch))
    sound = not batch.suspect
    return OTTCForward(losses, normalizer, grad_frames, grad_weights, (state,), sound)


def backward(
    inputs: OTTCInputs, result: OTTCForward, grad_losses: Tensor, grad_logits: bool
) -> OTTCGradients:
    """See `espnet_ottc.ops.kernels`."""
    inputs = packed(inputs)
    grad_losses = contiguous(grad_losses, torch.float32)
    frames, weights = result.grad_frame_logits, result.grad_label_weights
    grads = OTTCGradients(
        _floats(*inputs.logits.shape) if grad_logits else None,
        None if frames is None else _floats(*frames.shape),
        None if weights is None else _floats(*weights.shape),
    )
    batch = _describe(inputs)
    _place_state(batch, result.kept[0])
    batch.normalizer = _pointer(result.normalizer)
    batch.grad_frame_logits = _pointer(frames)
    batch.grad_label_weights = _pointer(weights)
    batch.grad_losses = _pointer(grad_losses)
    batch.grad_logits = _pointer(grads.logits)
    batch.scaled_frame_logits = _pointer(grads.frame_logits)
    batch.scaled_label_weights = _pointer(grads.label_weights)
    _LIBRARY.ottc_backward(ctypes.byref(batch))
    return grads


def _place_state(batch: _Batch, state: Tensor) -> None:
    """Point at the four arrays within `state`: two of doubles first, then two of four bytes an entry."""
    frames, labels = batch.batch * batch.frames, batch.batch * batch.labels
    # Not read back from the structure: ctypes gives None for the address 0 of an empty tensor.
    start = address(state, torch.float64)
    batch.frame_ends = start
    batch.label_ends = start + 8 * frames
    batch.alpha = start + 8 * (frames + labels)
    batch.first = start + 8 * (frames + labels) + 4 * frames


def _describe(inputs: OTTCInputs) -> _Batch:
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
    # A thread for a small batch costs more than it does.
    batch.threads = min(torch.get_num_threads(), 1 + logits.numel() // _ELEMENTS_PER_THREAD)
    return batch


def _pointer(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> int | None:
    return None if tensor is None else address(tensor, dtype)


def _floats(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)
