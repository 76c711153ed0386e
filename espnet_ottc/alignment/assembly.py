"""From an aligner's labels to the words that were given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from espnet_ottc.alignment.aligned import DOUBTFUL, NOT_FOUND, OK, AlignedWord
from espnet_ottc.alignment.aligners.interface import TokenAlignment
from espnet_ottc.alignment.confidence import Calibration, Evidence, word_evidence
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.alignment.text import GAP, LabelledText, SpelledWord, owners_of
from espnet_ottc.alignment.text.spelling import WILDCARD

# How outputs write the model's missing letters, and speech without text.
WILDCARD_TOKEN = "<wildcard>"
GAP_SYMBOL = "<gap>"
# Shorter speech between sentences is a breath or a click.
_SHORTEST_GAP = 0.3


@dataclass(frozen=True)
class Assembled:
    """What was found of one utterance.

    Attributes:
        words: as given, with times, confidence and status.
        gaps: speech without text between sentences or at the ends.
        evidence: of each word, and of the utterance.
        confidence: of the utterance.
        status: of the utterance.
    """

    words: tuple[AlignedWord, ...]
    gaps: tuple[Span, ...]
    evidence: Evidence
    confidence: float | None
    status: str

    def moved(self, seconds: float) -> "Assembled":
        """The same so much later."""
        return replace(
            self,
            words=tuple(word.moved(seconds) for word in self.words),
            gaps=tuple(gap.moved(seconds) for gap in self.gaps),
        )


def assemble(
    words: Sequence[SpelledWord],
    text: LabelledText,
    alignment: TokenAlignment,
    log_probs: Tensor,
    token_list: Sequence[str],
    grid: FrameGrid,
    *,
    silence: frozenset[int],
    duration: float | None = None,
    calibration: Calibration | None = None,
) -> Assembled:
    """The words of an utterance, with times, confidence and status.

    A wildcard's time is narrowed to the frames in it that are not best explained by silence.

    Args:
        words: as they were labelled.
        text: their labels.
        alignment: of these labels; blanks and boundary labels may stand among them.
        log_probs: (T, V) of the model, without the wildcard or with it (V + 1).
        token_list: V symbols.
        grid: where the frames lie in time.
        silence: ids that are no speech: the blank, a separator that takes the pauses.
        duration: the utterance's length in seconds, to clip ends; None does not.
        calibration: None takes the default.

    Raises:
        ValueError: an alignment of other labels.
    """
    V = len(token_list)
    said = log_probs[: len(alignment.frame_labels), :V].detach().float().cpu()
    owners = owners_of(alignment.targets.tolist(), text)
    edges = _edges(alignment, owners, said, silence)
    spans = [
        grid.span(
            token_list[token] if token < V else WILDCARD_TOKEN, start, end, score, duration=duration
        )
        for token, (start, end), score in zip(
            alignment.targets.tolist(), edges, alignment.scores.tolist(), strict=True
        )
    ]
    evidence = word_evidence(alignment, said, owners, len(words), silence)
    calibration = calibration or Calibration()
    owned: dict[int, list[Span]] = {}
    for span, owner in zip(spans, owners, strict=True):
        owned.setdefault(owner, []).append(span)
    found = tuple(
        _word(word, owned[index], evidence.words[index], calibration)
        for index, word in enumerate(words)
    )
    gaps = tuple(
        Span(GAP_SYMBOL, span.start, span.end)
        for span, owner in zip(spans, owners, strict=True)
        if owner == GAP and span.duration >= _SHORTEST_GAP
    )
    confidences = [word.confidence for word in found]
    confidence = calibration.utterance(confidences, evidence.unexplained)
    status = calibration.utterance_status(confidence, confidences)
    if status == OK and any(_is_misplaced(gap, found) for gap in gaps):
        status = DOUBTFUL
    return Assembled(found, gaps, evidence, confidence, status)


def _is_misplaced(gap: Span, words: Sequence[AlignedWord]) -> bool:
    """Whether a word beside a gap may not be said there: the gap then covers speech inside of a sentence."""
    before = [word for word in words if word.start < gap.start][-1:]
    after = [word for word in words if word.start >= gap.start][:1]
    return any(word.status in (DOUBTFUL, NOT_FOUND) for word in before + after)


def _word(
    word: SpelledWord, tokens: Sequence[Span], evidence: float | None, calibration: Calibration
) -> AlignedWord:
    """A word with the time of its tokens."""
    confidence = calibration.word(evidence)
    return AlignedWord(
        word.given,
        tokens[0].start,
        tokens[-1].end,
        confidence,
        calibration.word_status(confidence, wildcard=word.has_wildcard),
        " ".join(word.spoken).replace(WILDCARD, WILDCARD_TOKEN),
        tuple(tokens),
        word.sentence,
        word.glued,
    )


def _edges(
    alignment: TokenAlignment, owners: Sequence[int], log_probs: Tensor, silence: frozenset[int]
) -> list[tuple[float, float]]:
    """Start and end of each label in frames, those of wildcards without the silence around them.

    A gap without speech gets no time.
    """
    edges = list(zip(alignment.starts.tolist(), alignment.ends.tolist(), strict=True))
    speech = ~torch.isin(log_probs.argmax(1), torch.tensor(sorted(silence)))
    for label, token in enumerate(alignment.targets.tolist()):
        if token < log_probs.shape[1]:
            continue
        start, end = edges[label]
        # Its frames lie there, give or take the half by which a boundary may have moved.
        first, last = max(int(start) - 1, 0), int(end) + 2
        own = alignment.frame_labels[first:last] == label
        frames = (own & speech[first:last]).nonzero()[:, 0] + first
        if len(frames):
            edges[label] = (max(start, float(frames[0])), min(end, float(frames[-1]) + 1))
        elif owners[label] == GAP:
            edges[label] = (edges[label][0], edges[label][0])
    return edges
