"""The label sequence of the smallest OTTC loss, with uniform label weights: what `best_path` means here.

In the literature on CTC "best path" decoding is greedy: the best label of each frame.  Here it is the label
sequence whose one alignment, the transport, scores best as a whole.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from espnet_ottc.ops.precision import brought_back, device_of_sums
from espnet_ottc.ops.validation import check_posteriors

# Numbers of labels that are tried, as shares of the number of runs of the frames' best labels: flickering
# frames make too many runs, labels that are nowhere the best too few.
_FEWEST, _MOST = 0.5, 1.5
# A label of probability 0 on a frame without weight must cost nothing.
_LOG_ZERO = -1e4
# Scores held at a time.
_CELLS = 1 << 24


class BestPath(NamedTuple):
    """Label sequences as a target has them, with blanks between repeats and boundary labels.

    Attributes:
        labels: (B, U) int64, padded with the blank.
        lengths: (B,) int64; 0 for an utterance without frames.
        scores: (B,) float64 (float32 on a device without it), Σ_{t,u} γ(t,u) log p(y_u|t), nats per unit
            of mass.
    """

    labels: Tensor
    lengths: Tensor
    scores: Tensor


@torch.no_grad()
def best_path(
    log_probs: Tensor,
    alpha: Tensor,
    lengths: Tensor,
    *,
    blank: int = 0,
    boundary: int | None = None,
) -> BestPath:
    """argmax_{U, y} Σ_{t,u} γ(t,u) log p(y_u|t) for β_u = 1/U: the sequence of the smallest loss.

    For a given U the plan γ does not depend on the labels: A cuts the utterance into U pieces of equal mass.
    Each label is the best of its piece, within the rules of targets: no two equal neighbours, the boundary
    label (if there is one) at both ends, no blank there otherwise.  So the search remembers the last label
    alone and costs O(T·V + Σ_U U·V) over the U of `candidate_sizes`.

    This is not what "best path" means for CTC, which is greedy decoding.  The best label of each
    frame loses a label that is nowhere the best and repeats one whose frames flicker; here each label answers
    for its share of the mass.

    Args:
        log_probs: (B, T, V) float, log-probabilities of labels, V ≥ 2.
        alpha: (B, T) float ≥ 0, frame weights that sum to 1 over the valid frames.
        lengths: (B,) integers in [0, T], valid frames.
        blank: id of the blank.
        boundary: id of the boundary label, or None.

    Returns:
        See `BestPath`; on the device of `log_probs`.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, device or length, or fewer than two labels.

    Source: OTTC (arXiv 2502.01588), Eq. 12, minimised over label sequences.
    """
    check_posteriors(log_probs, alpha, lengths)
    device = log_probs.device
    place = device_of_sums(device)
    log_probs, alpha, lengths = log_probs.to(place), alpha.to(place), lengths.to(place)
    found, scores = [], []
    for b, length in enumerate(lengths.tolist()):
        labels: list[int] = []
        score = 0.0
        if length:
            labels, score = _best_of_sizes(
                log_probs[b, :length], alpha[b, :length], blank, boundary
            )
        found.append(labels)
        scores.append(score)
    counts = [len(labels) for labels in found]
    padded = torch.full((len(found), max(counts, default=0)), blank, dtype=torch.int64)
    for row, labels in zip(padded, found, strict=True):
        row[: len(labels)] = torch.tensor(labels, dtype=torch.int64)
    return BestPath(
        padded.to(device),
        torch.tensor(counts, dtype=torch.int64).to(device),
        brought_back(torch.tensor(scores, dtype=torch.float64), device),
    )


def candidate_sizes(log_probs: Tensor) -> range:
    """The numbers of labels that are tried for one utterance, from its (T, V) log-probabilities."""
    best = log_probs.argmax(1)
    runs = 1 + int((best[1:] != best[:-1]).sum())
    fewest = max(1, math.floor(_FEWEST * runs))
    return range(fewest, max(fewest, min(len(best), math.ceil(_MOST * runs) + 2)) + 1)


def _best_of_sizes(
    log_probs: Tensor, alpha: Tensor, blank: int, boundary: int | None
) -> tuple[list[int], float]:
    sizes = candidate_sizes(log_probs)
    V = log_probs.shape[1]
    at_a_time = max(1, _CELLS // (sizes[-1] * V))
    best: tuple[list[int], float] = ([], -math.inf)
    for first in range(0, len(sizes), at_a_time):
        some = torch.tensor(sizes[first : first + at_a_time], device=log_probs.device)
        labels, score = _search(equal_pieces(log_probs, alpha, some), some, blank, boundary)
        if score > best[1]:
            best = labels, score
    return best


def equal_pieces(log_probs: Tensor, alpha: Tensor, sizes: Tensor) -> Tensor:
    """The log-probabilities, weighted by the plan, of each label in pieces of equal mass.

    Args:
        log_probs: (T, V) float.
        alpha: (T,) float ≥ 0, frame weights, T ≥ 1.
        sizes: (K,) integers ≥ 1, numbers of pieces.

    Returns:
        (K, max U, V) float64, Σ_t γ(t,u) log p(v|t) for β_u = 1/U; 0 beyond the U of `sizes[k]`.
    """
    alpha = alpha.double()
    S = log_probs.double().clamp(min=_LOG_ZERO)
    zero = alpha.new_zeros(1)
    A = torch.cat([zero, alpha.cumsum(0)])
    A = A / A[-1]
    S = (alpha / alpha.sum())[:, None] * S
    S = torch.cat([S.new_zeros(1, S.shape[1]), S.cumsum(0)])
    ends = torch.arange(int(sizes.max()) + 1, device=sizes.device) / sizes[:, None].double()
    ends = ends.clamp(max=1.0)
    frame = (torch.searchsorted(A, ends, right=True) - 1).clamp(0, len(alpha) - 1)
    width = A[frame + 1] - A[frame]
    share = torch.where(width > 0, (ends - A[frame]) / width.clamp(min=1e-300), 0.0)
    return torch.lerp(S[frame], S[frame + 1], share[..., None]).diff(dim=1)


def _search(
    pieces: Tensor, sizes: Tensor, blank: int, boundary: int | None
) -> tuple[list[int], float]:
    """The best labels of all candidates: each label is the best that differs from the one before."""
    _, U, V = pieces.shape
    at_ends = pieces.new_zeros(V)
    if boundary is None:
        at_ends[blank] = -math.inf
    else:
        at_ends[:] = -math.inf
        at_ends[boundary] = 0.0
    names = torch.arange(V, device=pieces.device)
    scores = pieces[:, 0] + at_ends
    final = torch.where((sizes == 1)[:, None], scores, -math.inf)
    best_before = []
    for u in range(1, U):
        two, who = scores.topk(2, dim=1)
        best_before.append(who)
        scores = pieces[:, u] + torch.where(names == who[:, :1], two[:, 1:], two[:, :1])
        final = torch.where((sizes == u + 1)[:, None], scores + at_ends, final)
    place = int(final.argmax())
    k, label = place // V, place % V
    labels = [label]
    for who in reversed(best_before[: int(sizes[k]) - 1]):
        first, second = who[k].tolist()
        labels.append(second if labels[-1] == first else first)
    return labels[::-1], float(final[k, label])
