"""How much the sound changes, so that no word begins where it stays as it is.

People see a boundary where a spectrogram changes.  Frame by frame a network knows little of that: where two
words meet in one sound, as the S of HIS and STRENGTHS, it may put the boundary anywhere in it.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from espnet_ottc.alignment.boundary.config import BoundaryConfig

# Standard deviations from the mean between which a change counts: where the sound changes more than that, a
# boundary is as good as any, and where it changes less, as bad.
_LEAST, _MOST = -2.0, 0.5


def changes(features: Tensor, config: BoundaryConfig) -> Tensor:
    """What a path loses at each frame if a word or a silence begins there.

    A change is the distance between the means of the frames before and of those from there on, as many as a
    window has hops.

    Args:
        features: (T, mels) with mean 0 and variance 1 in each band, T ≥ 1.
        config: of the model.

    Returns:
        (T,) nats ≤ 0.
    """
    T, reach = len(features), math.ceil(config.window / config.hop)
    if T < 2 or not config.change_score:
        return torch.zeros(T)
    sums = pad(features.double().cumsum(0), (0, 0, 1, 0))
    here = torch.arange(1, T)
    first, last = (here - reach).clamp(min=0), (here + reach).clamp(max=T)
    before = (sums[here] - sums[first]) / (here - first)[:, None]
    behind = (sums[last] - sums[here]) / (last - here)[:, None]
    distance = (behind - before).square().mean(1).sqrt()
    deviation = distance.std(correction=0).clamp(min=torch.finfo(torch.float32).eps)
    changed = ((distance - distance.mean()) / deviation).clamp(_LEAST, _MOST) - _MOST
    # Nothing comes to a state in the first frame: paths begin in it.
    return pad(config.change_score * changed, (1, 0)).float()
