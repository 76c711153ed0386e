"""Digital silence, as no room has it, becomes noise as loud as the recording's quietest sound."""

import torch
from torch import Tensor

# Seconds of a frame; one is dead whose level is this part of the recording's largest sample, or less.
FRAME, _DEAD = 0.01, 1e-4
# Frames whose levels are computed at a time: about 3 minutes.
_BLOCK = 1 << 14
# The share of the other frames that are quieter than the noise, and how loud it may be, as parts of the
# largest sample.
_QUIETEST, _LEAST, _MOST = 0.1, 1e-4, 1e-2


def dead_frames(samples: Tensor, sampling_rate: int) -> Tensor:
    """(F,) bool: which of the 10 ms frames are digital silence; what is left at the end is no frame."""
    levels = frame_levels(samples, sampling_rate)
    if not len(levels):
        return torch.zeros(0, dtype=torch.bool)
    return levels <= _DEAD * float(torch.stack(samples.aminmax()).abs().max())


def with_background(samples: Tensor, sampling_rate: int) -> Tensor:
    """The recording with noise in its digital silence; the argument itself where there is none.

    To a model that has heard rooms, digital silence is as strange as music, and a word may take it in.

    Args:
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.

    Returns:
        (N,).
    """
    dead = dead_frames(samples, sampling_rate)
    if not bool(dead.any()) or bool(dead.all()):
        return samples
    size, levels = round(FRAME * sampling_rate), frame_levels(samples, sampling_rate)
    loudest = float(torch.stack(samples.aminmax()).abs().max())
    level = levels[~dead].quantile(_QUIETEST).clamp(_LEAST * loudest, _MOST * loudest)
    generator = torch.Generator().manual_seed(0)
    heard = samples.clone()
    whole, rest = heard[: len(dead) * size].view(-1, size), heard[len(dead) * size :]
    whole[dead] = level * torch.randn(int(dead.sum()), size, generator=generator)
    if dead[-1]:
        # What is left at the end is as the last frame.
        rest[:] = level * torch.randn(len(rest), generator=generator)
    return heard


def frame_levels(samples: Tensor, sampling_rate: int) -> Tensor:
    """(F,) the root mean square of each 10 ms frame of (N,) samples; what is left at the end is no frame."""
    size = round(FRAME * sampling_rate)
    frames = samples[: len(samples) // size * size].view(-1, size)
    # Hours of samples are not held again.
    return torch.cat([block.square().mean(1).sqrt() for block in frames.split(_BLOCK)])
