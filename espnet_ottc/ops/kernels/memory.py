"""Tensors that kernels read and write by address: made fit for it, or refused, in this one place.

A kernel in C or Triton knows a tensor by its address and by what its source says of it: a dtype and a layout.
A view, an expanded tensor or another dtype would be read as something else, without a word.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import OTTCGradients, OTTCInputs


def packed(
    inputs: OTTCInputs,
    *,
    frame_dtype: torch.dtype | None = None,
    weight_dtype: torch.dtype | None = None,
) -> OTTCInputs:
    """The inputs as kernels read them; a tensor that is so already comes back itself.

    Args:
        inputs: of any strides.
        frame_dtype: what the frame scores become; None leaves them.
        weight_dtype: what the label weights become; None leaves them.

    Returns:
        Contiguous tensors, lengths and targets int64.  Of the logits the vocabulary's stride is 1 and the
        others are free, so that no copy of their size is made for a transposed batch.
    """
    logits, frame_logits, targets, frame_lengths, label_lengths, weights = inputs
    return OTTCInputs(
        unit_stride(logits),
        contiguous(frame_logits, frame_dtype),
        contiguous(targets, torch.int64),
        contiguous(frame_lengths, torch.int64),
        contiguous(label_lengths, torch.int64),
        None if weights is None else contiguous(weights, weight_dtype),
    )


def contiguous(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`tensor` without gaps, of `dtype` (None: its own); a sign that PyTorch only notes is applied."""
    if dtype is not None and tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return tensor.contiguous().resolve_neg()


def unit_stride(logits: Tensor) -> Tensor:
    """(B, T, V) logits whose last stride is 1; the others are free."""
    logits = logits.resolve_neg()
    return logits if logits.stride(2) == 1 else logits.contiguous()


def address(tensor: Tensor, dtype: torch.dtype) -> int:
    """Where a contiguous tensor in the CPU's memory begins.

    Raises:
        RuntimeError: another dtype, device or layout than the C source reads; a fault of ours, not a user's.
    """
    if tensor.dtype != dtype or not (tensor.is_cpu and tensor.is_contiguous()):
        raise RuntimeError(
            f"the C kernel reads contiguous {dtype} on the CPU; got {tensor.dtype} on {tensor.device} "
            f"with strides {tensor.stride()}"
        )
    return tensor.data_ptr()


def in_dtypes(grads: OTTCGradients, inputs: OTTCInputs) -> OTTCGradients:
    """The gradients in the dtypes of their inputs."""
    logits, frames, weights = grads
    if frames.dtype != inputs.frame_logits.dtype:
        frames = frames.to(inputs.frame_logits.dtype)
    if inputs.label_weights is not None and weights.dtype != inputs.label_weights.dtype:
        weights = weights.to(inputs.label_weights.dtype)
    return OTTCGradients(logits, frames, weights)
