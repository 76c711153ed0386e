"""A GMM-HMM in the boundary model's place: densities, one step of its training, and what it finds."""

import math

import numpy as np
import pytest
import torch
from tone_words import RATE, Times, aligned, spoken
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.gaussians import cepstra
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.mixtures import MixtureNetwork
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.training import train_boundary_model

# Stages are for networks: Gaussians know no neighbours.
CONFIG = BoundaryConfig(
    mixture=4,
    gaussian_rounds=3,
    start="equal",
    window=0.025,
    mels=26,
    median=False,
    least_count=1,
    stages=(Stage(), Stage(neighbours=1)),
)


def _random(columns: int, config: BoundaryConfig) -> MixtureNetwork:
    network = MixtureNetwork(config, columns)
    generator = torch.Generator().manual_seed(3)
    network.means = torch.randn(network.means.shape, generator=generator)
    network.variances = 0.2 + torch.rand(network.means.shape, generator=generator)
    weights = 0.1 + torch.rand(network.weights.shape, generator=generator)
    network.weights = weights / weights.sum(1, keepdim=True)
    network.log_prior = torch.randn(columns, generator=generator).log_softmax(0)
    return network


def _density(network: MixtureNetwork, frame: np.ndarray, column: int) -> float:
    """log p(frame | state) by the textbook's formula, in float64."""
    total = 0.0
    for m in range(network.weights.shape[1]):
        mean, variance = (
            table[column, m].double().numpy() for table in (network.means, network.variances)
        )
        exponent = -0.5 * ((frame - mean) ** 2 / variance).sum()
        norm = np.sqrt((2 * np.pi * variance).prod())
        total += float(network.weights[column, m]) * math.exp(exponent) / norm
    return math.log(total)


def test_densities_are_those_of_the_formula_and_posteriors_follow_from_them():
    config = BoundaryConfig(mixture=2, gaussian_rounds=1, mels=4)
    network = _random(3, config)
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    frames = cepstra(features)
    wanted = torch.tensor(
        [[_density(network, x, c) for c in range(3)] for x in frames.double().numpy()],
        dtype=torch.float64,
    )
    torch.testing.assert_close(network.densities(frames).double(), wanted, rtol=1e-4, atol=1e-4)
    posterior = (wanted + network.log_prior.double()).log_softmax(1)
    torch.testing.assert_close(
        network.log_probs(features).double(), posterior, rtol=1e-4, atol=1e-4
    )


def test_one_gaussian_learns_the_weighted_mean_and_variance_of_its_frames():
    network = MixtureNetwork(BoundaryConfig(mixture=1, gaussian_rounds=1, mels=4), 2)
    generator = torch.Generator().manual_seed(5)
    frames = torch.randn(200, network.means.shape[2], generator=generator)
    occupancy = torch.rand(200, 2, generator=generator)
    network.update(frames, occupancy)
    for column in range(2):
        weights = occupancy[:, column].numpy()
        mean = np.average(frames.numpy(), axis=0, weights=weights)
        variance = np.average((frames.numpy() - mean) ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(network.means[column, 0].numpy(), mean, atol=1e-4)
        np.testing.assert_allclose(network.variances[column, 0].numpy(), variance, atol=1e-4)


def test_each_step_and_each_split_with_steps_behind_it_fits_the_frames_better():
    network = MixtureNetwork(BoundaryConfig(mixture=1, gaussian_rounds=1, mels=4), 1)
    generator = torch.Generator().manual_seed(6)
    sides = torch.randint(0, 2, (500, 1), generator=generator) * 6.0 - 3.0
    frames = sides + torch.randn(500, network.means.shape[2], generator=generator)
    occupancy = torch.ones(500, 1)

    def fit() -> float:
        return float(network.densities(frames).mean())

    network.update(frames, occupancy)
    alone = fit()
    network.split()
    before = fit()
    for _ in range(5):
        network.update(frames, occupancy)
        assert fit() > before - 1e-4
        before = fit()
    # The two clusters have a Gaussian each.
    assert before > alone + 3
    assert sorted(network.means[0, :, 0].round().tolist()) == [-3.0, 3.0]


def _utterance(number: int) -> tuple[SpokenText, Times]:
    samples, words, times = spoken(number)
    return SpokenText(f"u{number}", tuple(words), lambda: (samples, RATE)), times


def _times(model: BoundaryModel, utterance: SpokenText) -> Tensor:
    return torch.tensor([(span.start, span.end) for span in aligned(model, utterance).words])


def test_it_finds_planted_words_and_comes_back_from_its_files(tmp_path):
    model, rounds = train_boundary_model([_utterance(i)[0] for i in range(20)], CONFIG)
    assert rounds == []
    assert model.network.weights.shape[1] == 4
    unheard, true = _utterance(99)
    found = _times(model, unheard)
    assert float((found - torch.tensor(true)).abs().mean()) < 0.015
    model.save(tmp_path / "model")
    for again in (
        BoundaryModel.load(tmp_path / "model"),
        BoundaryModel.from_tensors(model.to_tensors()),
    ):
        assert torch.equal(_times(again, unheard), found)


@pytest.mark.parametrize("wrong", [{"mixture": 3}, {"mixture": 4, "gaussian_rounds": 0}])
def test_a_number_of_gaussians_that_doubling_does_not_reach_is_refused(wrong):
    with pytest.raises(ValueError, match="mixture must be a power of two"):
        BoundaryConfig(**wrong)
