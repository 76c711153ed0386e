"""Stretches of steady sound, in which nobody speaks: silence, the noise of a room, hiss, a tone."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.aligned import AlignedWord
from espnet_ottc.alignment.background import FRAME, dead_frames, with_background

# Seconds from one frame to the next, of which each has two; of a window that is judged, and to the next.
_HOP, _WINDOW, _STEP = 0.01, 1.0, 0.1
# Seconds of digital silence from which on it is shortened.
_DEAD = 0.3
_BANDS = 24
# Frames whose spectra are computed at a time: about 3 minutes.
_BLOCK = 1 << 14
# What a band has at least: of the power of the frame's loudest one, and by itself (6400 at full scale).
_MASKED, _INAUDIBLE = 1e-8, 1e-8
# Standard deviations of a band's logarithm over a second: the least that counts, and what a steady sound
# has at most in the mean over bands.  Hiss has 0.6; music and voices have more than 1.9.
_LEAST_SPREAD, _STEADY = 0.3, 0.9
# How much farther than the farthest of its frames another sound is; frames about an end of its windows in
# which its edge is.
_FARTHER, _BEYOND = 1.5, 20
# Seconds of a stretch that are kept beside other sound, and how loud they may be, as parts of the recording's
# largest sample: as quiet rooms are.  Noise takes the place of what is louder, since hiss is like an s, or
# quieter, as no room is.
_KEPT, _LEAST, _MOST, _NOISE = 0.1, 1e-4, 2e-3, 1e-3


@dataclass(frozen=True, eq=False)
class Shortened:
    """A recording without the inside of its steady stretches.

    Attributes:
        samples: (N,) what is left.
        begins: seconds of them at which the pieces begin that are left, in order of time.
        left_out: seconds of the recording that are left out before each.
        duration: seconds of the recording.
    """

    samples: Tensor
    begins: Sequence[float]
    left_out: Sequence[float]
    duration: float

    def time(self, seconds: float) -> float:
        """When a moment of what is left is in the recording."""
        return seconds + self.left_out[self._piece(seconds)]

    def seconds_left(self, seconds: float) -> float:
        """When a moment of the recording that is not left out is in what is left."""
        starts = [begin + out for begin, out in zip(self.begins, self.left_out, strict=True)]
        return seconds - self.left_out[max(bisect_right(starts, seconds) - 1, 0)]

    def seconds_out(self, sampling_rate: int) -> float:
        """How much shorter what is left is than the recording."""
        return self.duration - len(self.samples) / sampling_rate

    def word(self, found: AlignedWord) -> AlignedWord:
        """A word of what is left as it is in the recording: whole in one piece, that of its middle."""
        return found.retimed(self.clock(found.start, found.end))

    def clock(self, start: float, end: float) -> Callable[[float], float]:
        """When moments of a word are in the recording: all in the piece of its middle."""
        piece = self._piece((start + end) / 2)
        begin, stop = (*self.begins, math.inf)[piece : piece + 2]
        return lambda seconds: min(max(seconds, begin), stop) + self.left_out[piece]

    def _piece(self, seconds: float) -> int:
        return max(bisect_right(self.begins, seconds) - 1, 0)


def without_steady_sound(samples: Tensor, sampling_rate: int) -> Shortened:
    """A recording with a short and quiet pause in place of each stretch of steady sound, a second and longer.

    So is digital silence of 0.3 s and more; what is shorter becomes noise as loud as the recording's quietest
    sound.  Silence as long as the words makes these look louder than those that a model has learned, and hiss
    is like an s.  A recording of nothing else stays as it is.

    Args:
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.
    """
    dead = [
        (round(first * FRAME * sampling_rate), round(last * FRAME * sampling_rate))
        for first, last in _runs(dead_frames(samples, sampling_rate))
        if (last - first) * FRAME >= _DEAD
    ]
    samples = with_background(samples, sampling_rate)
    stretches = _joined([*steady_stretches(samples, sampling_rate), *dead])
    N = len(samples)
    loudest = _loudest(samples)
    # The frames at an edge have a little of a loud sound, which could be taken for a letter.
    hop = round(_HOP * sampling_rate)
    stretches = [
        (max(first - hop, 0), min(last + hop, N))
        if _level(samples[first:last]) > _MOST * loudest
        else (first, last)
        for first, last in stretches
    ]
    return without_stretches(samples, sampling_rate, stretches)


def without_stretches(
    samples: Tensor, sampling_rate: int, stretches: Sequence[tuple[int, int]]
) -> Shortened:
    """A recording with a short and quiet pause in place of each of some stretches.

    Args:
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.
        stretches: of each the first sample, and the one behind the last; in order of time, and apart.
    """
    N, beside, loudest = len(samples), round(_KEPT * sampling_rate), _loudest(samples)
    kept: list[Tensor] = []
    begins, left_out, count = [], [], 0
    for before, behind in itertools.pairwise([(0, 0), *stretches, (N, N)]):
        if before[1] >= behind[0]:
            continue
        # Of a short one its halves.
        begin = max(before[1] - beside, (before[0] + before[1]) // 2)
        begins.append(count / sampling_rate)
        left_out.append((begin - count) / sampling_rate)
        for part in (
            _quiet(samples[begin : before[1]], loudest),
            samples[before[1] : behind[0]],
            _quiet(samples[behind[0] : min(behind[0] + beside, sum(behind) // 2)], loudest),
        ):
            kept.append(part)
            count += len(part)
    if not kept:
        return Shortened(samples, (0.0,), (0.0,), N / sampling_rate)
    return Shortened(torch.cat(kept), begins, left_out, N / sampling_rate)


def _loudest(samples: Tensor) -> float:
    return float(torch.stack(samples.aminmax()).abs().max()) if len(samples) else 0.0


def _quiet(sound: Tensor, loudest: float) -> Tensor:
    """The sound where it is that of a quiet room; else noise as loud as that."""
    if not len(sound) or _LEAST * loudest <= _level(sound) <= _MOST * loudest:
        return sound
    noise = torch.randn(len(sound), generator=torch.Generator().manual_seed(0))
    return _NOISE * loudest * noise


def _level(sound: Tensor) -> float:
    return float(sound.square().mean().sqrt())


def steady_stretches(samples: Tensor, sampling_rate: int) -> list[tuple[int, int]]:
    """Where a sound goes on evenly for a second and more.

    A stretch is made of windows of a second in which the bands of the spectrum hardly vary, and reaches to
    where the spectrum becomes another.

    Args:
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.

    Returns:
        Of each the first sample, and the one behind the last, to a hundredth of a second.
    """
    bands = _log_bands(samples, sampling_rate)
    F, window, step = len(bands), round(_WINDOW / _HOP), round(_STEP / _HOP)
    if window > F:
        return []
    bands -= bands.mean(0)
    mean, square = (
        torch.nn.functional.avg_pool1d(one.T, window, step).T for one in (bands, bands.square())
    )
    spread = (square - mean.square()).clamp(min=0).sqrt().mean(1)
    steady = torch.zeros(F, dtype=torch.bool)
    for start in (step * (spread <= _STEADY).nonzero()[:, 0]).tolist():
        steady[start : start + window] = True
    hop = round(_HOP * sampling_rate)
    found = []
    for first, last in _runs(steady):
        begin, end = _edges(bands, first, last)
        # A frame reaches over the next one.
        found.append((begin * hop, (end + 1) * hop if end < F else len(samples)))
    return found


def _log_bands(samples: Tensor, sampling_rate: int) -> Tensor:
    """(F, bands) logarithms of the power of evenly wide bands."""
    hop = round(_HOP * sampling_rate)
    if len(samples) < 2 * hop:
        return samples.new_zeros(0, _BANDS)
    frames = samples.unfold(0, 2 * hop, hop)
    # At low rates there are fewer.
    width = max(hop // _BANDS, 1)
    count = min(hop // width, _BANDS)
    window = torch.hann_window(2 * hop)
    found = []
    for block in frames.split(_BLOCK):
        power = torch.fft.rfft(block * window).abs().square()
        power = power[:, 1 : 1 + count * width].unflatten(1, (count, width)).mean(2)
        found.append((power + _MASKED * power.amax(1, keepdim=True) + _INAUDIBLE).log())
    return torch.cat(found)


def _joined(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order of time; those that touch are one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _runs(marked: Tensor) -> list[tuple[int, int]]:
    edges = torch.nn.functional.pad(marked.int(), (1, 1)).diff().nonzero()[:, 0]
    pairs: list[tuple[int, int]] = [tuple(pair) for pair in edges.view(-1, 2).tolist()]
    return pairs


def _edges(bands: Tensor, first: int, last: int) -> tuple[int, int]:
    """Where a run of steady frames begins and ends: at the next frame with another spectrum."""
    begin, end = max(first - _BEYOND, 0), min(last + _BEYOND, len(bands))
    sound = bands[first:last]
    spread, mean = torch.std_mean(sound, 0)
    distances = ((bands[begin:end] - mean) / spread.clamp(min=_LEAST_SPREAD)).square().mean(1)
    distances = torch.nn.functional.avg_pool1d(distances[None], 3, 1, 1, count_include_pad=False)[0]
    first, last = first - begin, last - begin
    # A window may have a little of another sound at its ends.
    inner = slice(first + _BEYOND, last - _BEYOND)
    other = (distances > _FARTHER * distances[inner].max()).nonzero()[:, 0]
    middle = (first + last) // 2
    before, behind = other[other < middle], other[other >= middle]
    return (
        begin + (int(before[-1]) + 1 if len(before) else 0),
        begin + (int(behind[0]) if len(behind) else end - begin),
    )
