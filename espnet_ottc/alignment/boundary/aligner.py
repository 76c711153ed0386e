"""Times of words and units by a boundary model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from espnet_ottc.alignment.boundary.change import changes
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.graph import NO_WORD, UtteranceGraph
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.quiet import quiet_frames, with_quiet
from espnet_ottc.alignment.boundary.units import ANYTHING, PAUSES
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.steady_sound import Shortened
from espnet_ottc.ops.chains import best_paths, sum_paths

# The ends of the interval that holds a boundary in nine cases of ten.
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class BoundaryAlignment:
    """The times of one utterance.

    Attributes:
        words: a span for each word; its score is the mean probability of its states over its frames.
        tokens: a span for each unit.
        token_words: the word of each of these.
        start_intervals: of each word, the seconds between which its start lies with 90 % probability; the
            start that was found is among them.
        end_intervals: likewise of its end.
        word_scores: of each word, the mean of log p(state | frame) − log p(state) over its frames, in nats.
        score: the same over all frames.
    """

    words: list[Span]
    tokens: list[Span]
    token_words: list[int]
    start_intervals: list[tuple[float, float]]
    end_intervals: list[tuple[float, float]]
    word_scores: list[float]
    score: float


def align_features(
    model: BoundaryModel,
    features: Tensor,
    words: Sequence[str],
    duration: float,
    wide: Tensor | None = None,
) -> BoundaryAlignment | str:
    """Align the words of one utterance.

    Args:
        model: a trained boundary model.
        features: (T, mels) of the model.
        words: what is said, at least one word.
        duration: seconds.
        wide: (T, the units' columns) log-probabilities of a model that sees more, at the same frames; its
            share is added to the scores.

    Returns:
        The times, or why there are none.
    """
    config = model.config
    graph = model.graph(words, frames=len(features), wildcards=True)
    if graph.shortest > len(features):
        return f"its words need {graph.shortest} frames, got {len(features)}"
    narrow, scores, path = _searched(model, features, graph, wide)
    if path is not None and config.across_words and graph.known:
        # Now it is known which words meet.
        graph = graph.across_words(path, config)
        narrow, scores, path = _searched(model, features, graph, wide)
    if path is None:
        return "no path through its words fits it"
    marks, arrivals = [*graph.word_starts, *graph.word_ends], changes(features, config)
    (medians,), (intervals,) = (
        sum_paths(
            [scores],
            [graph.chain],
            marks=[marks],
            levels=levels,
            scale=scale,
            arrivals=[arrivals],
            around=[path],
        ).quantiles
        for levels, scale in (
            ((0.5,), config.boundary_scale),
            (INTERVAL, config.interval_scale),
        )
    )
    found = _Found(graph, path, narrow, medians[:, 0], intervals)
    return _alignment(model, found, words, duration)


def _searched(
    model: BoundaryModel, features: Tensor, graph: UtteranceGraph, wide: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(T, columns) the model's scores, those that are searched, and the (T,) states of the best path."""
    config = model.config
    narrow = model.scores(features, graph)
    scores = with_quiet(narrow, quiet_frames(features), config)
    scores = _with_wide(scores, wide, config.wide_share, graph)
    if model.units.anything in graph.units:
        narrow, scores = pad(narrow, (0, 1)), pad(scores, (0, 1))
    (path,) = best_paths([scores], [graph.chain]).states
    return narrow, scores, path


def of_recording(found: BoundaryAlignment, sound: Shortened) -> BoundaryAlignment:
    """What was found in what is left of a recording, where it is in the recording."""
    clocks = [sound.clock(word.start, word.end) for word in found.words]
    tokens = zip(found.tokens, found.token_words, strict=True)
    starts, ends = (
        [(clock(low), clock(high)) for (low, high), clock in zip(intervals, clocks, strict=True)]
        for intervals in (found.start_intervals, found.end_intervals)
    )
    return replace(
        found,
        words=[word.retimed(clock) for word, clock in zip(found.words, clocks, strict=True)],
        tokens=[token.retimed(clocks[owner]) for token, owner in tokens],
        start_intervals=starts,
        end_intervals=ends,
    )


def _with_wide(narrow: Tensor, wide: Tensor | None, share: float, graph: UtteranceGraph) -> Tensor:
    if wide is None:
        return narrow
    if graph.windows is not None:
        wide = wide.index_select(1, graph.letters[:-1])
    return torch.add(narrow, wide, alpha=share)


@dataclass(frozen=True)
class _Found:
    """What the searches give: positions in frames, of all words' starts, then of their ends."""

    graph: UtteranceGraph
    path: Tensor  # (T,) states
    narrow: Tensor  # (T, columns) scores
    medians: Tensor  # (2 words,)
    intervals: Tensor  # (2 words, 2)


def _alignment(
    model: BoundaryModel, found: _Found, words: Sequence[str], duration: float
) -> BoundaryAlignment:
    axis, graph, path, narrow = grid(model.config), found.graph, found.path, found.narrow
    columns = graph.chain.columns.long()[path]
    scores = narrow.gather(1, columns[:, None])[:, 0]
    # Anything has what it is like; of a letter in context nobody counts how often it comes.
    priors = pad(model.log_prior, (0, 1))[graph.letters[columns]]
    probabilities = (scores + priors).exp().clamp(max=1.0)
    spans = []
    count = len(words)
    pauses = _pauses(model, graph, words)
    of_word = _with_pauses(graph.words[path], pauses)
    shifts = _shifts(of_word, pauses, model.config)
    runs = _runs(of_word)
    means = runs.means(scores)
    bounds = torch.cat([runs.starts, runs.ends]).double()
    if model.config.median:
        bounds = found.medians
    begins, ends = _filled(bounds + shifts, pauses, len(path)).split(count)
    for name, start, end, score in zip(
        words, begins.tolist(), ends.tolist(), runs.means(probabilities), strict=True
    ):
        spans.append(axis.span(name, start, max(start, end), score, duration=duration))
    tokens, token_words, symbols = [], [], (*model.units.symbols, ANYTHING)
    runs = _runs(_tokens(graph, path, of_word))
    for token, start, end, score in zip(
        runs.values.tolist(),
        runs.starts.tolist(),
        runs.ends.tolist(),
        runs.means(probabilities),
        strict=True,
    ):
        name = symbols[graph.units[token]]
        token_words.append(graph.token_words[token])
        tokens.append(axis.span(name, float(start), float(end), score, duration=duration))
    places = [span.start for span in spans] + [span.end for span in spans]
    within = _filled(found.intervals + shifts[:, None], pauses, len(path))
    intervals = _intervals(model.config, within, places, duration)
    return BoundaryAlignment(
        words=spans,
        tokens=tokens,
        token_words=token_words,
        start_intervals=intervals[:count],
        end_intervals=intervals[count:],
        word_scores=means,
        score=float(scores.mean()),
    )


def _pauses(model: BoundaryModel, graph: UtteranceGraph, words: Sequence[str]) -> list[bool]:
    """Which words are silence themselves, as TIMIT's h# is among its phones."""
    spelled: list[list[str]] = [[] for _ in words]
    symbols = (*model.units.symbols, ANYTHING)
    for unit, word in zip(graph.units, graph.token_words, strict=True):
        spelled[word].append(symbols[unit])
    return [word in PAUSES and units == [word] for word, units in zip(words, spelled, strict=True)]


def _with_pauses(of_word: Tensor, pauses: Sequence[bool]) -> Tensor:
    """The (T,) words of the frames, where silence beside a word that is silence is its own."""
    values, lengths = of_word.unique_consecutive(return_counts=True)
    runs = values.tolist()
    for place, word in enumerate(runs):
        if word == NO_WORD:
            beside = [runs[place - 1]] if place else []
            beside += runs[place + 1 : place + 2]
            values[place] = next((one for one in beside if pauses[one]), NO_WORD)
    joined: Tensor = values.repeat_interleave(lengths)
    return joined


def _tokens(graph: UtteranceGraph, path: Tensor, of_word: Tensor) -> Tensor:
    """The (T,) places of the frames' units, where words that are silence have the silence beside them."""
    tokens = graph.tokens[path]
    taken = (graph.words[path] == NO_WORD) & (of_word != NO_WORD)
    if bool(taken.any()):
        units = {word: token for token, word in enumerate(graph.token_words)}
        tokens[taken] = torch.tensor([units[word] for word in of_word[taken].tolist()])
    return tokens


def _filled(positions: Tensor, pauses: Sequence[bool], frames: int) -> Tensor:
    """(2 words, ...) frames of all starts, then of all ends; words that are silence fill the time between.

    Their boundaries are those of the words beside them, or the utterance's own.
    """
    count, positions = len(pauses), positions.clone()
    for word in (place for place, own in enumerate(pauses) if own):
        positions[word] = positions[count + word - 1] if word else 0.0
        last = word + 1 == count
        positions[count + word] = float(frames) if last else positions[word + 1]
    return positions


@dataclass(frozen=True, eq=False)
class _Runs:
    """Stretches of frames with one value ≥ 0: (N,) int64 values, first frames, frames behind the last."""

    values: Tensor
    starts: Tensor
    ends: Tensor

    def means(self, of_frames: Tensor) -> list[float]:
        """The mean of (T,) values over each."""
        sums = pad(of_frames.double().cumsum(0), (1, 0))
        means: list[float] = (
            (sums[self.ends] - sums[self.starts]) / (self.ends - self.starts)
        ).tolist()
        return means


def _runs(values: Tensor) -> _Runs:
    """The runs of (T,) int64 values; frames below 0 belong to none."""
    found, lengths = values.unique_consecutive(return_counts=True)
    ends = lengths.cumsum(0)
    kept = found >= 0
    return _Runs(found[kept], (ends - lengths)[kept], ends[kept])


def _intervals(
    config: BoundaryConfig, frames: Tensor, places: Sequence[float], duration: float
) -> list[tuple[float, float]]:
    """Seconds from frames (boundaries, 2), longer by the margin, and around where boundaries were found."""
    axis, margin = grid(config), config.interval_margin / config.hop
    return [
        (
            min(axis.seconds(low - margin, duration), place),
            max(axis.seconds(high + margin, duration), place),
        )
        for (low, high), place in zip(frames.tolist(), places, strict=True)
    ]


def _shifts(of_word: Tensor, pauses: Sequence[bool], config: BoundaryConfig) -> Tensor:
    """(2 words,) frames by which starts, then ends, move, at silence and where two words meet."""
    shifts = torch.zeros(2, len(pauses), dtype=torch.float64)
    quiet = torch.tensor([*pauses, True])  # silence behind all words: it has the number −1
    edges = torch.cat([torch.tensor([NO_WORD]), of_word, torch.tensor([NO_WORD])])
    edges = torch.where(quiet[edges], NO_WORD, edges)
    opens = (edges[:-1] == NO_WORD) & (edges[1:] != NO_WORD)
    closes = (edges[:-1] != NO_WORD) & (edges[1:] == NO_WORD)
    # not at the utterance's own ends: there is nothing that a window could meet too early
    opens[0] = closes[-1] = False
    shifts[0, edges[1:][opens]] = config.start_shift / config.hop
    shifts[1, edges[:-1][closes]] = -config.end_shift / config.hop
    meets = (edges[:-1] != NO_WORD) & (edges[1:] != NO_WORD) & (edges[:-1] != edges[1:])
    shifts[0, edges[1:][meets]] = -config.join_shift / config.hop
    shifts[1, edges[:-1][meets]] = -config.join_shift / config.hop
    return shifts.flatten()
