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
from espnet_ottc.alignment.boundary.pieces import Piece, Times, align_long
from espnet_ottc.alignment.boundary.wide import WideOutputs, WideScores
from espnet_ottc.alignment.spans import FrameGrid, Span
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

    Where a word covers more than 150 ms of what the recogniser alone takes for a pause, its piece of the
    utterance is searched again with this pause short and quiet.

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
    features, axis = model.features(samples, sampling_rate), grid(model.config)
    wide = WideScores(model, outputs)

    def search(piece: Piece) -> BoundaryAlignment | str:
        """The times of a piece."""
        said = piece.words_of(words)
        found = align_features(
            model, piece.frames_of(features), said, piece.duration, wide(piece.frames)
        )
        if isinstance(found, str) or not roughly:
            return found
        pauses = _covered(found.words, _within(piece, roughly), piece.duration)
        if not pauses:
            return found
        first, last = (
            round(seconds * sampling_rate)
            for seconds in (piece.offset, piece.offset + piece.duration)
        )
        sound = _without_pauses(samples[first:last], sampling_rate, pauses)
        short = model.features(sound.samples, sampling_rate)
        heard = _wide_of(wide, piece, sound, axis, len(short))
        left = piece.duration - sound.seconds_out(sampling_rate)
        again = align_features(model, short, said, left, heard)
        return found if isinstance(again, str) else of_recording(again, sound)

    whole = Piece(range(len(words)), range(len(features)), 0.0, duration)
    return align_long(search, whole, axis, roughly) if roughly else search(whole)


def _within(piece: Piece, roughly: Sequence[Times]) -> list[Times]:
    """The times of a piece's words, from its start on."""
    times = roughly[piece.words.start : piece.words.stop]
    return [(start - piece.offset, end - piece.offset) for start, end in times]


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


def _without_pauses(samples: Tensor, sampling_rate: int, pauses: Sequence[Times]) -> Shortened:
    """The (N,) samples of a piece with its pauses short and quiet; at its ends nothing is beside these."""
    N = len(samples)
    stretches = []
    for start, end in pauses:
        first, last = (
            round((start + _BESIDE) * sampling_rate),
            round((end - _BESIDE) * sampling_rate),
        )
        stretches.append((first if start > 0 else 0, last if round(end * sampling_rate) < N else N))
    return without_stretches(samples, sampling_rate, stretches)


def _wide_of(
    wide: WideScores, piece: Piece, sound: Shortened, axis: FrameGrid, frames: int
) -> Tensor:
    """(frames, columns) what the recogniser says about the frames of a shortened piece."""
    middles = [sound.time(axis.seconds(frame + 0.5)) for frame in range(frames)]
    places = torch.tensor([int(axis.position(middle)) for middle in middles])
    first, last = int(places.min()), int(places.max())
    start = piece.frames.start
    return wide(range(start + first, start + last + 1))[places - first]
