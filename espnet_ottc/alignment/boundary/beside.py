"""Words by a boundary model beside a recogniser, which says where nobody speaks.

A boundary model knows speech and quiet rooms.  Hiss in a pause is like an s to it, and may become a part of a
word.  A recogniser hears seconds, and knows better.  But it can also miss the s of a voice that it does not
know.  Between hiss and the word there is a moment of quiet; a sound of the word goes on into the next one.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from espnet_ottc.alignment.background import FRAME, frame_levels
from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features, of_recording
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.pieces import Piece, Times, align_long
from espnet_ottc.alignment.boundary.wide import WideOutputs, WideScores
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.alignment.steady_sound import Shortened, without_stretches

# Seconds of a pause, as the recogniser has it, that a word may cover, and where they are all loud; and of it
# that stay beside the words.
_COVERED, _LOUD_COVERED, _BESIDE = 0.15, 0.4, 0.05
# A moment of quiet: its frames, and their level as a multiple of the room's; the share of frames below that.
_QUIET_FRAMES, _QUIET, _ROOM = 3, 2.0, 0.1


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

    Where a word covers more than 150 ms of what the recogniser alone takes for a pause, with a moment of
    quiet in it, or more than 400 ms, its piece of the utterance is searched again with this pause short and
    quiet.

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
        first, last = (
            round(seconds * sampling_rate)
            for seconds in (piece.offset, piece.offset + piece.duration)
        )
        heard = samples[first:last]
        covered = _covered(found.words, _within(piece, roughly), piece.duration)
        misled = covered and _misleading(covered, heard, sampling_rate)
        if not misled:
            return found
        sound = _without_pauses(heard, sampling_rate, misled)
        short = model.features(sound.samples, sampling_rate)
        beside = _wide_of(wide, piece, sound, axis, len(short))
        left = piece.duration - sound.seconds_out(sampling_rate)
        again = align_features(model, short, said, left, beside)
        return found if isinstance(again, str) else of_recording(again, sound)

    whole = Piece(range(len(words)), range(len(features)), 0.0, duration)
    return align_long(search, whole, axis, roughly) if roughly else search(whole)


def _within(piece: Piece, roughly: Sequence[Times]) -> list[Times]:
    """The times of a piece's words, from its start on."""
    times = roughly[piece.words.start : piece.words.stop]
    return [(start - piece.offset, end - piece.offset) for start, end in times]


def _covered(
    words: Sequence[Span], roughly: Sequence[Times], duration: float
) -> dict[Times, list[Times]]:
    """Pauses of the recogniser of which a word covers much, and what is covered."""
    edges = itertools.pairwise([(0.0, 0.0), *roughly, (duration, duration)])
    # Only the words about a pause can reach into it.
    beside = itertools.pairwise([None, *words, None])
    found = {}
    for ((_, start), (end, _)), both in zip(edges, beside, strict=True):
        parts = [(max(start, word.start), min(end, word.end)) for word in both if word is not None]
        if much := [(first, last) for first, last in parts if last - first > _COVERED]:
            found[start, end] = much
    return found


def _misleading(
    covered: Mapping[Times, Sequence[Times]], samples: Tensor, sampling_rate: int
) -> list[Times]:
    """The pauses of which more is covered than a sound of a word lasts, or what is not all loud."""
    levels = frame_levels(samples, sampling_rate)
    loud = levels > _QUIET * levels.quantile(_ROOM)
    return [
        pause
        for pause, parts in covered.items()
        if any(
            last - first > _LOUD_COVERED or _has_quiet(loud, first, last) for first, last in parts
        )
    ]


def _has_quiet(loud: Tensor, first: float, last: float) -> bool:
    """Whether there is a moment of quiet between two times."""
    frames = loud[round(first / FRAME) : round(last / FRAME)]
    return bool((~frames.unfold(0, _QUIET_FRAMES, 1).any(1)).any())


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
