"""Where recordings' speech ends, on synthesised sound whose edge is known."""

import math

import pytest
import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.bandwidth import bandwidth
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.training import train_boundary_model

RATE = 16000


def _bursts(seed: int, edge: float, rate: int = RATE, seconds: float = 3.0) -> Tensor:
    """Bursts of noise up to an edge in Hz, falling by 6 dB an octave, with pauses."""
    n = round(seconds * rate)
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(n, generator=generator))
    hertz = torch.fft.rfftfreq(n, 1 / rate)
    spectrum = spectrum * (1 + (hertz / 500).square()).rsqrt() * (hertz < edge)
    sound = torch.fft.irfft(spectrum, n)
    time = torch.arange(n) / rate
    loud = (5 * (torch.sin(2 * math.pi * 2 * time + seed) + 0.3)).clamp(0, 1)
    return 0.3 * sound / sound.abs().max() * loud


def _with_noise(sound: Tensor, level: float) -> Tensor:
    return sound + level * torch.randn(len(sound), generator=torch.Generator().manual_seed(99))


@pytest.mark.parametrize("edge", [3400.0, 4000.0, 5500.0])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_speech_that_ends_below_the_files_rate_is_found_under_noise_of_all_bands(
    edge: float, noise: float
) -> None:
    heard = [(_with_noise(_bursts(seed, edge), noise), RATE) for seed in range(3)]
    found = bandwidth(heard)
    assert found is not None
    assert abs(found - edge) <= 300


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_speech_of_all_bands_keeps_them(rate: int, noise: float) -> None:
    found = bandwidth([(_with_noise(_bursts(seed, rate, rate), noise), rate) for seed in range(3)])
    assert found is not None
    assert found >= min(rate / 2, 8000) - 200


def test_images_of_a_poor_resampling_are_no_speech() -> None:
    low = _bursts(1, 3900, RATE)
    time = torch.arange(len(low)) / RATE
    image = 2e-3 * low * torch.cos(2 * math.pi * 8000 * time)
    found = bandwidth([(_with_noise(low + image, 1e-5), RATE)])
    assert found is not None
    assert found <= 4300


def test_most_recordings_decide_and_nothing_is_said_of_silence() -> None:
    low, high = (_bursts(1, 4000), RATE), (_bursts(2, 8000), RATE)
    found = bandwidth([low, high, high])
    assert found is not None
    assert found > 7600
    found = bandwidth([low, low, high])
    assert found is not None
    assert found < 4300
    silent = torch.zeros(RATE)
    assert bandwidth([(silent, RATE)]) is None
    assert bandwidth([(_with_noise(silent, 0.1), RATE)]) is None
    assert bandwidth([(torch.zeros(100), RATE)]) is None
    assert bandwidth([]) is None


@pytest.mark.parametrize(("edge", "low", "high"), [(4000, 3700, 4300), (8000, 7600, 7600)])
def test_a_training_drops_the_bands_above_the_speech(edge: float, low: float, high: float) -> None:
    config = BoundaryConfig(
        width=8, gaussian_rounds=0, least_count=1, stages=(Stage(rounds=1, epochs=1),)
    )
    heard = [
        SpokenText(f"u{seed}", ("ab",), lambda seed=seed: (_bursts(seed, edge), RATE))  # type: ignore[misc]
        for seed in range(3)
    ]
    model, _ = train_boundary_model(heard, config)
    assert low <= model.config.high_hz <= high
