"""What the page shows beside its tables: pictures, recordings, and what is missing."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """A figure with the words that go with it.

    Attributes:
        svg: the drawing.
        alt: what it shows, for those who cannot see it.
        caption: how to read it.
        least, most: its width in pixels on a narrow page (where it scrolls) and on a wide one.
    """

    svg: str
    alt: str
    caption: str
    least: int
    most: int


@dataclass(frozen=True)
class Recording:
    """One utterance: its figure, its table of times, its sound.

    Attributes:
        id, text: of the utterance.
        picture: the figure.
        audio: a data URI; None where the recording is larger than the limit.
        audio_note: why there is none, else the size.
        duration: seconds.
        edges: where the time axis begins and ends, as shares of the figure's width.
        header, times: the table of word times.
    """

    id: str
    text: str
    picture: Picture
    audio: str | None
    audio_note: str
    duration: float
    edges: tuple[float, float]
    header: list[str]
    times: list[list[str]]


@dataclass
class Sections:
    """Everything on the page but the tables; `missing` says of each part what is not there."""

    curves: list[Picture] = field(default_factory=list)
    evolution: list[Picture] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    recordings_from: str = ""
    missing: dict[str, list[str]] = field(
        default_factory=lambda: {"curves": [], "evolution": [], "recordings": []}
    )

    def lacks(self, part: str, fault: Exception | str) -> None:
        """Note what a part lacks, once."""
        text = str(fault)
        if text not in self.missing[part]:
            self.missing[part].append(text)
