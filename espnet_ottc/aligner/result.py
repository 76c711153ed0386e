"""What the aligner finds in an utterance."""

from dataclasses import dataclass, field

from espnet_ottc.alignment.spans import Span


@dataclass(frozen=True)
class AlignedWord:
    """A word of the text with its time.

    Attributes:
        text: as it was given, letter for letter.
        start: seconds from the utterance's start.
        end: seconds, ≥ start.
        score: mean probability of its labels over their time, in [0, 1]; None for a word without labels.
    """

    text: str
    start: float
    end: float
    score: float | None = None


@dataclass(frozen=True)
class AlignedUtterance:
    """An utterance with the times of its words.

    Attributes:
        id: of the utterance.
        recording: id of the recording.
        channel: as in `Utterance`.
        offset: seconds from the recording's start to the utterance's.
        duration: seconds of the utterance.
        text: what was aligned.
        recognised: whether the model recognised the text; false where it was given.
        words: in order of time; times from the utterance's start.
        tokens: the model's labels with their times, blanks left out.
        search: which search found the times: `ctc`, `viterbi`, ...
        model: as it was named.
        source: the recording's file; None where there is none.
    """

    id: str
    recording: str
    channel: str | int
    offset: float
    duration: float
    text: str
    recognised: bool
    words: list[AlignedWord] = field(default_factory=list)
    tokens: list[Span] = field(default_factory=list)
    search: str = ""
    model: str = ""
    source: str | None = None

    @property
    def spans(self) -> list[Span]:
        """The words as spans, for the writers of `espnet_ottc.alignment.formats`."""
        return [Span(word.text, word.start, word.end, word.score) for word in self.words]
