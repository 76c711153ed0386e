"""The times of a text's words, from what a model says about the frames."""

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.alignment.aligned import OK
from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.assembly import Assembled, assemble
from espnet_ottc.alignment.confidence import Calibration, Evidence
from espnet_ottc.alignment.text import SpelledWord, label_text, with_wildcard
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks

# The search that suits a topology.
SEARCHES = {"ctc": "ctc", "sequence": "viterbi"}
_NAME = "utterance"


class InfeasibleError(ValueError):
    """A text that cannot lie in the frames; the message says why."""


def default_search(model: SpeechModel) -> str:
    """The name of the aligner that suits a model."""
    return SEARCHES[model.topology]


def aligned_words(
    model: SpeechModel,
    outputs: FrameOutputs,
    words: Sequence[SpelledWord],
    *,
    search: str,
    duration: float,
    gaps: bool = False,
    calibration: Calibration | None = None,
) -> Assembled:
    """Times of the words of a text.

    Args:
        model: that gave the outputs.
        outputs: of the frames.
        words: of the text, spelled for the model; none has no times.
        search: a name of `espnet_ottc.alignment.aligners.ALIGNERS`.
        duration: seconds, to which times are clipped.
        gaps: let speech without text lie at the ends and between sentences.
        calibration: of confidences; None takes the default.

    Raises:
        InfeasibleError: the text cannot lie in the frames.
    """
    if not words:
        return Assembled((), (), Evidence((), 0.0, 0), None, OK)
    V = len(model.tokens)
    text = label_text(
        words, model.encode, V, separator=model.separator, unknown=model.unknown, gaps=gaps
    )
    labels = complete_labels(text.tokens, model)
    log_probs = with_wildcard(outputs.log_probs)
    T = len(log_probs)
    alpha = None if outputs.alpha is None else outputs.alpha[None]
    batch = AlignmentBatch(
        [_NAME],
        log_probs[None],
        torch.tensor([T]),
        labels[None],
        torch.tensor([len(labels)]),
        alpha,
        null=model.null,
    )
    options = {"blank": model.blank} if model.topology == "ctc" else {}
    result = make_aligner(search, options).align(batch)
    if result.infeasible:
        raise InfeasibleError(f"the text does not fit the sound: {result.infeasible[_NAME]}")
    return assemble(
        words,
        text,
        result.alignments[_NAME],
        outputs.log_probs,
        model.tokens,
        model.grid,
        silence=silence_of(model),
        duration=duration,
        calibration=calibration,
    )


def complete_labels(tokens: Sequence[int], model: SpeechModel) -> Tensor:
    """(U,) int64 labels as the model was trained with them.

    CTC's are the text's own.  OTTC's have the boundary label at both ends, and blanks between equal
    neighbours.
    """
    labels = torch.tensor(list(tokens), dtype=torch.int64)
    if model.topology == "ctc" or not len(labels):
        return labels
    sequence, count = labels[None], torch.tensor([len(labels)])
    if model.boundary is not None:
        sequence, count = add_boundary_labels(sequence, count, model.boundary)
    sequence, count = insert_blanks(sequence, count, model.blank)
    return sequence[0, : int(count)]


def silence_of(model: SpeechModel) -> frozenset[int]:
    """Ids that are no speech: the blank, the boundary label, a separator, which takes the pauses."""
    ids = (model.blank, model.boundary, model.separator)
    return frozenset(one for one in ids if one is not None)
