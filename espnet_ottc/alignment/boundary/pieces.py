"""Long utterances in pieces, cut in pauses that another search found: the memory is that of a piece.

The other search is a recogniser's, or a rough one: it has a state for a unit, and one frame for as many as
the unit has states, and keeps to a band of states.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.graph import NO_WORD, UtteranceGraph, spelled_graph
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.threads import in_threads
from espnet_ottc.ops.label_paths import rough_path

# Seconds; an utterance that is not longer is searched as a whole, beside a recogniser and without one, and
# there by a model of letters between neighbours, which has more scores.
LONGEST, LONGEST_ALONE, LONGEST_IN_CONTEXT = 30.0, 600.0, 120.0
# Frames whose scores are computed at a time for the rough search.
_BLOCK = 1 << 14

Times = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """A part of an utterance, or all of it.

    Attributes:
        words: which of the utterance's words are in it.
        frames: which of its frames.
        offset: seconds of the utterance at which these begin.
        duration: seconds of the piece.
    """

    words: range
    frames: range
    offset: float
    duration: float

    def words_of(self, words: Sequence[str]) -> Sequence[str]:
        """Those of the utterance's words that are in the piece."""
        return words[self.words.start : self.words.stop]

    def frames_of(self, features: Tensor) -> Tensor:
        """Those of the utterance's (T, ...) frames that are in the piece."""
        return features[self.frames.start : self.frames.stop]


def align_long(
    search: Callable[[Piece], BoundaryAlignment | str],
    whole: Piece,
    axis: FrameGrid,
    roughly: Sequence[Times],
    *,
    longest: float = LONGEST,
) -> BoundaryAlignment | str:
    """Times piece by piece where an utterance is long; as many at a time as PyTorch has threads.

    Where one piece has no path, the whole utterance is searched at once.

    Args:
        search: gives the times of a piece, from its start on, or why there are none.
        whole: the utterance.
        axis: where frames lie in time.
        roughly: start and end of each word in seconds, as another aligner has them.
        longest: seconds of a piece.
    """
    if whole.duration <= longest or len(whole.words) < 2:
        return search(whole)

    def aligned(cut: tuple[int, int, float, float]) -> tuple[BoundaryAlignment, int] | None:
        """The times of one of `_pieces` in the utterance, and its frames; None without a path."""
        first, last, begin, end = cut
        frames = whole.frames[round(axis.position(begin)) : round(axis.position(end))]
        offset = axis.seconds(frames.start)
        duration = min(whole.duration, axis.seconds(frames.stop)) - offset
        found = search(Piece(whole.words[first:last], frames, offset, duration))
        return None if isinstance(found, str) else (_moved(found, offset, first), len(frames))

    pieces = []
    for one in in_threads(aligned, _pieces(roughly, whole.duration, longest)):
        if one is None:
            return search(whole)
        pieces.append(one)
    return _joined(pieces)


def align_alone(
    model: BoundaryModel,
    features: Tensor,
    words: Sequence[str],
    duration: float,
    longest: float | None = None,
    piece: float = LONGEST,
) -> BoundaryAlignment | str:
    """`align_features` without a recogniser; an utterance that is longer in pieces, after a rough search.

    Args:
        model: as for `align_features`.
        features: as there.
        words: as there.
        duration: as there.
        longest: seconds of an utterance that is searched at once; None, as long as its scores are small.
        piece: seconds of a piece of one that is longer.
    """
    if longest is None:
        longest = LONGEST_IN_CONTEXT if model.config.neighbours else LONGEST_ALONE
    roughly = rough_times(model, features, words, duration) if duration > longest else None
    if roughly is None:
        return align_features(model, features, words, duration)

    def search(one: Piece) -> BoundaryAlignment | str:
        """The times of a piece."""
        return align_features(model, one.frames_of(features), one.words_of(words), one.duration)

    whole = Piece(range(len(words)), range(len(features)), 0.0, duration)
    return align_long(search, whole, grid(model.config), roughly, longest=piece)


