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
# Computed at a time: about 40 s.
_FRAMES = 4096


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
    # The least and the largest, so that hours of samples are not held again.
    if not bool(torch.stack(samples.aminmax()).isfinite().all()):
        raise ValueError("samples must be finite")
    if config.high_hz > rate / 2:
        raise ValueError(
            f"bands up to {config.high_hz:g} Hz need a sampling rate of {2 * config.high_hz:g} Hz, got {rate}"
        )
    width = max(round(config.window * rate), 2)
    T = max(round(len(samples) / (config.hop * rate)), 1)
    starts = ((torch.arange(T).double() + 0.5) * config.hop * rate - width / 2).round().long()
    size = 2 ** math.ceil(math.log2(max(width, 0.032 * rate)))
    window = torch.hamming_window(width, periodic=False)
    filters = _filters(rate, size, config.mels, config.low_hz, config.high_hz)
    bands = torch.empty(T, config.mels)
    # An hour's frames overlap, and would take ten times its memory at once.
    for place in range(0, T, _FRAMES):
        some = starts[place : place + _FRAMES]
        first = int(some[0])
        signal = _emphasised(samples, first, int(some[-1]) + width)
        frames = signal[(some - first)[:, None] + torch.arange(width)]
        power = torch.fft.rfft(frames * window, size).abs().square()
        bands[place : place + _FRAMES] = (power @ filters + _FLOOR).log()
    spread, mean = torch.std_mean(bands, 0, correction=0)
    return bands.sub_(mean).div_(spread + 1e-5)


def _emphasised(samples: Tensor, start: int, stop: int) -> Tensor:
    """(stop − start,) samples with their highs raised, and dither; zeros beyond the ends."""
    first, last = max(start, 0), min(stop, len(samples))
    before = samples[max(first - 1, 0) : last - 1]
    if not first:
        before = torch.cat([samples[:1], before])
    signal = samples[first:last] - _PREEMPHASIS * before
    noise = _noise()
    signal += _DITHER * noise[torch.arange(first, last) % len(noise)]
    return torch.nn.functional.pad(signal, (first - start, stop - last))


@lru_cache(maxsize=1)
def _noise() -> Tensor:
    """About a minute of it, which long recordings repeat."""
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))


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
