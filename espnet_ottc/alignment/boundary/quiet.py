"""Where a recording is as quiet as it ever is, so that nobody speaks there.

The last letter of a word may be as quiet as a pause: the t of EIGHT is often not released, and its closure
sounds like the room.  Frame by frame nothing tells them apart, and the letter may take the whole pause.  But
a closure is short.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import columns_of

# Frames over which levels are smoothed; the share of the frames that are the quietest, how much louder others
# are at most, and how far below the mean all are at least, in units of the features.  Where nothing is far
# below it, as in steady noise, nothing is quiet.
_SMOOTH, _QUIETEST, _LOUDER, _BELOW = 5, 0.1, 0.15, 0.3
# Frames of a stretch at least; of it those that may belong to the word before, and to the one behind.
_LEAST, _BEFORE, _BEHIND = 10, 2, 4


def quiet_frames(features: Tensor) -> Tensor:
    """Which frames lie well inside a stretch that is as quiet as the recording's quietest tenth.

    A frame's level is the mean of its bands.

    Args:
        features: (T, mels) with mean 0 and variance 1 in each band, T ≥ 1.

    Returns:
        (T,) bool.
    """
    T, beside = len(features), _SMOOTH // 2
    level = pad(features.mean(1)[None], (beside, beside), mode="replicate")
    level = avg_pool1d(level, _SMOOTH, 1)[0]
    quietest = level.kthvalue(max(round(_QUIETEST * T), 1)).values
    quiet = level < (quietest + _LOUDER).clamp(max=-_BELOW)
    values, lengths = quiet.unique_consecutive(return_counts=True)
    length = lengths.repeat_interleave(lengths)
    place = torch.arange(T) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    inside = (place >= _BEFORE) & (place < length - _BEHIND)
    found: Tensor = values.repeat_interleave(lengths) & (length >= _LEAST) & inside
    return found


def with_quiet(scores: Tensor, quiet: Tensor, config: BoundaryConfig) -> Tensor:
    """The scores where silence gains on quiet frames what the configuration says.

    Args:
        scores: (T, columns), silence last.
        quiet: (T,) bool, see `quiet_frames`.
        config: of the model.

    Returns:
        (T, columns); the argument itself where nothing is gained.
    """
    if not config.quiet_score or not bool(quiet.any()):
        return scores
    gained = scores.clone()
    gained[:, -columns_of(1, config) :] += config.quiet_score * quiet[:, None]
    return gained
