"""Log-mel spectra of narrow frames, normalised by utterance."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.spans import FrameGrid

_PREEMPHASIS = 0.97
# So that digital silence has a spectrum, too, and always the same one.
_DITHER = 1e-5
_FLOOR = 1e-10


def log_mel(samples: Tensor, rate: int, config: BoundaryConfig) -> Tensor:
    """The log-mel spectrum of each frame, with mean 0 and variance 1 in each band over the utterance.

    Frame t is centred at (t + 1/2) hop, so that it covers [t, t + 1) hop of the time axis.  Bands are the
    same for every rate.

    Args:
        samples: (n,) in [−1, 1], n ≥ 1.
        rate: Hz.
        config: window, hop and bands.

    Returns:
        (T, mels) float32, T = n / (hop · rate) rounded, at least 1.

    Raises:
        ValueError: no samples, samples that are not finite, or a rate too low for the bands.
    """
    if samples.dim() != 1 or not len(samples):
        raise ValueError(f"samples must be one channel of at least one, got {tuple(samples.shape)}")
    samples = samples.float()
    if not bool(samples.isfinite().all()):
        raise ValueError("samples must be finite")
    if config.high_hz > rate / 2:
        raise ValueError(
            f"bands up to {config.high_hz:g} Hz need a sampling rate of {2 * config.high_hz:g} Hz, got {rate}"
        )
    width = max(round(config.window * rate), 2)
    T = max(round(len(samples) / (config.hop * rate)), 1)
    first = samples[:1]
    signal = samples - _PREEMPHASIS * torch.cat([first, samples[:-1]])
    noise = torch.randn(len(signal), generator=torch.Generator().manual_seed(0))
    signal = signal + _DITHER * noise
    starts = ((torch.arange(T).double() + 0.5) * config.hop * rate - width / 2).round().long()
    left = max(0, -int(starts[0]))
    right = max(0, int(starts[-1]) + width - len(signal))
    signal = torch.nn.functional.pad(signal, (left, right))
    frames = signal[(starts + left)[:, None] + torch.arange(width)]
    size = 2 ** math.ceil(math.log2(max(width, 0.032 * rate)))
    power = (
        torch.fft.rfft(frames * torch.hamming_window(width, periodic=False), size).abs().square()
    )
    bands = (
        power @ _filters(rate, size, config.mels, config.low_hz, config.high_hz) + _FLOOR
    ).log()
    spread, mean = torch.std_mean(bands, 0, correction=0)
    normalized: Tensor = (bands - mean) / (spread + 1e-5)
    return normalized


def grid(config: BoundaryConfig) -> FrameGrid:
    """Where frames lie in time."""
    return FrameGrid(config.hop)


def with_context(features: Tensor, context: int) -> Tensor:
    """Each frame with those beside it; the first and the last stand in beyond the ends.

    Args:
        features: (T, D), T ≥ 1.
        context: frames on either side.

    Returns:
        (T, (2 context + 1) D).
    """
    if not context:
        return features
    T = len(features)
    offsets = torch.arange(-context, context + 1)
    places = (torch.arange(T)[:, None] + offsets).clamp(0, T - 1)
    return features[places].flatten(1)


@lru_cache(maxsize=8)
def _filters(rate: int, size: int, mels: int, low: float, high: float) -> Tensor:
    """(size / 2 + 1, mels) triangles, evenly spaced in mel."""
    edges = torch.linspace(_mel(low), _mel(high), mels + 2, dtype=torch.float64)
    corners = 700 * (10 ** (edges / 2595) - 1)
    hertz = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * rate / size
    rising = (hertz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - hertz) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
