"""Order of time for unbalanced transport: a cost for frames that stand far from a token in the text.

Positions count tokens: the middle of token u is u + ½.  Where a frame stands is the diagonal's guess, or what
a model's own monotone plan says.  Source: the diagonal is that of arXiv 2409.02239 (Lu, Shen and Kawai);
positions of a plan are this package's own.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.transport import cumulative_weights
from espnet_ottc.ops.validation import valid_mask


def order_cost(frame_positions: Tensor, token_positions: Tensor) -> Tensor:
    """Squared distances in tokens, to be added to a cost with a weight.

    Args:
        frame_positions: (B, T) floating point.
        token_positions: (B, U) floating point.

    Returns:
        (B, T, U).
    """
    return (frame_positions[:, :, None] - token_positions[:, None, :]).square()


def diagonal_positions(lengths: Tensor, size: int, extent: Tensor) -> Tensor:
    """Frames (or tokens) spread evenly over a text.

    Args:
        lengths: (B,) how many each utterance has.
        size: N, the padded number of them.
        extent: (B,) floating point, where the text ends; a text of U tokens ends at U.

    Returns:
        (B, N) middles; 0 in the padding.
    """
    middles = torch.arange(size, device=lengths.device, dtype=extent.dtype) + 0.5
    positions = middles * (extent / lengths.clamp(min=1))[:, None]
    return torch.where(valid_mask(lengths, size), positions, 0.0)


def plan_positions(
    alpha: Tensor, lengths: Tensor, label_ends: Tensor, text_ends: Tensor, label_lengths: Tensor
) -> Tensor:
    """Where a monotone plan puts the middle of each frame in a text.

    The plan's label u owns the masses [B(u−1), B(u)) and the stretch [x(u−1), x(u)) of the text; a frame's
    middle A(t) − α_t/2 is carried over along straight lines.

    Args:
        alpha: (B, T) frame weights of sum 1.
        lengths: (B,) frames.
        label_ends: (B, U) B(u), cumulative label weights, ending at 1.
        text_ends: (B, U) x(u) ≥ 0, non-decreasing.
        label_lengths: (B,) labels.

    Returns:
        (B, T) in the unit of `text_ends`; 0 in the padding.
    """
    T, U = alpha.shape[1], label_ends.shape[1]
    if not U:
        return torch.zeros_like(alpha)
    A = cumulative_weights(alpha, lengths).to(label_ends.dtype)
    middles = A - 0.5 * torch.where(valid_mask(lengths, T), alpha, 0.0).to(A.dtype)
    inside = valid_mask(label_lengths, U)
    ends = torch.where(inside, label_ends, 2.0)  # behind every middle
    last = (label_lengths - 1).clamp(min=0)[:, None]
    label = torch.minimum(torch.searchsorted(ends.contiguous(), middles.contiguous()), last)
    first = label == 0
    before = (label - 1).clamp(min=0)
    start = torch.where(first, 0.0, label_ends.gather(1, before))
    width = (label_ends.gather(1, label) - start).clamp(min=torch.finfo(A.dtype).tiny)
    from_text = torch.where(first, 0.0, text_ends.gather(1, before))
    extent = text_ends.gather(1, label) - from_text
    positions = from_text + extent * ((middles - start) / width).clamp(0, 1)
    return torch.where(valid_mask(lengths, T), positions, 0.0).to(alpha.dtype)
