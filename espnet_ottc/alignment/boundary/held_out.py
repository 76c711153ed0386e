"""Whether speech fits its own text better than another one, by what was learned from other speech alone.

A model that was trained on texts of other recordings knows them by heart.  What it has found there says
nothing about other recordings, though.  So Gaussians of the states learn from some stretches, and are asked
about the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.gaussians import cepstra
from espnet_ottc.alignment.boundary.graph import UtteranceGraph
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.ops.chains import best_paths

# Of a stretch.
_MOST_WORDS = 50
# That are compared, evenly chosen; the parts of which each is asked about in turn; the texts that each
# stretch is compared with.
_STRETCHES, _PARTS, _OTHERS = 60, 5, 6
# Frames that a state counts to have had at the mean of all.
_PRIOR_FRAMES = 20.0
_SMALLEST_VARIANCE = 0.1

# (T, D) cepstra to (T, columns) scores.
_Scores = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some words where a model has found them.

    Attributes:
        words: what is said by the text.
        graph: of the words, without neighbours.
        heard: (T, D) cepstra.
        columns: (T,) int64 the units' states that were found.
    """

    words: tuple[str, ...]
    graph: UtteranceGraph
    heard: Tensor
    columns: Tensor


def stretch_of(
    model: BoundaryModel,
    features: Tensor,
    words: Sequence[str],
    graph: UtteranceGraph,
    path: Tensor,
) -> Stretch:
    """An utterance, or the first words of a long one.

    Args:
        model: that has found the words.
        features: (T, mels).
        words: of the utterance, at least one.
        graph: of the words.
        path: (T,) the state of each frame.
    """
    said = tuple(words[:_MOST_WORDS])
    # A stretch from the midst of a text would be where the model likes it best, right or wrong.
    later = (graph.words[path] >= len(said)).nonzero()
    end = int(later[0]) if len(later) else len(path)
    return Stretch(
        said,
        model.graph(said, alone=True).without_neighbours(),
        cepstra(features[:end]),
        graph.letters[graph.chain.columns.long()[path[:end]]],
    )


def own_text_preferred(found: Sequence[Stretch]) -> float | None:
    """The share of comparisons in which a stretch fits its own text better than that of another.

    Texts that say nothing about their recordings come to about a half.

    Args:
        found: one of each utterance.

    Returns:
        The share; None where there is nothing to compare.
    """
    found = found[:: max(len(found) // _STRETCHES, 1)]
    parts = min(_PARTS, len(found))
    preferred: list[bool] = []
    for part in range(parts):
        scores = _learned([one for i, one in enumerate(found) if i % parts != part])
        if scores is None:
            return None
        for i in range(part, len(found), parts):
            texts = [found[i], *_alike(found, i)]
            here = [scores(found[i].heard)] * len(texts)
            own, *others = best_paths(here, [one.graph.chain for one in texts]).totals.tolist()
            preferred += [own > other for other in others]
    return sum(preferred) / len(preferred) if preferred else None


def _alike(found: Sequence[Stretch], i: int) -> list[Stretch]:
    """Those with other words, of about as many states, that have room in a stretch."""
    here, n = found[i], len(found)
    others = [
        found[j % n]
        for j in range(i + 1, i + n)
        if found[j % n].words != here.words and found[j % n].graph.shortest <= len(here.heard)
    ]
    states = here.graph.chain.states
    return sorted(others, key=lambda one: abs(one.graph.chain.states - states))[:_OTHERS]


def _learned(found: Sequence[Stretch]) -> _Scores | None:
    """log p(frame | state) − log p(frame) by Gaussians of one covariance; None without anything to learn."""
    if not found:
        return None
    frames = torch.cat([one.heard for one in found])
    columns = torch.cat([one.columns for one in found])
    counts = torch.bincount(columns, minlength=len(found[0].graph.letters)).float()
    sums = frames.new_zeros(len(counts), frames.shape[1]).index_add_(0, columns, frames)
    means = sums / (counts + _PRIOR_FRAMES)[:, None]
    apart = frames - means[columns]
    covariance = apart.T @ apart / len(frames) + _SMALLEST_VARIANCE * torch.eye(frames.shape[1])
    weights = torch.linalg.solve(covariance, means.T)
    offsets = -0.5 * (weights * means.T).sum(0)
    log_prior = ((counts + 1) / (counts + 1).sum()).log()

    def scores(heard: Tensor) -> Tensor:
        likely = heard @ weights + offsets
        found: Tensor = likely - (likely + log_prior).logsumexp(1, keepdim=True)
        return found

    return scores
