"""The chain of states of an utterance's words."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.ops.chains import NO_ARC, Chain

NO_WORD = -1
# Scores that a search may have.
MOST_CELLS = 1 << 26


@dataclass(frozen=True, eq=False)
class UtteranceGraph:
    """The states of an utterance, from left to right: silence? word silence? word ... silence?

    Attributes:
        chain: what the searches read; a state's column is unit · states + number for a unit, and behind all
            of these for silence, whose last state is the first over again.  The last one is of anything.
            With windows a column is window · states + number instead.
        words: (S,) int64 the word of each state; −1 for silence.
        tokens: (S,) int64 the place of its unit in the utterance's `units`; −1 for silence.
        units: the units of all words and all their spellings, in the chain's order.
        word_starts: first state of each word.
        word_ends: last state of each word, plus 1.
        token_words: the word of each of `units`.
        letters: (columns,) int64 of each column that of its unit, whatever stands beside it.
        windows: (N, 2 n + 1) int64 the different units of the utterance, each between n neighbours on either
            side: beyond its word is silence, and what is not known is anything.  None without neighbours.
            Unit u of a word beside, see `across_words`, has the number of anything + 1 + u.
        known: whether they say what is beside the units.
    """

    chain: Chain
    words: Tensor
    tokens: Tensor
    units: tuple[int, ...]
    word_starts: tuple[int, ...]
    word_ends: tuple[int, ...]
    token_words: tuple[int, ...]
    letters: Tensor
    windows: Tensor | None = None
    known: bool = False

    @property
    def shortest(self) -> int:
        """Frames that the shortest path has."""
        return _shortest(self.chain)

    def with_stays(self, stays: Tensor) -> "UtteranceGraph":
        """The same graph where each state has a probability of its own to stay.

        Args:
            stays: of the units' columns, in (0, 1).
        """
        chain = self.chain
        here = stays.double()[self.letters[chain.columns.long()]]
        closed = chain.stay < NO_ARC / 2
        # A state that cannot stay is left for nothing.
        out = torch.where(closed, 0.0, (1 - here).log()).float()
        return replace(
            self,
            chain=replace(
                chain,
                stay=torch.where(closed, chain.stay, here.log().float()),
                move=torch.where(chain.move < NO_ARC / 2, chain.move, out.roll(1)),
                skip_scores=out[chain.skip_sources.long()],
            ),
        )

    def across_words(self, path: Tensor, config: BoundaryConfig) -> "UtteranceGraph":
        """The same graph, where units know those of the words beside that a path joins without silence.

        Args:
            path: (T,) int64 states.
            config: as for `make_graph`.
        """
        if self.windows is None or not self.known:
            return self
        columns, states, before = self.chain.columns.long(), config.states, len(self.windows)
        silence = int(self.letters[before * states]) // states
        # Of each state the window of its unit; neither silence nor anything has one.
        spoken = columns < before * states
        of_state = self.windows[columns[spoken] // states]
        beside = self._beside(path, silence)[self.tokens[spoken]]
        windows, numbers = torch.where(beside < 0, of_state, beside).unique(
            dim=0, return_inverse=True
        )
        columns = columns + (len(windows) - before) * states
        columns[spoken] = numbers * states + self.chain.columns.long()[spoken] % states
        centres = windows[:, windows.shape[1] // 2].tolist()
        return replace(
            self,
            chain=replace(self.chain, columns=columns.int()),
            letters=_letters(centres, silence, config),
            windows=windows,
        )

    def _beside(self, path: Tensor, silence: int) -> Tensor:
        """(units, 2 n + 1) numbers of the neighbours in other words, where a path joins them; else −1."""
        assert self.windows is not None
        size = self.windows.shape[1]
        found = torch.full((len(self.units), size), -1)
        units, words = torch.tensor(self.units), torch.tensor(self.token_words)
        said = self.tokens[path].unique_consecutive()
        around = pad(said, (size // 2, size // 2), value=NO_WORD)
        for step in (-1, 1):
            joined = said >= 0
            for place in range(size // 2 + step, size if step > 0 else -1, step):
                other = around[place : place + len(said)]
                joined = joined & (other >= 0)
                foreign = joined & (words[other] != words[said]) & (units[other] < silence)
                found[said[foreign], place] = units[other[foreign]] + silence + 2
        return found

    def without_neighbours(self) -> "UtteranceGraph":
        """The same graph, whose columns are those of the units."""
        if self.windows is None:
            return self
        columns = self.letters[self.chain.columns.long()]
        return replace(
            self,
            chain=replace(self.chain, columns=columns.int()),
            letters=torch.arange(int(self.letters[-1]) + 1),
            windows=None,
        )


def columns_of(units: int, config: BoundaryConfig) -> int:
    """How many different states a model has.

    Args:
        units: how many units, silence included.
        config: states of each.
    """
    return (units - 1) * config.states + (config.silence_states + 1) // 2


class _Builder:
    """States are added from left to right; `ends` are those from which the next one can be come to."""

    def __init__(self, config: BoundaryConfig, silence: int) -> None:
        self.config, self.silence = config, silence
        self.columns: list[int] = []
        self.stays: list[bool] = []
        self.words: list[int] = []
        self.tokens: list[int] = []
        self.arcs: list[tuple[int, int]] = []
        self.entries: list[int] = []
        self.entrances: list[int] = []

    def add(
        self, unit: int, word: int, token: int, ends: Sequence[int], *, begins: bool = False
    ) -> list[int]:
        """Append the states of a unit; −1 among `ends` is the beginning; silence always begins anew."""
        config = self.config
        if word == NO_WORD or begins:
            self.entrances.append(len(self.columns))
        for column in self._columns(unit):
            for repeat in range(config.minimum_frames):
                state = len(self.columns)
                self.columns.append(column)
                self.stays.append(repeat == config.minimum_frames - 1)
                self.words.append(word)
                self.tokens.append(token)
                for end in ends:
                    if end < 0:
                        self.entries.append(state)
                    else:
                        self.arcs.append((end, state))
                ends = [state]
        return list(ends)

    def _columns(self, unit: int) -> list[int]:
        config = self.config
        if unit > self.silence:
            return [columns_of(self.silence + 1, config)]
        places: Iterable[int] = range(config.states)
        if unit == self.silence:
            last = config.silence_states - 1
            places = (min(number, last - number) for number in range(last + 1))
        return [unit * config.states + place for place in places]


def make_graph(
    spellings: Sequence[Sequence[Sequence[int]]],
    silence: int,
    config: BoundaryConfig,
    *,
    neighbours: int = 0,
    known: bool = True,
) -> UtteranceGraph:
    """The graph of an utterance.

    Args:
        spellings: of each word its spellings, each a list of units; the one behind silence is anything.
        silence: the index of silence.
        config: states of a unit, their minimum and probability of staying, optional silence.
        neighbours: how many units on either side decide what a unit sounds like.
        known: whether they are; else they are anything.

    Raises:
        ValueError: a word without a spelling, or an empty one.
    """
    numbers = _numbered(spellings, silence, neighbours, known)
    quiet = len(numbers)
    builder = _Builder(config, quiet)
    units: list[int] = []
    token_words: list[int] = []
    starts, stops = [], []
    ends = [*builder.add(quiet, NO_WORD, -1, [-1]), -1]
    for word, variants in enumerate(spellings):
        if not variants or not all(variants):
            raise ValueError(f"word {word} needs units, got {variants}")
        starts.append(len(builder.columns))
        closing: list[int] = []
        for variant in variants:
            last = list(ends)
            for number, window in enumerate(_windows(variant, silence, neighbours, known)):
                unit = window[neighbours]
                place = numbers.get(window, quiet + (unit > silence))
                last = builder.add(place, word, len(units), last, begins=number == 0)
                units.append(unit)
                token_words.append(word)
            closing += last
        stops.append(len(builder.columns))
        ends = closing
        if config.silence or word == len(spellings) - 1:
            ends = [*closing, *builder.add(quiet, NO_WORD, -1, closing)]
    return UtteranceGraph(
        chain=_chain(builder, [end for end in ends if end >= 0]),
        words=torch.tensor(builder.words),
        tokens=torch.tensor(builder.tokens),
        units=tuple(units),
        word_starts=tuple(starts),
        word_ends=tuple(stops),
        token_words=tuple(token_words),
        letters=_letters([window[neighbours] for window in numbers], silence, config),
        windows=torch.tensor([*numbers], dtype=torch.int64).view(-1, 2 * neighbours + 1)
        if neighbours
        else None,
        known=bool(neighbours) and known,
    )


def spelled_graph(
    spellings: Sequence[Sequence[Sequence[int]]],
    silence: int,
    config: BoundaryConfig,
    frames: int,
    *,
    alone: bool = False,
) -> UtteranceGraph:
    """The graph of an utterance, with as many neighbours as a model knows.

    Args:
        spellings: as for `make_graph`.
        silence: as there.
        config: as there.
        frames: that are searched; where scores of all letters between their neighbours would take too much
            memory, the neighbours are anything.
        alone: whether they are in any case.
    """
    graph = make_graph(spellings, silence, config, neighbours=config.neighbours, known=not alone)
    if alone or not config.neighbours or frames * len(graph.letters) <= MOST_CELLS:
        return graph
    return spelled_graph(spellings, silence, config, frames, alone=True)


def _numbered(
    spellings: Sequence[Sequence[Sequence[int]]], silence: int, neighbours: int, known: bool
) -> dict[tuple[int, ...], int]:
    """The windows that have columns, in their order: all units, or with neighbours those that are there."""
    if not neighbours:
        return {(unit,): unit for unit in range(silence)}
    numbers: dict[tuple[int, ...], int] = {}
    for variant in itertools.chain.from_iterable(spellings):
        for window in _windows(variant, silence, neighbours, known):
            if window[neighbours] < silence:
                numbers.setdefault(window, len(numbers))
    return numbers


def _windows(
    units: Sequence[int], silence: int, neighbours: int, known: bool
) -> list[tuple[int, ...]]:
    """Of each unit of a spelling it and those beside it."""
    if not known:
        beside = (silence + 1,) * neighbours
        return [(*beside, unit, *beside) for unit in units]
    edge = (silence,) * neighbours
    edged = (*edge, *units, *edge)
    return [edged[place : place + 2 * neighbours + 1] for place in range(len(units))]


def _letters(units: Sequence[int], silence: int, config: BoundaryConfig) -> Tensor:
    """The columns of units, of silence and of anything."""
    first = torch.tensor(units, dtype=torch.int64)[:, None] * config.states
    quiet = torch.arange(silence * config.states, columns_of(silence + 1, config) + 1)
    return torch.cat([(first + torch.arange(config.states)).flatten(), quiet])


def _chain(builder: _Builder, finals: Sequence[int]) -> Chain:
    S = len(builder.columns)
    stay, leave = math.log(builder.config.stay), math.log(1 - builder.config.stay)
    stays = torch.tensor([stay if stays else NO_ARC for stays in builder.stays])
    # A state that cannot stay is left for nothing.
    out = [leave if stays else 0.0 for stays in builder.stays]
    enter, final = (torch.full((S,), NO_ARC) for _ in range(2))
    moves = [NO_ARC] * S
    skips = []
    for source, target in builder.arcs:
        if source == target - 1:
            moves[target] = out[source]
        else:
            skips.append((target, source))
    skips.sort()
    entrances = torch.zeros(S, dtype=torch.bool)
    entrances[builder.entrances] = True
    enter[builder.entries] = 0.0
    final[list(finals)] = 0.0
    return Chain(
        columns=torch.tensor(builder.columns, dtype=torch.int32),
        stay=stays,
        move=torch.tensor(moves),
        enter=enter,
        leave=final,
        skip_sources=torch.tensor([source for _, source in skips], dtype=torch.int32),
        skip_targets=torch.tensor([target for target, _ in skips], dtype=torch.int32),
        skip_scores=torch.tensor([out[source] for _, source in skips]),
        entrances=entrances,
    )


def _shortest(chain: Chain) -> int:
    far = 1 << 40
    fewest = [1 if score > NO_ARC / 2 else far for score in chain.enter.tolist()]
    skips: dict[int, list[int]] = {}
    for source, target in zip(
        chain.skip_sources.tolist(), chain.skip_targets.tolist(), strict=True
    ):
        skips.setdefault(target, []).append(source)
    for state, move in zip(range(chain.states), chain.move.tolist(), strict=True):
        before = [fewest[source] for source in skips.get(state, ())]
        if state and move > NO_ARC / 2:
            before.append(fewest[state - 1])
        fewest[state] = min(itertools.chain([fewest[state]], (count + 1 for count in before)))
    leaves = zip(fewest, chain.leave.tolist(), strict=True)
    return min((count for count, score in leaves if score > NO_ARC / 2), default=0)
