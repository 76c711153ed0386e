"""Checks of tensors that describe padded batches.

Each error says what was wrong, the rule, and what arrived, and names the utterance of the batch.

Shapes and dtypes are always checked: they cost nothing.  Checks of values read the tensors, which
on a GPU waits for all queued work; the public functions therefore run them by default on the CPU
alone, and elsewhere on request (`validate=True`).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def values_are_checked(validate: bool | None, tensor: Tensor, *, by_operator: bool = False) -> bool:
    """Resolve the option `validate`: None means where reading a value is free.

    That is on the CPU, and in a compiled program only within an operator: it cannot stop to look at a value.
    """
    if validate is None:
        free = by_operator or not torch.compiler.is_compiling()
        return free and tensor.device.type == "cpu"
    return validate


def check_floating(name: str, tensor: Tensor, dims: int) -> None:
    """Raise unless `tensor` is a floating-point tensor of `dims` dimensions.

    Raises:
        TypeError: not a tensor, or not of a floating-point dtype.
        ValueError: another number of dimensions.
    """
    check_tensor(name, tensor, dims)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {tensor.dtype}")


def check_integer(name: str, tensor: Tensor, dims: int) -> None:
    """Raise unless `tensor` is an integer tensor of `dims` dimensions.

    Raises:
        TypeError: not a tensor, or not of an integer dtype.
        ValueError: another number of dimensions.
    """
    check_tensor(name, tensor, dims)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be of an integer dtype, got {tensor.dtype}")


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Raise ValueError unless `tensor` has `shape`; `meaning` is that shape in letters."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {meaning} = {shape}, got {tuple(tensor.shape)}")


def check_lengths(name: str, lengths: Tensor, batch: int, longest: int) -> None:
    """Raise ValueError unless 0 <= lengths <= longest for every utterance (reads the values).

    Args:
        lengths: (B,) integers.
        batch: B.
        longest: the padded length of the tensor that `lengths` describes.
    """
    bad = (lengths < 0) | (lengths > longest)
    raise_first(
        bad,
        lambda b: f"{name} must lie in [0, {longest}], the padded length; got {int(lengths[b])}",
    )
    assert lengths.shape == (batch,)


def check_targets(name: str, targets: Tensor, lengths: Tensor, vocabulary: int) -> None:
    """Raise ValueError unless every valid label id lies in [0, vocabulary) (reads the values)."""
    valid = valid_mask(lengths, targets.shape[1])
    bad = ((targets < 0) | (targets >= vocabulary)) & valid

    def message(b: int) -> str:
        position = int(bad[b].nonzero()[0, 0])
        return (
            f"{name} must be label ids in [0, V) with V = {vocabulary}; "
            f"got {int(targets[b, position])} at position {position}"
        )

    raise_first(bad.any(1), message)


def valid_mask(lengths: Tensor, longest: int) -> Tensor:
    """True where an entry of a padded batch is valid: (B, longest) bool from (B,) lengths."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def check_labels(
    scores: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None,
) -> None:
    """Raise unless kinds, shapes and devices fit (B, T, V) scores; lengths may lie anywhere.

    Raises:
        TypeError, ValueError: targets that are not (B, U) integers, lengths that are not (B,) integers,
            label weights that are not (B, U) floating point.
    """
    check_integer("targets", targets, 2)
    check_integer("logit_lengths", logit_lengths, 1)
    check_integer("target_lengths", target_lengths, 1)
    B, U = len(scores), targets.shape[1]
    check_shape("targets", targets, (B, U), "(B, U)")
    check_shape("logit_lengths", logit_lengths, (B,), "(B,)")
    check_shape("target_lengths", target_lengths, (B,), "(B,)")
    check_device("targets", targets, scores)
    if label_weights is not None:
        check_floating("label_weights", label_weights, 2)
        check_shape("label_weights", label_weights, (B, U), "(B, U)")
        check_device("label_weights", label_weights, scores)


def check_tensor(name: str, tensor: Tensor, dims: int) -> None:
    """Raise TypeError unless `tensor` is a tensor, ValueError unless it has `dims` dimensions."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dim() != dims:
        raise ValueError(f"{name} must have {dims} dimensions, got shape {tuple(tensor.shape)}")


def raise_first(bad: Tensor, message: Callable[[int], str]) -> None:
    """Raise ValueError with `message(b)` for the first utterance b where `bad` (B,) is true."""
    if bool(bad.any()):
        b = int(bad.nonzero()[0, 0])
        raise ValueError(f"utterance {b}: {message(b)}")


def check_device(name: str, tensor: Tensor, like: Tensor) -> None:
    """Raise ValueError unless `tensor` lies on the device of `like`."""
    if tensor.device != like.device:
        raise ValueError(f"{name} must lie on {like.device}, got {tensor.device}")


def check_posteriors(log_probs: Tensor, alpha: Tensor, lengths: Tensor) -> None:
    """Check what a search for labels is given: (B, T, V) with V ≥ 2, (B, T) and (B,).

    Raises:
        TypeError, ValueError: a wrong dtype, shape, device or length, or fewer than two labels.
    """
    check_floating("log_probs", log_probs, 3)
    B, T, V = log_probs.shape
    check_floating("alpha", alpha, 2)
    check_shape("alpha", alpha, (B, T), "(B, T)")
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (B,), "(B,)")
    check_lengths("lengths", lengths, B, T)
    check_device("alpha", alpha, log_probs)
    if V < 2:
        raise ValueError(f"log_probs must have at least two labels, got {V}")
