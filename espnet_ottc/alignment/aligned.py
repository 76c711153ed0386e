"""What an aligner gives a user: words as they were given, each with a time, a confidence and a status."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from espnet_ottc.alignment.spans import Span

OK = "ok"
DOUBTFUL = "doubtful"
WILDCARD_USED = "wildcard"
NOT_FOUND = "not found"
STATUSES = (OK, DOUBTFUL, WILDCARD_USED, NOT_FOUND)


@dataclass(frozen=True)
class AlignedWord:
    """A word of the text with its time.

    Attributes:
        text: as it was given, letter for letter.
        start: seconds from the utterance's start.
        end: seconds, ≥ start.
        confidence: the probability that the word is said there, in [0, 1]; None where nothing says so.
        status: one of `STATUSES`.
        spoken: what was aligned for it, in the model's letters.
        tokens: the model's tokens with their times.
        sentence: index of its sentence in the text.
        glued: whether the next word follows without white space, as in scripts that write none.
        start_interval: seconds between which the start lies with 90 % probability; None where the search
            gives no such interval.
        end_interval: likewise of the end.
    """

    text: str
    start: float
    end: float
    confidence: float | None = None
    status: str = OK
    spoken: str = ""
    tokens: tuple[Span, ...] = ()
    sentence: int = 0
    glued: bool = False
    start_interval: tuple[float, float] | None = None
    end_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self.span  # noqa: B018  # the same checks of times
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")

    @property
    def span(self) -> Span:
        """The word as a span, with its confidence for a score."""
        return Span(self.text, self.start, self.end, self.confidence)

    def moved(self, seconds: float) -> "AlignedWord":
        """The same so much later."""
        return self.retimed(lambda moment: moment + seconds) if seconds else self

    def retimed(self, time: Callable[[float], float]) -> "AlignedWord":
        """The same at other times: `time` of its own."""
        return replace(
            self,
            start=time(self.start),
            end=time(self.end),
            tokens=tuple(token.retimed(time) for token in self.tokens),
            start_interval=_retimed(self.start_interval, time),
            end_interval=_retimed(self.end_interval, time),
        )


def _retimed(
    interval: tuple[float, float] | None, time: Callable[[float], float]
) -> tuple[float, float] | None:
    return None if interval is None else (time(interval[0]), time(interval[1]))


@dataclass(frozen=True)
class AlignedUtterance:
    """An utterance with its words.

    Attributes:
        id: of the utterance.
        recording: id of its recording.
        offset: seconds from the recording's start to the utterance's.
        duration: seconds.
        words: in the text's order, with times from the utterance's start.
        confidence: the probability that the text is what is said, in [0, 1]; None where nothing says so.
        status: one of `STATUSES`.
        channel: `mix` for the mean of all channels, or the number of one, counted from 1.
        speaker: who speaks; empty where it is not known.
        recognised: whether the model recognised the text; false where it was given.
        gaps: speech without text, in seconds from the utterance's start; `<gap>` is its symbol.
        search: which search found the times: `viterbi`, `torchaudio_ctc`, ...
        model: as it was named.
        source: the recording's file; None where there is none.
    """

    id: str
    recording: str
    offset: float
    duration: float
    words: tuple[AlignedWord, ...]
    confidence: float | None = None
    status: str = OK
    channel: str | int = "mix"
    speaker: str = ""
    recognised: bool = False
    gaps: tuple[Span, ...] = ()
    search: str = ""
    model: str = ""
    source: str | None = None

    @property
    def channel_number(self) -> int:
        """The channel for formats that want a number, counted from 1; the mean of all is 1."""
        return self.channel if isinstance(self.channel, int) else 1

    @property
    def text(self) -> str:
        """The words, with spaces where the text had some."""
        return "".join(word.text + ("" if word.glued else " ") for word in self.words).rstrip(" ")

    @property
    def word_spans(self) -> list[Span]:
        """The words as spans from the utterance's start."""
        return [word.span for word in self.words]

    @property
    def token_spans(self) -> list[Span]:
        """The tokens of all words as spans from the utterance's start."""
        return [token for word in self.words for token in word.tokens]

    def sentences(self) -> list[tuple[AlignedWord, ...]]:
        """The words of each sentence."""
        groups: dict[int, list[AlignedWord]] = {}
        for word in self.words:
            groups.setdefault(word.sentence, []).append(word)
        return [tuple(group) for group in groups.values()]


@dataclass
class Summary:
    """Counts over utterances, for the last line of a command and its exit status.

    Attributes:
        words: by status.
        utterances: by status.
    """

    words: Counter[str] = field(default_factory=Counter)
    utterances: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, utterances: Iterable[AlignedUtterance]) -> "Summary":
        """The summary of some utterances."""
        summary = cls()
        for one in utterances:
            summary.add(one)
        return summary

    def add(self, utterance: AlignedUtterance) -> None:
        """Count an utterance."""
        self.utterances[utterance.status] += 1
        self.words.update(word.status for word in utterance.words)

    @property
    def doubtful_share(self) -> float:
        """The share of words, or of utterances if that is larger, that are not `ok`, in [0, 1]."""
        shares = [
            1 - counts[OK] / sum(counts.values())
            for counts in (self.words, self.utterances)
            if sum(counts.values())
        ]
        return max(shares, default=0.0)

    def as_text(self) -> str:
        """One line."""
        words, utterances = (
            f"{sum(counts.values())} {name} ({_counts(counts)})"
            for name, counts in (("words", self.words), ("utterances", self.utterances))
        )
        return f"{words} of {utterances}"

    def exceeds(self, max_doubtful: float) -> bool:
        """Whether more than this share of words or utterances is not `ok` (then the exit status is 3).

        Args:
            max_doubtful: a share in [0, 1].
        """
        return self.doubtful_share > max_doubtful


def _counts(counts: Counter[str]) -> str:
    return (
        ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "none"
    )
