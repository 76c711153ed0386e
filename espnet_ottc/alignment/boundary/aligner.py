"""Times of words and units by a boundary model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.graph import NO_WORD, UtteranceGraph
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import Span
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
        features: (T, mels) of the utterance.
        words: what is said.
        duration: seconds of the utterance.
        wide: (T, columns) log-probabilities of a model that sees more, at the same frames; its share is
            added to the scores.

    Returns:
        The times, or why there are none.
    """
    graph, config = model.graph(words), model.config
    if graph.shortest > len(features):
        return f"its words need {graph.shortest} frames, got {len(features)}"
    narrow = model.scores(features)
    scores = narrow if wide is None else narrow + config.wide_share * wide
    (path,) = best_paths([scores], [graph.chain]).states
    if path is None:
        return "no path through its words fits it"
    marks = [*graph.word_starts, *graph.word_ends]
    medians = sum_paths(
        [scores], [graph.chain], marks=[marks], levels=(0.5,), scale=config.boundary_scale
    ).quantiles[0]
    intervals = sum_paths(
        [scores], [graph.chain], marks=[marks], levels=INTERVAL, scale=config.interval_scale
    ).quantiles[0]
    found = _Found(graph, path, narrow, medians[:, 0], intervals)
    return _alignment(model, found, words, duration)


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
    frames = torch.arange(len(path))
    columns = graph.chain.columns.long()[path]
    scores = narrow[frames, columns]
    probabilities = (scores + model.log_prior[columns]).exp()
    of_word, of_token = graph.words[path], graph.tokens[path]
    spans, means = [], []
    count = len(words)
    shifts = _shifts(of_word, count, model.config)
    for word, name in enumerate(words):
        here = (of_word == word).nonzero()[:, 0]
        start, end = float(here[0]), float(here[-1]) + 1
        if model.config.median:
            start, end = float(found.medians[word]), float(found.medians[count + word])
        start, end = start + shifts[word, 0].item(), end + shifts[word, 1].item()
        score = float(probabilities[here].mean())
        spans.append(axis.span(name, start, max(start, end), score, duration=duration))
        means.append(float(scores[here].mean()))
    tokens, token_words = [], []
    for token in of_token[of_token >= 0].unique_consecutive().tolist():
        here = (of_token == token).nonzero()[:, 0]
        name = model.units.names[graph.units[token]]
        score = float(probabilities[here].mean())
        token_words.append(graph.token_words[token])
        tokens.append(
            axis.span(name, float(here[0]), float(here[-1]) + 1, score, duration=duration)
        )
    places = [span.start for span in spans] + [span.end for span in spans]
    intervals = _intervals(
        model.config, found.intervals + shifts.T.reshape(-1, 1), places, duration
    )
    return BoundaryAlignment(
        words=spans,
        tokens=tokens,
        token_words=token_words,
        start_intervals=intervals[:count],
        end_intervals=intervals[count:],
        word_scores=means,
        score=float(scores.mean()),
    )


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


def _shifts(of_word: Tensor, count: int, config: BoundaryConfig) -> Tensor:
    """(words, 2) frames by which starts and ends move, at silence and where two words meet."""
    shifts = torch.zeros(count, 2, dtype=torch.float64)
    edges = torch.cat([torch.tensor([NO_WORD]), of_word, torch.tensor([NO_WORD])])
    opens = (edges[:-1] == NO_WORD) & (edges[1:] != NO_WORD)
    closes = (edges[:-1] != NO_WORD) & (edges[1:] == NO_WORD)
    # not at the utterance's own ends: there is nothing that a window could meet too early
    opens[0] = closes[-1] = False
    shifts[edges[1:][opens], 0] = config.start_shift / config.hop
    shifts[edges[:-1][closes], 1] = -config.end_shift / config.hop
    meets = (edges[:-1] != NO_WORD) & (edges[1:] != NO_WORD) & (edges[:-1] != edges[1:])
    shifts[edges[1:][meets], 0] = -config.join_shift / config.hop
    shifts[edges[:-1][meets], 1] = -config.join_shift / config.hop
    return shifts
