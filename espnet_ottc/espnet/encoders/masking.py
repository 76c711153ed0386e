"""Random spans of frames or channels to mask."""

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_ottc.ops.validation import valid_mask


def span_mask(lengths: Tensor, longest: int, share: float, span: int) -> Tensor:
    """Random spans to mask: (B, longest) bool, true inside them.

    Of n entries about share·n/span spans are drawn (rounded up or down at random, so that the mean is
    right), with starts anywhere a span fits, all different; spans may overlap, so that fewer than `share` of
    the entries are covered.  The masks of wav2vec 2.0 (Baevski et al. 2020, section 3.1).

    Args:
        lengths: (B,) valid entries; one shorter than a span gets no mask.
        longest: the padded length.
        share: in [0, 1].
        span: ≥ 1 entries.
    """
    counts = (lengths * share / span + torch.rand(lengths.shape, device=lengths.device)).floor()
    fits = valid_mask(lengths - span + 1, longest)
    draws = torch.rand(fits.shape, device=lengths.device).masked_fill(~fits, -1.0)
    rank = draws.argsort(1, descending=True).argsort(1)
    started = ((rank < counts[:, None]) & fits).int().cumsum(1)
    return started > F.pad(started, (span, 0))[:, :longest]
