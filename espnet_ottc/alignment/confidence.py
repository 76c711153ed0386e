"""How sure it is that the words of a text were said where an alignment has them.

The evidence of a word is how near its labels come to the best label of their frames.  That of an utterance
is the share of its speech that the text leaves unexplained.  Both compare with what the model itself hears,
so that noise and a model's sharpness cancel.  A logistic function makes probabilities of them.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.alignment.aligned import DOUBTFUL, NOT_FOUND, OK, WILDCARD_USED
from espnet_ottc.alignment.aligners.interface import TokenAlignment
from espnet_ottc.ops.boundaries import NO_LABEL
from espnet_ottc.utils.files import write_json

# Below this log-ratio to the best label, a frame of speech is not explained by its label.
UNEXPLAINED = -2.0
# A word is `not found` below the first, `doubtful` below the second.
_NOT_FOUND, _DOUBTFUL = 0.1, 0.5
_LOWEST = -20.0
_BINS = 10
# On the square of a slope.  Ten times as much made the few examples of 20 recordings say too little.
_PENALTY = 1e-3


@dataclass(frozen=True)
class Evidence:
    """What speaks for a text.

    Attributes:
        words: for each word the mean over its labels of exp(mean over the label's frames of
            log p(label) - max log p), in [0, 1]; None for a word of wildcards alone.  Of a boundary model the
            mean of log p(state | frame) - log p(state) over the word's frames, in nats.
        unexplained: the share of frames of speech whose label is less likely than exp(-2) times the best
            one, in [0, 1]; 0 without speech.  Of a boundary model: minus the mean over all frames, in nats.
        speech: frames whose best label is no silence.
    """

    words: tuple[float | None, ...]
    unexplained: float
    speech: int


def word_evidence(
    alignment: TokenAlignment,
    log_probs: Tensor,
    owners: Sequence[int],
    count: int,
    silence: frozenset[int],
) -> Evidence:
    """The evidence of an alignment.

    Args:
        alignment: of U labels.
        log_probs: (T, V) of the model; a label of V or more is a wildcard.
        owners: for each label its word; negative for one that belongs to none.
        count: how many words there are.
        silence: ids that are no speech.
    """
    V = log_probs.shape[1]
    best, heard = log_probs.max(1)
    labels = alignment.frame_labels
    frames = (labels != NO_LABEL).nonzero()[:, 0]
    quiet = sorted(silence)
    # A frame without a label, as CTC's blank, is explained by silence as well as silence can.
    ratios = log_probs[:, quiet].amax(1) - best
    targets = alignment.targets[labels[frames]]
    spelled = targets < V
    ratios[frames] = torch.where(
        spelled, log_probs[frames, targets.clamp(max=V - 1)] - best[frames], torch.tensor(0.0)
    )
    ratios = ratios.double().clamp(min=_LOWEST)
    speech = ~torch.isin(heard, torch.tensor(quiet))
    total = int(speech.sum())
    unexplained = int(((ratios < UNEXPLAINED) & speech).sum()) / total if total else 0.0
    sums, sizes = torch.zeros(2, len(alignment.targets), dtype=torch.float64)
    sums.index_add_(0, labels[frames], ratios[frames])
    sizes.index_add_(0, labels[frames], torch.ones_like(ratios[frames]))
    likeness = torch.where(sizes > 0, (sums / sizes.clamp(min=1)).exp(), 0.0).tolist()
    found: list[list[float]] = [[] for _ in range(count)]
    for target, owner, value in zip(alignment.targets.tolist(), owners, likeness, strict=True):
        if owner >= 0 and target < V:
            found[owner].append(value)
    words = tuple(sum(values) / len(values) if values else None for values in found)
    return Evidence(words, unexplained, total)


@dataclass(frozen=True)
class Calibration:
    """From evidence to probabilities: P = 1 / (1 + exp(-(slope · evidence + offset))).

    The defaults were fitted on several models at once (docs/reference/confidence.md); `fit_calibration` fits
    them to one.

    Attributes:
        word_slope, word_offset: of a word's likeness.
        utterance_slope, utterance_offset: of the unexplained share.
    """

    word_slope: float = 10.5
    word_offset: float = -5.9
    utterance_slope: float = -40.0
    utterance_offset: float = 4.9

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file that is no calibration.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name.name: float(content[name.name]) for name in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            names = ", ".join(name.name for name in fields(cls))
            raise ValueError(f"{path}: a calibration is a JSON object with {names}") from error

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    def word(self, likeness: float | None) -> float | None:
        """The probability that a word is said where it was found; None without evidence.

        Args:
            likeness: of the word's evidence.
        """
        if likeness is None:
            return None
        return _logistic(self.word_slope * likeness + self.word_offset)

    def utterance(self, confidences: Iterable[float | None], unexplained: float) -> float | None:
        """The probability that the text is what is said; None for a text without evidence.

        It is at most the share of its words that is expected to be right.

        Args:
            confidences: of the words.
            unexplained: of the utterance's evidence.
        """
        known = [value for value in confidences if value is not None]
        if not known:
            return None
        fits = _logistic(self.utterance_slope * unexplained + self.utterance_offset)
        return min(fits, sum(known) / len(known))

    def word_status(self, confidence: float | None, *, wildcard: bool) -> str:
        """A word's status, by its confidence.

        Args:
            confidence: of the word.
            wildcard: whether the model could not spell all of it.
        """
        if wildcard or confidence is None:
            return WILDCARD_USED
        if confidence < _NOT_FOUND:
            return NOT_FOUND
        return DOUBTFUL if confidence < _DOUBTFUL else OK

    def utterance_status(
        self, confidence: float | None, confidences: Iterable[float | None]
    ) -> str:
        """An utterance's status: `not found` where fewer than half of its words are expected to be there.

        Args:
            confidence: of the utterance.
            confidences: of its words.
        """
        known = [value for value in confidences if value is not None]
        if confidence is None or not known:
            return WILDCARD_USED
        if sum(known) / len(known) < _DOUBTFUL:
            return NOT_FOUND
        return DOUBTFUL if confidence < _DOUBTFUL else OK


def fit_calibration(
    words: Sequence[tuple[float, bool]], utterances: Sequence[tuple[float, bool]]
) -> Calibration:
    """A calibration by logistic regression, with each class weighing the same for utterances.

    Args:
        words: likeness of a word, and whether it is said there.
        utterances: unexplained share of an utterance, and whether its text is what is said.

    Raises:
        ValueError: a class without example.
    """
    word = _fit(words, balanced=False)
    utterance = _fit(utterances, balanced=True)
    return Calibration(*word, *utterance)


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> float:
    """Mean over ten bins, weighted by count, of |mean confidence - share that is right|.

    Args:
        pairs: confidence, and what is true.
    """
    total = 0.0
    for number in range(_BINS):
        bin_ = [one for one in pairs if min(int(one[0] * _BINS), _BINS - 1) == number]
        if bin_:
            sure = statistics.fmean(value for value, _ in bin_)
            total += abs(sure - statistics.fmean(right for _, right in bin_)) * len(bin_)
    return total / len(pairs) if pairs else 0.0


def _fit(examples: Sequence[tuple[float, bool]], balanced: bool) -> tuple[float, float]:
    """Slope and offset of a logistic regression with a small penalty on the slope, by Newton's method."""
    x = torch.tensor([value for value, _ in examples], dtype=torch.float64)
    y = torch.tensor([float(right) for _, right in examples], dtype=torch.float64)
    if not 0 < float(y.sum()) < len(examples):
        raise ValueError("a calibration needs examples of right and of wrong texts")
    weight = torch.ones_like(x)
    if balanced:
        weight = torch.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum()) * len(x)
    inputs = torch.stack([x, torch.ones_like(x)], 1)
    penalty = torch.diag(torch.tensor([_PENALTY, 1e-6], dtype=torch.float64))
    values = torch.zeros(2, dtype=torch.float64)
    for _ in range(100):
        p = (inputs @ values).sigmoid()
        gradient = inputs.T @ (weight * (p - y)) + penalty @ values
        curvature = (inputs * (weight * p * (1 - p))[:, None]).T @ inputs + penalty
        step = torch.linalg.solve(curvature, gradient)
        values = values - step * min(1.0, 5.0 / float(step.abs().max().clamp(min=1e-12)))
        if float(step.abs().max()) < 1e-9:
            break
    return float(values[0]), float(values[1])


def _logistic(value: float) -> float:
    if value < 0:
        return math.exp(max(value, -700.0)) / (1 + math.exp(max(value, -700.0)))
    return 1 / (1 + math.exp(-min(value, 700.0)))
