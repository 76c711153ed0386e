"""Where A, the running sum of frame weights, crosses B, that of label weights.

With A = cumsum(α) as a function of the position on the frame axis (linear inside a frame) and
B = cumsum(β), label u takes the time in which A runs from B(u−1) to B(u) (OTTC, arXiv 2502.01588,
Section 4.2).
"""

import torch
from torch import Tensor

from espnet_ottc.ops.precision import brought_back, device_of_sums
from espnet_ottc.ops.transport import cumulative_weights, join_ties
from espnet_ottc.ops.validation import valid_mask

# The label of a frame that has none.
NO_LABEL = -1


def boundaries(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Where each label starts and ends on the frame axis.

    start(u) = sup {p : A(p) ≤ B(u−1)} and end(u) = inf {p : A(p) ≥ B(u)}: frames of weight 0
    between two labels belong to neither.  O((T+U) log T).

    Args:
        alpha: (B, T) frame weights, ≥ 0, sum 1 over the valid frames.
        beta: (B, U) label weights, > 0, sum 1 over the valid labels.
        frame_lengths: (B,) valid frames.
        label_lengths: (B,) valid labels.

    Returns:
        (B, U) starts and (B, U) ends, float64 (float32 on a device without it), in frames; 0 in the padding.
    """
    device = alpha.device
    A, B = _cumulative(alpha, beta, frame_lengths, label_lengths)
    if not A.shape[1] or not B.shape[1]:
        zeros = brought_back(torch.zeros_like(B), device)
        return zeros, zeros.clone()
    before = torch.cat([torch.zeros_like(B[:, :1]), B[:, :-1]], 1)
    valid = valid_mask(label_lengths.to(B.device), B.shape[1])
    starts = torch.where(valid, _crossing(A, before, after=True), 0.0)
    ends = torch.where(valid, _crossing(A, B, after=False), 0.0)
    return brought_back(starts, device), brought_back(ends, device)


def labels_at_centres(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> Tensor:
    """(B, T) int64: the label whose time holds the frame's centre; −1 where a frame has no weight.

    A centre that is a boundary goes to the later label.
    """
    A, B = _cumulative(alpha, beta, frame_lengths, label_lengths)
    if not A.shape[1] or not B.shape[1]:
        return torch.full(A.shape, NO_LABEL, device=alpha.device)
    before = torch.cat([torch.zeros_like(A[:, :1]), A[:, :-1]], 1)
    labels = torch.searchsorted(B, (before + A) / 2, right=True)
    valid = valid_mask(frame_lengths.to(A.device), A.shape[1])
    has_weight = (before < A) & valid & (label_lengths > 0).to(A.device)[:, None]
    return torch.where(has_weight, labels, NO_LABEL).to(alpha.device)


def _cumulative(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """A (B, T) and B (B, U), float64, on a device that has it; breakpoints within rounding are made one."""
    place = device_of_sums(alpha.device)
    A = cumulative_weights(alpha.detach().to(place), frame_lengths.to(place))
    B = cumulative_weights(beta.detach().to(place), label_lengths.to(place))
    return join_ties(A, B), B


def _crossing(A: Tensor, levels: Tensor, *, after: bool) -> Tensor:
    """Where A reaches `levels` (B, U): the last such position if `after`, else the first."""
    frame = torch.searchsorted(A, levels, right=after).clamp(max=A.shape[1] - 1)
    upper = A.gather(1, frame)
    lower = torch.where(frame > 0, A.gather(1, (frame - 1).clamp(min=0)), 0.0)
    weight = upper - lower
    inside = torch.where(weight > 0, (levels - lower) / weight, 0.0)
    return frame + inside.clamp(0.0, 1.0)
