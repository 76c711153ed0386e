"""Spans of time, and the only code that turns frames into seconds.

A position on the frame axis is a real number: frame t covers [t, t+1), its centre is t + 1/2.  A
`FrameGrid` maps positions to seconds from the utterance's start; `words_from_tokens` joins the
spans of tokens to those of words.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

CHARACTER_SEPARATORS = frozenset({"<space>", "|", " "})
SENTENCEPIECE_MARK = "▁"
# ESPnet's token types; phones are words of their own ("word" there, "phn" for those who say so).
TOKEN_TYPES = ("char", "bpe", "word", "phn")


@dataclass(frozen=True, slots=True)
class Span:
    """A symbol with its time: the half-open interval [start, end).

    Attributes:
        symbol: a word, token or phone.
        start: seconds from the utterance's start, ≥ 0.
        end: seconds, ≥ start.
        score: a confidence, in [0, 1] where this package computed it; None where nobody gave one.

    Raises:
        ValueError: a time or a score that is not finite, a negative start, an end before the start.
    """

    symbol: str
    start: float
    end: float
    score: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"span {self.symbol!r}: times must be finite, got {self._times()}")
        if not 0 <= self.start <= self.end:
            raise ValueError(
                f"span {self.symbol!r}: 0 <= start <= end must hold, got {self._times()}"
            )
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"span {self.symbol!r}: score must be finite, got {self.score}")

    @property
    def duration(self) -> float:
        """Seconds between start and end."""
        return self.end - self.start

    def moved(self, seconds: float) -> "Span":
        """The same so much later."""
        return self.retimed(lambda moment: moment + seconds) if seconds else self

    def retimed(self, time: Callable[[float], float]) -> "Span":
        """The same at other times: `time` of its own."""
        return Span(self.symbol, time(self.start), time(self.end), self.score)

    def _times(self) -> str:
        return f"[{self.start}, {self.end})"


# Spans in seconds, by utterance id.
SpansById = dict[str, list[Span]]


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Spans in order of time: by start, then by end."""
    return sorted(spans, key=lambda span: (span.start, span.end))


@dataclass(frozen=True)
class FrameGrid:
    """Where an encoder's frames lie in time: position p is at `offset + p * shift` seconds.

    Attributes:
        shift: seconds from one frame to the next, > 0 (hop length times subsampling).
        offset: seconds of the left edge of frame 0; negative where convolutions look ahead less
            than they look back.

    Raises:
        ValueError: a shift that is not positive, or a value that is not finite.
    """

    shift: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift > 0):
            raise ValueError(f"shift must be a positive number of seconds, got {self.shift}")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be a finite number of seconds, got {self.offset}")

    def seconds(self, position: float, duration: float | None = None) -> float:
        """Seconds of a position on the frame axis, clipped to [0, duration].

        Args:
            position: frames, real.
            duration: the utterance's length in seconds, > 0; None does not clip the end.
        """
        time = max(self.offset + position * self.shift, 0.0)
        return time if duration is None else min(time, duration)

    def position(self, seconds: float) -> float:
        """The position on the frame axis (frames, real) of a time in seconds."""
        return (seconds - self.offset) / self.shift

    def span(
        self,
        symbol: str,
        start: float,
        end: float,
        score: float | None = None,
        *,
        duration: float | None = None,
    ) -> Span:
        """The span between two positions on the frame axis.

        Args:
            symbol: a word, token or phone.
            start: position, frames, real.
            end: position, ≥ start.
            score: a confidence; None where there is none.
            duration: the utterance's length in seconds; None does not clip the end.

        Raises:
            ValueError: an end before the start, a score that is not finite.
        """
        return Span(symbol, self.seconds(start, duration), self.seconds(end, duration), score)