def rough_times(
    model: BoundaryModel, features: Tensor, words: Sequence[str], duration: float
) -> list[Times] | None:
    """Start and end of each word in seconds, to a few hundredths; None without a path.

    Args:
        model: as for `align_features`.
        features: as there.
        words: as there.
        duration: as there.
    """
    coarse = replace(model.config, states=1, silence_states=1, minimum_frames=1)
    # One spelling of each, so that silence alone is optional.
    spellings = [model.units.spell(word, wildcards=True)[:1] for word in words]
    graph = spelled_graph(spellings, model.units.silence, coarse, 0, alone=True)
    optional = torch.zeros(graph.chain.states, dtype=torch.bool)
    optional[graph.chain.skip_targets.long()] = True
    path = rough_path(_pooled(model, features, graph), graph.chain.columns, optional)
    if path is None:
        return None
    axis, frames = grid(model.config), model.config.states
    of_word, counts = graph.words[path].unique_consecutive(return_counts=True)
    ends = counts.cumsum(0)
    edges = torch.stack([ends - counts, ends], 1)[of_word != NO_WORD] * frames
    return [
        (axis.seconds(start, duration), axis.seconds(end, duration))
        for start, end in edges.tolist()
    ]


def _pooled(model: BoundaryModel, features: Tensor, graph: UtteranceGraph) -> Tensor:
    """(T / states, columns) scores: of a unit's states the best on each frame, summed; 0 for anything."""
    # All but silence and anything.
    states, units = model.config.states, len(graph.letters) - 2
    found = []
    for block in features[: len(features) // states * states].split(_BLOCK * states):
        scores = model.scores(block, graph)
        spoken, quiet = scores[:, : units * states], scores[:, units * states :]
        best = [spoken.unflatten(1, (units, states)).amax(2), quiet.amax(1, keepdim=True)]
        found.append(torch.cat(best, 1).unflatten(0, (-1, states)).sum(1))
    return pad(torch.cat(found), (0, 1)) if found else features.new_zeros(0, units + 2)


def _pieces(
    roughly: Sequence[Times], duration: float, longest: float
) -> list[tuple[int, int, float, float]]:
    """First word, the word behind the last, start and end of each piece: cut in the longest pauses."""
    middles = [(before[1] + behind[0]) / 2 for before, behind in itertools.pairwise(roughly)]
    pauses = [behind[0] - before[1] for before, behind in itertools.pairwise(roughly)]
    found = []
    first, begin = 0, 0.0
    while duration - begin > longest:
        # Pause k lies between the words k and k + 1; a piece has a word at least.
        within = [k for k in range(first, len(middles)) if middles[k] <= begin + longest]
        late = [k for k in within if middles[k] > begin + longest / 2]
        choice = late or within[-1:] or ([first] if first < len(middles) else [])
        choice = [k for k in choice if middles[k] > begin]
        if not choice:
            break
        cut = max(choice, key=lambda k: pauses[k])
        found.append((first, cut + 1, begin, middles[cut]))
        first, begin = cut + 1, middles[cut]
    return [*found, (first, len(roughly), begin, duration)]


def _moved(found: BoundaryAlignment, offset: float, first: int) -> BoundaryAlignment:
    def both(times: Times) -> Times:
        return times[0] + offset, times[1] + offset

    return replace(
        found,
        words=[one.moved(offset) for one in found.words],
        tokens=[one.moved(offset) for one in found.tokens],
        token_words=[word + first for word in found.token_words],
        start_intervals=[both(one) for one in found.start_intervals],
        end_intervals=[both(one) for one in found.end_intervals],
    )


def _joined(pieces: Sequence[tuple[BoundaryAlignment, int]]) -> BoundaryAlignment:
    found = [piece for piece, _ in pieces]
    frames = sum(count for _, count in pieces)
    return BoundaryAlignment(
        words=[one for piece in found for one in piece.words],
        tokens=[one for piece in found for one in piece.tokens],
        token_words=[one for piece in found for one in piece.token_words],
        start_intervals=[one for piece in found for one in piece.start_intervals],
        end_intervals=[one for piece in found for one in piece.end_intervals],
        word_scores=[one for piece in found for one in piece.word_scores],
        score=sum(piece.score * count for piece, count in pieces) / frames,
    )
