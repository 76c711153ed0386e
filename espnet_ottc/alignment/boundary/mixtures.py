"""Mixtures of Gaussians in the network's place: the classical monophone GMM-HMM.

Expectation-maximisation over all paths (Baum and others, 1970) on cepstra with their slopes.  One Gaussian a
state becomes many by splitting each in two, as in HTK and in the first stage of Kaldi's and MFA's trainings.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.gaussians import CEPSTRA, cepstra

_SMALLEST_VARIANCE = 0.01
# Frames below which a Gaussian stays as it is: their variance would say nothing.
_LEAST_FRAMES = 8.0
_SMALLEST_WEIGHT = 1e-4
_SPLIT = 0.2
_LOG_2PI = math.log(2 * math.pi)
_FRAMES_AT_ONCE = 1 << 13

# Scores (T, columns) of each utterance to the occupancies (frames, columns) of all.
Expect = Callable[[Sequence[Tensor]], Tensor]


class MixtureNetwork(nn.Module):
    """p(frame | state) by a mixture of diagonal Gaussians of the frame's cepstra.

    Args:
        config: bands and the number of Gaussians.
        columns: states.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    log_prior: Tensor

    def __init__(self, config: BoundaryConfig, columns: int) -> None:
        super().__init__()
        size = 3 * min(CEPSTRA, config.mels)
        self.columns = columns
        self.register_buffer("means", torch.zeros(columns, config.mixture, size))
        self.register_buffer("variances", torch.ones(columns, config.mixture, size))
        self.register_buffer("weights", torch.full((columns, config.mixture), 1 / config.mixture))
        self.register_buffer("log_prior", torch.full((columns,), -math.log(columns)))

    @torch.inference_mode()
    def log_probs(self, features: Tensor) -> Tensor:
        """(T, mels) log-mel of one utterance to (T, columns) log p(state | frame)."""
        frames = cepstra(features)
        densities = [self.densities(piece) for piece in frames.split(_FRAMES_AT_ONCE)]
        return (torch.cat(densities) + self.log_prior).log_softmax(1)

    def densities(self, frames: Tensor) -> Tensor:
        """(F, D) cepstra to (F, columns) log p(frame | state)."""
        return self._components(frames).logsumexp(2)

    def _components(self, frames: Tensor) -> Tensor:
        """(F, columns, M) log of weight times density."""
        inverse = 1 / self.variances
        constant = (self.means.square() * inverse + self.variances.log() + _LOG_2PI).sum(2)
        squares = frames.square() @ inverse.flatten(0, 1).T
        products = frames @ (self.means * inverse).flatten(0, 1).T
        shape = (len(frames), *self.weights.shape)
        joint = (products - 0.5 * squares).view(shape)
        return joint - 0.5 * constant + self.weights.log()

    def split(self) -> None:
        """Make two of each Gaussian, a fifth of a standard deviation to either side."""
        step = _SPLIT * self.variances.sqrt()
        self.means = torch.cat([self.means - step, self.means + step], 1)
        self.variances = self.variances.repeat(1, 2, 1)
        self.weights = self.weights.repeat(1, 2) / 2

    def update(self, frames: Tensor, occupancy: Tensor) -> None:
        """One step of expectation-maximisation.

        Args:
            frames: (F, D) cepstra.
            occupancy: (F, columns) probability of each state at each frame.
        """
        columns, M, D = self.means.shape
        counts = torch.zeros(columns * M)
        sums, squares = torch.zeros(columns * M, D), torch.zeros(columns * M, D)
        pieces = zip(frames.split(_FRAMES_AT_ONCE), occupancy.split(_FRAMES_AT_ONCE), strict=True)
        for piece, states in pieces:
            shares = self._components(piece).softmax(2) * states[:, :, None]
            shares = shares.flatten(1)
            counts += shares.sum(0)
            sums += shares.T @ piece
            squares += shares.T @ piece.square()
        heard = (counts > _LEAST_FRAMES).view(columns, M)
        total = counts.clamp(min=_LEAST_FRAMES)[:, None]
        means = (sums / total).view(columns, M, D)
        variances = (squares / total).view(columns, M, D) - means.square()
        self.means = torch.where(heard[..., None], means, self.means)
        self.variances = torch.where(
            heard[..., None], variances.clamp(min=_SMALLEST_VARIANCE), self.variances
        )
        weights = counts.view(columns, M) / counts.view(columns, M).sum(1, keepdim=True).clamp(
            min=1e-8
        )
        self.weights = weights.clamp(min=_SMALLEST_WEIGHT)


def fit_mixtures(
    network: MixtureNetwork,
    features: Sequence[Tensor],
    occupancy: Tensor,
    config: BoundaryConfig,
    expect: Expect,
) -> None:
    """Train the Gaussians from one a state on.

    Args:
        network: whose Gaussians are replaced.
        features: (T, mels) of each utterance.
        occupancy: (frames, columns) that the first round learns from.
        config: `mixture`, and `gaussian_rounds` with each number of Gaussians.
        expect: gives the next occupancies for the states' log-likelihoods.
    """
    every = [cepstra(one) for one in features]
    frames, lengths = torch.cat(every), [len(one) for one in every]
    columns, _, D = network.means.shape
    network.means = frames.mean(0).expand(columns, 1, D).clone()
    network.variances = frames.var(0, correction=0).expand(columns, 1, D).clone()
    network.weights = torch.ones(columns, 1)
    while True:
        for _ in range(config.gaussian_rounds):
            network.update(frames, occupancy)
            found = [network.densities(piece) for piece in frames.split(_FRAMES_AT_ONCE)]
            occupancy = expect(torch.cat(found).split(lengths))
        if network.weights.shape[1] >= config.mixture:
            return
        network.split()
