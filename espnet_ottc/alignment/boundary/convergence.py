"""Whether a boundary model has learned what is said, or only something about its recordings.

A model that was trained on a wrong alignment fits it, too, so that its score alone says little.  It fits
the same letters in the reverse order nearly as well, though: order is what it has not understood.
Letters are taken alone: in the reverse order they have other neighbours, which no model has heard.

Texts of other recordings can be learned by heart, in their order, too.  What was found with some recordings
then says nothing about the others (`held_out`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from espnet_ottc.alignment.boundary.graph import NO_WORD, UtteranceGraph
from espnet_ottc.alignment.boundary.held_out import Stretch, own_text_preferred, stretch_of
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.ops.chains import best_paths

# Nats per frame by which a text must fit better than itself backwards.
LEAST_CONTRAST = 0.1
# Share of the words that may lie on frames which speak against them.
MOST_UNSUPPORTED = 0.1
# Share of the comparisons in which speech must fit its own text better than another one.
LEAST_PREFERRED = 0.8
_BATCH = 32


@dataclass(frozen=True)
class Convergence:
    """How well a model fits the texts of some recordings.

    Attributes:
        score: mean score of a frame on the best path, log p(state | frame) − log p(state), in nats.
        backwards: the same with the units of each text in reverse order.
        unsupported: share of the words whose frames have a mean score below 0: they are less likely there
            than anywhere.
        words: how many were looked at.
        preferred: share of the comparisons in which speech fits its own text better than another one, by
            what was learned from other speech alone; None where there was nothing to compare.
    """

    score: float
    backwards: float
    unsupported: float
    words: int
    preferred: float | None = None

    @property
    def contrast(self) -> float:
        """Nats per frame by which the texts fit better than backwards."""
        return self.score - self.backwards

    @property
    def converged(self) -> bool:
        """Whether times of the model can be handed out."""
        return (
            self.contrast >= LEAST_CONTRAST
            and self.unsupported <= MOST_UNSUPPORTED
            and (self.preferred is None or self.preferred >= LEAST_PREFERRED)
        )

    def __str__(self) -> str:
        compared = ""
        if self.preferred is not None:
            compared = (
                f"; in {100 * self.preferred:.0f} % of comparisons speech fits its own text better than "
                f"another (at least {100 * LEAST_PREFERRED:g} %)"
            )
        return (
            f"{self.score:.2f} nats per frame, {self.backwards:.2f} with the texts backwards "
            f"(they must differ by {LEAST_CONTRAST:g}); {100 * self.unsupported:.1f} % of {self.words} "
            f"words without support (at most {100 * MOST_UNSUPPORTED:g} %){compared}"
        )


def check_convergence(
    model: BoundaryModel, features: Sequence[Tensor], texts: Sequence[Sequence[str]]
) -> Convergence:
    """How well a model fits recordings, best those that it was trained on.

    Args:
        model: a trained boundary model.
        features: (T, mels) of each utterance.
        texts: its words; an utterance whose words have no path is not counted.
    """
    score = backwards = 0.0
    frames = words = unsupported = 0
    where: list[Stretch] = []
    for begin in range(0, len(features), _BATCH):
        heard = features[begin : begin + _BATCH]
        said = list(texts[begin : begin + _BATCH])
        right = [model.graph(text, alone=True) for text in said]
        wrong = [model.graph(text, alone=True, backwards=True) for text in said]
        scores = [model.scores(x, graph) for x, graph in zip(heard, right, strict=True)]
        reverse = [model.scores(x, graph) for x, graph in zip(heard, wrong, strict=True)]
        found = best_paths(scores, [graph.chain for graph in right])
        others = best_paths(reverse, [graph.chain for graph in wrong])
        for b, graph in enumerate(right):
            path, other = found.states[b], others.states[b]
            if path is None or other is None or not graph.word_starts:
                continue
            frames += len(path)
            score += float(_on_path(scores[b], graph, path).sum())
            backwards += float(_on_path(reverse[b], wrong[b], other).sum())
            means = _word_means(_on_path(scores[b], graph, path), graph.words[path])
            words += len(means)
            unsupported += int((means < 0).sum())
            where.append(stretch_of(model, heard[b], said[b], graph, path))
    if not frames:
        return Convergence(0.0, 0.0, 1.0, 0)
    preferred = own_text_preferred(where)
    return Convergence(score / frames, backwards / frames, unsupported / words, words, preferred)


def _on_path(scores: Tensor, graph: UtteranceGraph, path: Tensor) -> Tensor:
    return scores.gather(1, graph.chain.columns.long()[path][:, None])[:, 0]


def _word_means(scores: Tensor, words: Tensor) -> Tensor:
    spoken = words != NO_WORD
    count = int(words.max()) + 1
    sums = scores.new_zeros(count).index_add_(0, words[spoken], scores[spoken])
    lengths = scores.new_zeros(count).index_add_(
        0, words[spoken], scores.new_ones(int(spoken.sum()))
    )
    return sums / lengths.clamp(min=1)
