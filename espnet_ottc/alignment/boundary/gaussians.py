"""Better shares to start from: a Gaussian for each state, by expectation-maximisation over all paths.

Gaussians of cepstra and their slopes learn little at a time and from every path at once (Baum and others,
1970).  So they find words in free text where a network that begins with equal shares learns the shares
by heart.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CEPSTRA = 13
_SLOPE = (-0.2, -0.1, 0.0, 0.1, 0.2)
# Frames that count for the mean of all when a state has few.
_PRIOR_FRAMES = 20.0
_SMALLEST_VARIANCE = 0.01

# Log-likelihoods (T, columns) of each utterance to the occupancies (frames, columns) of all.
Expect = Callable[[Sequence[Tensor]], Tensor]


def cepstra(features: Tensor) -> Tensor:
    """(T, mels) to (T, 39): 13 cepstra, their slopes and the slopes of these, normalised by utterance."""
    mels = features.shape[1]
    order, band = torch.arange(min(CEPSTRA, mels))[:, None], torch.arange(mels)
    basis = math.sqrt(2 / mels) * torch.cos(math.pi / mels * (band + 0.5) * order)
    plain = features @ basis.T
    slopes = _slopes(plain)
    every = torch.cat([plain, slopes, _slopes(slopes)], 1)
    spread, mean = torch.std_mean(every, 0, correction=0)
    normalized: Tensor = (every - mean) / (spread + 1e-5)
    return normalized


def fit_gaussians(
    features: Sequence[Tensor], occupancy: Tensor, rounds: int, expect: Expect
) -> None:
    """Expectation-maximisation; what it finds is what `expect` was called with last.

    Args:
        features: (T, D) of each utterance, of variance 1.
        occupancy: (frames, columns) that the first round learns from.
        rounds: how many, ≥ 1.
        expect: gives the next occupancies for the Gaussians' log-likelihoods.
    """
    frames = torch.cat(list(features))
    squares, whole = frames.square(), frames.var(0, correction=0)
    for _ in range(rounds):
        counts = occupancy.sum(0)[:, None]
        total = counts + _PRIOR_FRAMES
        means = occupancy.T @ frames / total
        spread = (occupancy.T @ squares + _PRIOR_FRAMES * whole) / total - means.square()
        inverse = 1 / spread.clamp(min=_SMALLEST_VARIANCE)
        constant = (means.square() * inverse - inverse.log()).sum(1) + frames.shape[1] * math.log(
            2 * math.pi
        )
        scores = frames @ (means * inverse).T - 0.5 * (squares @ inverse.T + constant)
        occupancy = expect(scores.split([len(x) for x in features]))


def _slopes(x: Tensor) -> Tensor:
    padded = torch.cat([x[:1].expand(2, -1), x, x[-1:].expand(2, -1)])
    return sum(
        (weight * padded[k : k + len(x)] for k, weight in enumerate(_SLOPE)), torch.zeros_like(x)
    )
