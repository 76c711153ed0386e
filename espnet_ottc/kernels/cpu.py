"""The C kernel of the loss (`ottc_cpu.c`), called through ctypes; float32 on the CPU.

The shared library is compiled when the package is installed.  It runs on PyTorch's own OpenMP
threads, since both load the same libgomp.
"""

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.kernels import GradientsWanted, OTTCForward, OTTCGradients, OTTCInputs
from espnet_ottc.transport import TIE
from espnet_ottc.validation import SMALLEST_LABEL_WEIGHT

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


def _load() -> ctypes.CDLL:
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"_ottc_cpu{suffix}"
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
            except OSError as fault:
                raise ImportError(f"{path.name} cannot be loaded: {fault}") from fault
            for name in ("ottc_forward", "ottc_backward"):
                getattr(library, name).argtypes = [ctypes.POINTER(_Batch)]
                getattr(library, name).restype = None
            return library
    raise ImportError(
        "the C kernel was not compiled; install a C compiler and run "
        "`pip install --force-reinstall --no-deps espnet-ottc`"
    )


_LIBRARY = _load()


def forward(inputs: OTTCInputs, grads: GradientsWanted) -> OTTCForward:
    """See `espnet_ottc.kernels`; `kept` is alpha, the two cumulative sums and the first labels."""
    logits = _unit_stride(inputs.logits)
    B, T, _ = logits.shape
    U = inputs.targets.shape[1]
    frame_logits = inputs.frame_logits.float().contiguous()
    weights = inputs.label_weights
    weights = None if weights is None else weights.double().contiguous()
    alpha, normalizer, losses = logits.new_empty(B, T), logits.new_empty(B, T), logits.new_empty(B)
    frame_ends = torch.empty(B, T, dtype=torch.float64)
    label_ends = torch.empty(B, U, dtype=torch.float64)
    frame_losses = torch.empty(B, T, dtype=torch.float64)
    first = torch.empty(B, T, dtype=torch.int32)
    grad_frames = logits.new_empty(B, T) if grads.frame_logits else None
    edges = logits.new_empty(B, T, 2) if grads.frame_logits else None
    grad_weights = logits.new_empty(B, U) if grads.label_weights else None
    targets = inputs.targets.contiguous()
    batch = _describe(logits, targets, inputs)
    batch.frame_logits = frame_logits.data_ptr()
    batch.label_weights = _pointer(weights)
    batch.alpha = alpha.data_ptr()
    batch.normalizer = normalizer.data_ptr()
    batch.frame_ends = frame_ends.data_ptr()
    batch.label_ends = label_ends.data_ptr()
    batch.first = first.data_ptr()
    batch.losses = losses.data_ptr()
    batch.edge_scores = _pointer(edges)
    batch.frame_losses = frame_losses.data_ptr()
    batch.grad_frame_logits = _pointer(grad_frames)
    batch.grad_label_weights = _pointer(grad_weights)
    _LIBRARY.ottc_forward(ctypes.byref(batch))
    kept = (alpha, frame_ends, label_ends, first)
    return OTTCForward(losses, normalizer, grad_frames, grad_weights, kept, not batch.suspect)


def backward(
    inputs: OTTCInputs, result: OTTCForward, grad_losses: Tensor, grad_logits: bool
) -> OTTCGradients:
    """See `espnet_ottc.kernels`."""
    logits, targets = _unit_stride(inputs.logits), inputs.targets.contiguous()
    grad_losses = grad_losses.contiguous()
    frames, weights = result.grad_frame_logits, result.grad_label_weights
    grads = OTTCGradients(
        logits.new_empty(logits.shape) if grad_logits else None,
        None if frames is None else torch.empty_like(frames),
        None if weights is None else torch.empty_like(weights),
    )
    alpha, frame_ends, label_ends, first = result.kept
    batch = _describe(logits, targets, inputs)
    batch.alpha = alpha.data_ptr()
    batch.normalizer = result.normalizer.data_ptr()
    batch.frame_ends = frame_ends.data_ptr()
    batch.label_ends = label_ends.data_ptr()
    batch.first = first.data_ptr()
    batch.grad_frame_logits = _pointer(frames)
    batch.grad_label_weights = _pointer(weights)
    batch.grad_losses = grad_losses.data_ptr()
    batch.grad_logits = _pointer(grads.logits)
    batch.scaled_frame_logits = _pointer(grads.frame_logits)
    batch.scaled_label_weights = _pointer(grads.label_weights)
    _LIBRARY.ottc_backward(ctypes.byref(batch))
    return grads


def _describe(logits: Tensor, targets: Tensor, inputs: OTTCInputs) -> _Batch:
    batch = _Batch()
    batch.batch, batch.frames, batch.vocabulary = logits.shape
    batch.labels = targets.shape[1]
    batch.logits_batch_stride, batch.logits_frame_stride, _ = logits.stride()
    batch.logits = logits.data_ptr()
    batch.targets = targets.data_ptr()
    batch.frame_lengths = inputs.logit_lengths.data_ptr()
    batch.label_lengths = inputs.target_lengths.data_ptr()
    batch.tie, batch.smallest_weight = TIE, SMALLEST_LABEL_WEIGHT
    # A thread for a small batch costs more than it does.
    batch.threads = min(torch.get_num_threads(), 1 + logits.numel() // _ELEMENTS_PER_THREAD)
    return batch


def _unit_stride(logits: Tensor) -> Tensor:
    return logits if logits.stride(2) == 1 else logits.contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
