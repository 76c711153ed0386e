"""The times of a text's words, from what a model says about the frames."""

from collections.abc import Sequence

import torch

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.aligner.models.interface import FrameOutputs
from espnet_ottc.aligner.result import AlignedWord
from espnet_ottc.aligner.units import NO_UNIT, WILDCARD_SYMBOL, Unit, label_sequence, with_wildcard
from espnet_ottc.alignment.aligners import AlignmentBatch, TokenAlignment, make_aligner
from espnet_ottc.alignment.spans import Span
from espnet_ottc.ops.transport import frame_weights

# The search that suits a topology.
SEARCHES = {"ctc": "torchaudio_ctc", "sequence": "viterbi"}


class InfeasibleError(ValueError):
    """A text that cannot lie in the frames; the text says why."""


def default_search(model: SpeechModel) -> str:
    """The name of the aligner that suits a model."""
    return SEARCHES[model.topology]


def aligned_units(
    model: SpeechModel, outputs: FrameOutputs, units: Sequence[Unit], search: str, duration: float
) -> tuple[list[AlignedWord], list[Span]]:
    """Times of units and of the model's tokens.

    Args:
        model: that gave the outputs.
        outputs: of the frames.
        units: the words of the text.
        search: a name of `espnet_ottc.alignment.aligners.ALIGNERS`.
        duration: seconds, to which times are clipped.

    Returns:
        The words, in order, with times in seconds; and spans of the tokens, without blanks.

    Raises:
        InfeasibleError: the text cannot lie in the frames.
    """
    sequence = label_sequence(units, model)
    if not len(sequence.labels):
        return _words(units, {}), []
    log_probs = with_wildcard(outputs.log_probs)
    T, U = len(log_probs), len(sequence.labels)
    alpha = None
    if outputs.frame_scores is not None:
        alpha = frame_weights(outputs.frame_scores[None], torch.tensor([T]))
    options = {"blank": model.blank} if model.topology == "ctc" else {}
    batch = AlignmentBatch(
        ["it"], log_probs[None], torch.tensor([T]), sequence.labels[None], torch.tensor([U]), alpha
    )
    result = make_aligner(search, options).align(batch)
    if result.infeasible:
        raise InfeasibleError(f"the text does not fit the sound: {result.infeasible['it']}")
    found = result.alignments["it"]
    symbols = [*model.tokens, WILDCARD_SYMBOL]
    spans = found.spans(symbols, model.grid, duration)
    owned: dict[int, list[Span]] = {}
    for owner, span in zip(sequence.units.tolist(), spans, strict=True):
        if owner != NO_UNIT:
            owned.setdefault(owner, []).append(span)
    tokens = [span for span, label in zip(spans, _ids(found), strict=True) if label != model.blank]
    return _words(units, owned), tokens


def _ids(found: TokenAlignment) -> list[int]:
    return [int(token) for token in found.targets.tolist()]


def _words(units: Sequence[Unit], owned: dict[int, list[Span]]) -> list[AlignedWord]:
    words: list[AlignedWord] = []
    for place, unit in enumerate(units):
        spans = owned.get(place)
        if spans is None:
            # Not spoken: it stands where the word before it ends.
            end = words[-1].end if words else 0.0
            words.append(AlignedWord(unit.text, end, end))
        else:
            words.append(AlignedWord(unit.text, spans[0].start, spans[-1].end, _mean_score(spans)))
    return words


def _mean_score(spans: Sequence[Span]) -> float | None:
    """Weighted by time; of the labels alike where none has any."""
    scores = [span.score for span in spans if span.score is not None]
    if len(scores) < len(spans):
        return None
    weights = [span.duration for span in spans]
    if sum(weights) == 0:
        weights = [1.0] * len(spans)
    return sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)
