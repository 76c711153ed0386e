"""Words by a boundary model beside a recogniser, which says where nobody speaks.

A boundary model knows speech and quiet rooms.  Hiss in a pause is like an s to it, and may become a part of a
word.  A recogniser hears seconds, and knows better.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features, of_recording
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.pieces import Times, align_long
from espnet_ottc.alignment.boundary.wide import WideOutputs, WideScores
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.steady_sound import Shortened, without_stretches

# Seconds of a pause, as the recogniser has it, that a word may cover; and of it that stay beside the words.
_COVERED, _BESIDE = 0.15, 0.05


def align_beside(
    model: BoundaryModel,
    samples: Tensor,
    sampling_rate: int,
    words: Sequence[str],
    outputs: WideOutputs,
    roughly: Sequence[Times],
    *,
    duration: float,
) -> BoundaryAlignment | str:
    """Times by one search over both models' scores.

    Where a word covers more than 150 ms of what the recogniser alone takes for a pause, the search is done
    again with this pause short and quiet.

    Args:
        model: the boundary model.
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.
        words: what is said.
        outputs: of the recogniser.
        roughly: start and end of each word in seconds, as the recogniser alone has them; empty where it has
            none, and then the utterance is searched as a whole.
        duration: seconds of the samples.

    Returns:
        The times, or why there are none.
    """
    wide = WideScores(model, outputs)
    features = model.features(samples, sampling_rate)
    if not roughly:
        return align_features(model, features, words, duration, wide(range(len(features))))
    found = align_long(model, features, words, duration, wide, roughly)
    pauses = [] if isinstance(found, str) else _covered(found.words, roughly, duration)
    if isinstance(found, str) or not pauses:
        return found
    N = len(samples)
    stretches = [
        (
            round((start + _BESIDE) * sampling_rate) if start > 0 else 0,
            round((end - _BESIDE) * sampling_rate) if end < duration else N,
        )
        for start, end in pauses
    ]
    sound = without_stretches(samples, sampling_rate, stretches)
    features = model.features(sound.samples, sampling_rate)
    heard = [(sound.seconds_left(start), sound.seconds_left(end)) for start, end in roughly]
    left_out = (N - len(sound.samples)) / sampling_rate
    again = align_long(
        model,
        features,
        words,
        duration - left_out,
        _WideOfShortened(wide, sound, model, len(features)),
        heard,
    )
    return found if isinstance(again, str) else of_recording(again, sound)


def _covered(words: Sequence[Span], roughly: Sequence[Times], duration: float) -> list[Times]:
    """Pauses of the recogniser of which a word covers too much."""
    edges = itertools.pairwise([(0.0, 0.0), *roughly, (duration, duration)])
    # Only the words about a pause can reach into it.
    beside = itertools.pairwise([None, *words, None])
    return [
        (start, end)
        for ((_, start), (end, _)), both in zip(edges, beside, strict=True)
        if any(
            min(end, word.end) - max(start, word.start) > _COVERED
            for word in both
            if word is not None
        )
    ]


class _WideOfShortened:
    """What the recogniser says about the frames of a shortened recording."""

    def __init__(
        self, wide: WideScores, sound: Shortened, model: BoundaryModel, frames: int
    ) -> None:
        axis = grid(model.config)
        middles = [sound.time(axis.seconds(frame + 0.5)) for frame in range(frames)]
        self._wide = wide
        self._places = torch.tensor([int(axis.position(middle)) for middle in middles])

    def __call__(self, frames: range) -> Tensor:
        places = self._places[frames.start : frames.stop]
        if not len(places):
            return self._wide(range(0))
        first, last = int(places.min()), int(places.max())
        return self._wide(range(first, last + 1))[places - first]
