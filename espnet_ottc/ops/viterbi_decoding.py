"""Label sequences by the best path through the frames, on which a change of label has its price.

A frame's weight α says at which rate labels change there: with uniform label weights a target of U labels has
one change for each 1/U of the mass.  So the frames are the emissions and α is the transitions of a hidden
Markov model whose states are the labels.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.greedy_decoding import spoken_labels
from espnet_ottc.ops.targets import run_starts
from espnet_ottc.ops.validation import check_posteriors

# The ways of recognising words: this search, and each frame's best label.
DECODERS = ("viterbi", "greedy")
# Between no price, where each frame has its best label, and so high a one that labels get lost.
TRANSITION_SCALE = 0.5
# Rates beyond these would forbid a change, or its absence.
_RATES = (0.05, 0.95)
# A label of probability 0 is bad, but not worse than everything else together.
_LOG_ZERO = -20.0
# How often the number of labels, which the rates need, is taken from the path that it led to.
_ROUNDS = 3


def check_decoder(name: str) -> None:
    """Refuse another way of recognising words.

    Raises:
        ValueError: it is not in `DECODERS`.
    """
    if name not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}; got {name!r}")


@torch.no_grad()
def viterbi_labels(
    log_probs: Tensor,
    alpha: Tensor,
    lengths: Tensor,
    *,
    transition_scale: float = TRANSITION_SCALE,
    blank: int = 0,
    boundary: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The labels along the best path y_1 … y_T, argmax Σ_t T α_t log p(y_t|t) + κ Σ_t log a_t(y_{t−1}, y_t).

    a_t is the rate q_t = U α_t where the label changes and 1 − q_t where it stays; U is the path's own number
    of labels.  κ = 0 is greedy decoding, apart from the boundary label, which both ends of the path have.
    O(T·V) for an utterance.

    Args:
        log_probs: (B, T, V) float, log-probabilities of labels, V ≥ 2.
        alpha: (B, T) float ≥ 0, frame weights that sum to 1 over the valid frames.
        lengths: (B,) integers in [0, T], valid frames.
        transition_scale: κ ≥ 0.
        blank: id of the blank.
        boundary: id of the boundary label, or None.

    Returns:
        labels: (B, T) as `spoken_labels` has them: without blanks, and without boundary labels at the ends;
            padded with the blank.
        lengths: (B,) int64.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, device or length, fewer than two labels, a negative
            scale.

    Source: Viterbi 1967; rates from OTTC's frame weights (docs/decisions/0014).
    """
    check_posteriors(log_probs, alpha, lengths)
    T = log_probs.shape[1]
    if not transition_scale >= 0:
        raise ValueError(f"transition_scale must be at least 0, got {transition_scale}")
    lengths = lengths.to(log_probs.device)
    path = log_probs.argmax(2)
    counts = run_starts(path, lengths).sum(1)
    weighted = (lengths[:, None] * alpha)[..., None] * log_probs.clamp(min=_LOG_ZERO)
    for _ in range(_ROUNDS if T else 0):
        rates = (counts[:, None] * alpha).clamp(*_RATES)
        move, stay = transition_scale * rates.log(), transition_scale * (-rates).log1p()
        path = _best_path(weighted, stay, move, lengths, boundary)
        before, counts = counts, run_starts(path, lengths).sum(1)
        if bool((counts == before).all()):
            break
    return spoken_labels(path, lengths, blank=blank, boundary=boundary)


def _best_path(
    scores: Tensor, stay: Tensor, move: Tensor, lengths: Tensor, boundary: int | None
) -> Tensor:
    """(B, T) labels of the best path; what stands beyond `lengths` means nothing.

    Only the best label that differs from it can come before a label, so that two per frame are remembered.

    Args:
        scores: (B, T, V) of labels.
        stay, move: (B, T) of keeping and of changing the label from the frame before.
        lengths: (B,).
        boundary: the label at both ends, or None.
    """
    B, T, V = scores.shape
    names = torch.arange(V, device=scores.device)
    ends = scores.new_zeros(V)
    if boundary is not None:
        ends = torch.where(names == boundary, 0.0, -torch.inf).to(scores)
    inside = torch.arange(T, device=scores.device) < lengths[:, None]
    total = scores[:, 0] + ends
    moved = torch.zeros(T, B, V, dtype=torch.bool, device=scores.device)
    leaders = torch.zeros(T, B, 2, dtype=torch.int64, device=scores.device)
    for t in range(1, T):
        two, leaders[t] = total.topk(2, dim=1)
        # So that float32 is enough for hours.
        total, two = total - two[:, :1], two - two[:, :1]
        entered = torch.where(names == leaders[t, :, :1], two[:, 1:], two[:, :1]) + move[:, t, None]
        kept = total + stay[:, t, None]
        moved[t] = entered > kept
        following = torch.maximum(entered, kept) + scores[:, t]
        total = torch.where(inside[:, t, None], following, total)
    label = (total + ends).argmax(1)
    path = label[:, None].repeat(1, T)
    for t in range(T - 1, 0, -1):
        path[:, t] = label
        came = moved[t].gather(1, label[:, None])[:, 0] & inside[:, t]
        first, second = leaders[t].unbind(1)
        label = torch.where(came, torch.where(first == label, second, first), label)
    path[:, 0] = label
    return path
