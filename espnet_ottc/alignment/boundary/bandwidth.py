"""How high recordings' speech reaches: a file's rate promises more than the sound holds.

Speech of 8 kHz in a file of 16 kHz, of a telephone or a low bit rate, leaves the upper bands to noise and to
the images of the resampling.  Normalised like the others, such bands are as loud as speech.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BAND = 125.0  # Hz
_WINDOW = 0.032  # seconds
_TOGETHER = 4  # windows whose mean is one observation
# A band holds speech where its loud times are so many dB above its quiet times, …
_LEAST_CONTRAST = 6.0
# … and at most so many dB below the loudest band.
_LOWEST_LEVEL = -40.0
_QUIET, _LOUD = 0.1, 0.95
_DITHER = 1e-5
_SECONDS = 120  # of a recording are enough


def bandwidth(recordings: Sequence[tuple[Tensor, int]]) -> float | None:
    """The frequency above which most recordings hold no speech.

    Of each band of 125 Hz and each recording two figures are taken: how far its loud times (95th percentile)
    lie above its quiet ones (10th), and how far below the loudest band's.  The highest band where both
    medians over the recordings speak for speech is the last one.

    Args:
        recordings: (n,) samples in [−1, 1] of each, and its rate in Hz.  Those that are too short for an
            estimate are passed over.

    Returns:
        Hz, at most half the lowest rate; None where nothing was found: no recording that is long enough, or
        nothing that changes.
    """
    found = [one for samples, rate in recordings if (one := _bands(samples, rate)) is not None]
    if not found:
        return None
    count = min(one.shape[1] for one in found)
    contrast, level = torch.stack([one[:, :count] for one in found]).median(0).values
    live = ((contrast >= _LEAST_CONTRAST) & (level >= _LOWEST_LEVEL)).nonzero()[:, 0]
    return None if not len(live) else (int(live[-1]) + 1.5) * _BAND


def _bands(samples: Tensor, rate: int) -> Tensor | None:
    """(2, bands) dB of loud over quiet times, and of loud times over the loudest band's; band k is centred at
    (k + 1) · 125 Hz."""
    size = 2 * round(_WINDOW * rate / 2)
    samples = samples[: _SECONDS * rate]
    noise = torch.randn(len(samples), generator=torch.Generator().manual_seed(0))
    signal = samples.float() + _DITHER * noise
    if len(signal) < 4 * _TOGETHER * size or not bool(signal.isfinite().all()):
        return None
    # Hann's side lobes fall off: loud low bands do not leak into empty high ones.
    window = torch.hann_window(size)
    spectrum = torch.stft(signal, size, size // 2, window=window, center=False, return_complex=True)
    power = spectrum.abs().square()
    hertz = torch.arange(len(power), dtype=torch.float64) * rate / size
    band = (hertz / _BAND).round().long() - 1
    count = math.floor(rate / 2 / _BAND) - 1
    used = (band >= 0) & (band < count)
    sums = power.new_zeros(count, power.shape[1]).index_add_(0, band[used], power[used])
    smooth = torch.nn.functional.avg_pool1d(sums[:, None], _TOGETHER, _TOGETHER // 2)[:, 0]
    quiet, loud = 10 * smooth.quantile(torch.tensor([_QUIET, _LOUD]), dim=1).log10()
    return torch.stack([loud - quiet, loud - loud.max()])
