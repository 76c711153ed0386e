"""What the frames of an utterance could explain and do not: the place for mass that matches nothing.

Each of the T_b frames has the capacity θ/T_b.  The plan uses α_t of it, and what is left over, r_t, teaches
the null label (docs/unbalanced.md has the derivation).
"""

import torch
from torch import Tensor

from espnet_ottc.ops.validation import valid_mask


def unused_capacity(
    alpha: Tensor, frame_lengths: Tensor, label_lengths: Tensor, capacity: float
) -> Tensor:
    """r_t = max(θ/T_b − α_t, 0) of each valid frame.

    Args:
        alpha: (B, T) frame weights that sum to 1 over the valid frames.
        frame_lengths: (B,) valid frames, clamped to [0, T].
        label_lengths: (B,) labels; an utterance with none uses no plan, and has r = 0.
        capacity: θ in [0, 1].

    Returns:
        (B, T) in the dtype of alpha, ≥ 0, sum at most θ; 0 in the padding, and where α is NaN.
    """
    T = alpha.shape[1]
    frame_lengths = frame_lengths.to(alpha.device).clamp(0, T)
    taught = valid_mask(frame_lengths, T) & (label_lengths.to(alpha.device) > 0)[:, None]
    share = capacity / frame_lengths.clamp(min=1).to(alpha.dtype)
    unused = share[:, None] - alpha
    return torch.where(taught & (unused > 0), unused, 0.0)


def null_share(epoch: int, after_epoch: int) -> float:
    """How much of its weight the null capacity has in an epoch, counted from 1.

    None up to `after_epoch`, then more by equal steps over a third as many epochs.
    """
    return min(1.0, max(0.0, (epoch - after_epoch) / (round(after_epoch / 3) + 1)))
