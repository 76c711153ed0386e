"""Words with the times of a boundary model, by itself or beside a recogniser that has found them roughly."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.aligner.search import silence_of
from espnet_ottc.alignment.aligned import AlignedWord
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment
from espnet_ottc.alignment.boundary.beside import align_beside
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.wide import WideOutputs
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.text import SpelledWord
from espnet_ottc.alignment.windows import FrameOutputs


def with_boundaries(
    found: Assembled,
    words: Sequence[SpelledWord],
    boundary: BoundaryModel,
    samples: Tensor,
    model: SpeechModel,
    outputs: FrameOutputs,
    *,
    duration: float,
    start: float = 0.0,
) -> Assembled:
    """The words with their times by one search over both models' scores; how sure they are stays as it was.

    Args:
        found: the words by the recogniser alone.
        words: the same as they are spelled.
        boundary: the boundary model.
        samples: (N,) in which the words are, at the recogniser's rate.
        model: the recogniser.
        outputs: of the recogniser.
        duration: seconds of the samples.
        start: seconds at which they begin.

    Returns:
        The words with sharper times; as they were where the sound is too short for the boundary model's
        states.
    """
    if not words:
        return found
    wide = WideOutputs(
        outputs.log_probs,
        replace(model.grid, offset=model.grid.offset - start),
        model.tokens,
        silence_of(model) - ({model.blank} if model.null is None else set()),
        model.blank if model.null is None else None,
    )
    roughly = [(word.start - start, word.end - start) for word in found.words]
    said = [said_for(word) for word in words]
    times = align_beside(
        boundary, samples, model.sampling_rate, said, wide, roughly, duration=duration
    )
    if isinstance(times, str):
        return found
    sharper = (
        replace(
            word,
            start=times.words[number].start,
            end=times.words[number].end,
            tokens=tokens,
            start_interval=times.start_intervals[number],
            end_interval=times.end_intervals[number],
        ).moved(start)
        for number, (word, tokens) in enumerate(
            zip(found.words, tokens_of_words(times), strict=True)
        )
    )
    return replace(found, words=tuple(sharper))


def said_for(word: SpelledWord) -> str:
    """What a boundary model spells for a word."""
    return " ".join(word.spoken)


def boundary_word(
    found: BoundaryAlignment,
    number: int,
    word: SpelledWord,
    tokens: tuple[Span, ...],
    *,
    confidence: float | None,
    status: str,
) -> AlignedWord:
    """A word as a boundary model alone has found it, with its tokens of `tokens_of_words`."""
    span = found.words[number]
    return AlignedWord(
        word.given,
        span.start,
        span.end,
        confidence,
        status,
        said_for(word),
        tokens,
        word.sentence,
        word.glued,
        found.start_intervals[number],
        found.end_intervals[number],
    )


def tokens_of_words(found: BoundaryAlignment) -> list[tuple[Span, ...]]:
    """Of each word its units, inside of its time: the first begins with it, the last ends with it."""
    inside: list[list[Span]] = [[] for _ in found.words]
    for one, owner in zip(found.tokens, found.token_words, strict=True):
        span = found.words[owner]
        if one.end >= span.start:
            start, end = min(max(one.start, span.start), span.end), min(one.end, span.end)
            inside[owner].append(Span(one.symbol, start, end, one.score))
    # Words begin and end between frames, units with them.
    for span, units in zip(found.words, inside, strict=True):
        if units:
            units[0] = replace(units[0], start=span.start)
            units[-1] = replace(units[-1], end=span.end)
    return [tuple(units) for units in inside]