def with_unaligned(tokens: Sequence[Span], given: Sequence[str], symbol: str) -> list[Span]:
    """Spans of tokens, and between them those of a token that was not aligned, over what is left.

    Args:
        tokens: in order of time, without it; among them blanks and boundary labels that were not given.
        given: symbols of the text, with it.
        symbol: of the token that was not aligned.
    """
    rest = list(tokens)
    found: list[Span | None] = []
    for one in given:
        if one == symbol:
            found.append(None)
            continue
        place = next((i for i, token in enumerate(rest) if token.symbol == one), len(rest))
        # A blank between equal labels on either side is the pause itself.
        skipped = place if found and found[-1] is None else 0
        found += rest[skipped : place + 1]
        rest = rest[place + 1 :]
    found += rest
    begins = [span.start for span in found if span is not None]
    ends_before = begins[0] if begins else 0.0
    spans: list[Span] = []
    for span in found:
        if span is None:
            begins_next = begins[0] if begins else ends_before
            span = Span(symbol, ends_before, max(ends_before, begins_next))
        else:
            begins.pop(0)
        ends_before = span.end
        spans.append(span)
    return spans


def words_from_tokens(
    tokens: Sequence[Span],
    token_type: str,
    *,
    words: Sequence[str] | None = None,
    skip: AbstractSet[str] = frozenset({"<blank>"}),
) -> list[Span]:
    """Join token spans to word spans: from a word's first token's start to its last token's end.

    Args:
        tokens: in order of time.
        token_type: `char` (words separated by `<space>`, `|` or a blank character), `bpe`
            (SentencePiece: `▁` opens a word; a lone `▁` is silence between words, as `<space>`
            is), `word` or `phn` (each token is one).
        words: the words as the reference writes them, in order.  They name the spans, so that a
            word with `<unk>` in it keeps its own name.  None joins the tokens' symbols.
        skip: tokens that are no speech: the blank between repeated labels, silence phones.

    Returns:
        The words.  A word's score is the mean of its tokens' scores weighted by duration
        (unweighted if all durations are 0), None if a token has none.

    Raises:
        ValueError: an unknown token type; `words` of another number than the tokens hold.
    """
    if token_type not in TOKEN_TYPES:
        raise ValueError(f"token_type must be one of {', '.join(TOKEN_TYPES)}; got {token_type!r}")
    groups = _groups([token for token in tokens if token.symbol not in skip], token_type)
    if words is not None and len(words) != len(groups):
        raise ValueError(
            f"the tokens must hold as many words as the text: {len(groups)} in "
            f"{_shorten(''.join(token.symbol for token in tokens))!r}, "
            f"{len(words)} in {_shorten(' '.join(words))!r}"
        )
    names = ["".join(text for text, _ in group) for group in groups] if words is None else words
    return [
        _join(name, [token for _, token in group])
        for name, group in zip(names, groups, strict=True)
    ]


def _groups(tokens: Sequence[Span], token_type: str) -> list[list[tuple[str, Span]]]:
    """The tokens of each word, each with the text it adds to the word."""
    groups: list[list[tuple[str, Span]]] = []
    opens = True
    for token in tokens:
        text = token.symbol
        if token_type == "char" and text in CHARACTER_SEPARATORS:
            opens = True
            continue
        if token_type == "bpe" and text.startswith(SENTENCEPIECE_MARK):
            opens = True
            text = text.removeprefix(SENTENCEPIECE_MARK)
            if not text:
                continue
        if opens or token_type in ("word", "phn"):
            groups.append([])
        opens = False
        groups[-1].append((text, token))
    return groups


def _join(name: str, tokens: Sequence[Span]) -> Span:
    return Span(name, tokens[0].start, tokens[-1].end, _mean_score(tokens))


def _mean_score(tokens: Sequence[Span]) -> float | None:
    scores = [token.score for token in tokens if token.score is not None]
    if len(scores) < len(tokens):
        return None
    weights = [token.duration for token in tokens]
    if sum(weights) == 0:
        weights = [1.0] * len(tokens)
    return sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)


def _shorten(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
