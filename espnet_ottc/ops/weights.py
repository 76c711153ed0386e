"""Weights of frames and labels: the uniform ones, and the rules that weights have to keep.

Weights of either side sum to 1 over an utterance's valid entries.  Label weights are positive besides
(paper, section 4.2: beta "with no zero components"): a label of weight zero would take no part in the
alignment, and the model could leave it out for nothing.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.precision import device_of_sums
from espnet_ottc.ops.validation import (
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    raise_first,
    valid_mask,
)

# A label weight below this could not be told from rounding once it has been accumulated.
SMALLEST_LABEL_WEIGHT = 1e-9

_SUM_TOLERANCE = {
    torch.float64: 1e-5,
    torch.float32: 1e-3,
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
}


def uniform_label_weights(
    lengths: Tensor,
    max_length: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Give every label the same weight, 1/U_b: the paper's choice (section 5).

    Args:
        lengths: (B,) labels of each sequence, clamped to 0 <= U_b <= max_length.
        max_length: the padded length U.
        dtype: floating-point dtype of the weights.
        device: where the weights go; None is where `lengths` is.

    Returns:
        (B, U) weights, zero in the padding; an utterance without labels has none at all.
    """
    check_integer("lengths", lengths, 1)
    lengths = lengths.to(device) if device is not None else lengths
    lengths = lengths.clamp(0, max_length)
    share = 1 / lengths.clamp(min=1).to(dtype)
    return torch.where(valid_mask(lengths, max_length), share[:, None], 0.0)


def check_label_weights(weights: Tensor, lengths: Tensor, *, name: str = "label_weights") -> None:
    """Raise unless each utterance's label weights are positive and sum to 1 (reads the values).

    Args:
        weights: (B, U) floating point; what stands beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence; an utterance without labels is accepted.
        name: what the caller calls the weights.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, a length outside [0, U], a weight below
            1e-9, infinite or NaN, or a sum that differs from 1 by more than rounding.
    """
    check_floating(name, weights, 2)
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (weights.shape[0],), "(B,)")
    check_lengths("lengths", lengths, *weights.shape)
    check_weights(name, weights, lengths, zeros_allowed=False)


def check_weights(name: str, weights: Tensor, lengths: Tensor, *, zeros_allowed: bool) -> None:
    """Raise ValueError unless each utterance's valid weights lie on the simplex (reads the values).

    Args:
        weights: (B, N) floating point; what stands beyond `lengths` is ignored.
        lengths: (B,) valid entries; an utterance with none is accepted.
        zeros_allowed: frame weights may be zero, label weights must be at least 1e-9.
    """
    place = device_of_sums(weights.device)
    values, lengths = weights.detach().to(place).double(), lengths.to(place)
    valid = valid_mask(lengths, weights.shape[1])
    smallest = 0.0 if zeros_allowed else SMALLEST_LABEL_WEIGHT
    rule = "not be negative" if zeros_allowed else f"be at least {SMALLEST_LABEL_WEIGHT}"
    bad = ~(values >= smallest) & valid | (valid & values.isinf())

    def bad_value(b: int) -> str:
        position = int(bad[b].nonzero()[0, 0])
        return (
            f"{name} must be finite and {rule}; got {float(values[b, position])} "
            f"at position {position}"
        )

    raise_first(bad.any(1), bad_value)
    total = torch.where(valid, values, 0.0).sum(1)
    tolerance = _SUM_TOLERANCE[weights.dtype]
    off = ((total - 1).abs() > tolerance) & (lengths > 0)
    raise_first(
        off,
        lambda b: (
            f"{name} must sum to 1 within {tolerance} over the valid entries; got {float(total[b])}"
        ),
    )
