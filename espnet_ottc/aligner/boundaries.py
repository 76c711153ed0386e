"""Words with the times of a boundary model, by itself or beside a recogniser that has found them roughly."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.aligner.search import silence_of
from espnet_ottc.alignment.aligned import AlignedWord
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.pieces import align_long
from espnet_ottc.alignment.boundary.wide import WideOutputs, wide_scores
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.text import SpelledWord
from espnet_ottc.alignment.windows import FrameOutputs


def with_boundaries(
    found: Assembled,
    words: Sequence[SpelledWord],
    boundary: BoundaryModel,
    features: Tensor,
    model: SpeechModel,
    outputs: FrameOutputs,
    duration: float,
) -> Assembled:
    """The words with their times by one search over both models' scores; how sure they are stays as it was.

    Args:
        found: the words by the recogniser alone.
        words: the same as they are spelled.
        boundary: the boundary model.
        features: its own, (F, mels).
        model: the recogniser.
        outputs: of the recogniser.
        duration: seconds.

    Returns:
        The words with sharper times; as they were where the sound is too short for the boundary model's
        states.
    """
    if not words:
        return found
    wide = wide_scores(
        boundary,
        WideOutputs(
            outputs.log_probs,
            model.grid,
            model.tokens,
            silence_of(model) - ({model.blank} if model.null is None else set()),
            model.blank if model.null is None else None,
        ),
        len(features),
    )
    roughly = [(word.start, word.end) for word in found.words]
    said = [said_for(word) for word in words]
    times = align_long(boundary, features, said, duration, wide, roughly)
    if isinstance(times, str):
        return found
    sharper = (
        replace(
            word,
            start=times.words[number].start,
            end=times.words[number].end,
            tokens=tokens_of(times, number),
            start_interval=times.start_intervals[number],
            end_interval=times.end_intervals[number],
        )
        for number, word in enumerate(found.words)
    )
    return replace(found, words=tuple(sharper))


def said_for(word: SpelledWord) -> str:
    """What a boundary model spells for a word."""
    return " ".join(word.spoken)


def boundary_word(
    found: BoundaryAlignment, number: int, word: SpelledWord, confidence: float | None, status: str
) -> AlignedWord:
    """A word as a boundary model alone has found it."""
    span = found.words[number]
    return AlignedWord(
        word.given,
        span.start,
        span.end,
        confidence,
        status,
        said_for(word),
        tokens_of(found, number),
        word.sentence,
        word.glued,
        found.start_intervals[number],
        found.end_intervals[number],
    )


def tokens_of(found: BoundaryAlignment, number: int) -> tuple[Span, ...]:
    """The units of a word, inside of its time."""
    span = found.words[number]
    return tuple(
        Span(
            one.symbol, min(max(one.start, span.start), span.end), min(one.end, span.end), one.score
        )
        for one, owner in zip(found.tokens, found.token_words, strict=True)
        if owner == number and one.end >= span.start
    )
