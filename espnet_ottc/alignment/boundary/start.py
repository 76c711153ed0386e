"""Where a training starts: the frames shared out evenly among the states."""

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import NO_WORD, UtteranceGraph

_SMOOTHING = 5
_LOUD_SHARE = 0.35
_LOWEST, _LOUDEST = 0.05, 0.95
_MARGIN_BEFORE, _MARGIN_BEHIND = 2, 3
_EQUAL_SILENCE = 12


def flat_start(features: Tensor, graph: UtteranceGraph, config: BoundaryConfig) -> Tensor:
    """A state for each frame: silence, equal shares for the words' states, silence.

    With `start` "loud" silence is what lies before the first loud frame and behind the last: loud is above
    35 % of the way from the 5th percentile of the smoothed mean band to the 95th.  With "equal", and where
    there are fewer loud frames than states, it is a twelfth at either end.

    Args:
        features: (T, mels) log-mel.
        graph: of the utterance; of several spellings the first is taken.
        config: `start`.

    Returns:
        (T,) int64 states.  Where T is smaller than the number of states, some have no frame.
    """
    T = len(features)
    inner = _first_spellings(graph)
    begin, stop = _loud(features) if config.start == "loud" else (0, 0)
    if stop - begin < len(inner):
        edge = min(max(config.silence_states, T // _EQUAL_SILENCE), (T - 1) // 2)
        begin, stop = edge, T - edge
    quiet = (graph.words == NO_WORD).nonzero()[:, 0]
    count = config.silence_states * config.minimum_frames
    opening, closing = quiet[:count], quiet[-count:]
    return torch.cat(
        [_shares(opening, begin), _shares(inner, stop - begin), _shares(closing, T - stop)]
    )


def _first_spellings(graph: UtteranceGraph) -> Tensor:
    """The states of each word's first spelling: a further one is entered from before the word alone."""
    sources = dict(
        zip(graph.chain.skip_targets.tolist(), graph.chain.skip_sources.tolist(), strict=True)
    )
    kept = []
    for start, end in zip(graph.word_starts, graph.word_ends, strict=True):
        stop = next((s for s in range(start + 1, end) if s in sources and sources[s] < start), end)
        kept.append(torch.arange(start, stop))
    return torch.cat(kept) if kept else torch.empty(0, dtype=torch.int64)


def _loud(features: Tensor) -> tuple[int, int]:
    T = len(features)
    padding = _SMOOTHING // 2
    energy = torch.nn.functional.avg_pool1d(
        features.mean(1)[None, None], _SMOOTHING, 1, padding, count_include_pad=True
    )[0, 0]
    low, high = energy.quantile(torch.tensor([_LOWEST, _LOUDEST]))
    loud = (energy > low + _LOUD_SHARE * (high - low)).nonzero()[:, 0]
    if not len(loud):
        return 0, 0
    begin, stop = int(loud[0]) - _MARGIN_BEFORE, int(loud[-1]) + _MARGIN_BEHIND
    return max(begin, min(1, T - 1)), min(stop, T - 1)


def _shares(states: Tensor, frames: int) -> Tensor:
    if frames <= 0 or not len(states):
        return torch.empty(0, dtype=torch.int64)
    return states[torch.arange(frames) * len(states) // frames]
