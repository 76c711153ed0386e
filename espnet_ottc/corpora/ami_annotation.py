"""What the AMI corpus's own annotation says was said, word by word, and what its files lack.

NXT XML as in `ami_public_manual_1.6.2`: `corpusResources/meetings.xml` names the speakers and their
headsets, `segments/*.segments.xml` has their turns, `words/*.words.xml` their words with times.
Some words have no time or no duration.  Lhotse's recipe drops these from the text without saying
where; here they are kept, so that they can be put back.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lhotse.recipes.utils import normalize_text_ami

from espnet_ottc.corpora.manifests import Problem

NORMALISATION = "kaldi"
_TIME_TOLERANCE = 1e-3


class SaidWord(NamedTuple):
    """A word as the annotation has it.

    Attributes:
        text: normalised; several words where the corpus writes one, as FORTY FIVE.
        start, end: seconds from the meeting's start; NaN where the annotation has no times.
    """

    text: str
    start: float
    end: float

    @property
    def has_time(self) -> bool:
        """Whether it lasts: neither untimed nor of no duration."""
        return self.end > self.start


@dataclass(frozen=True)
class Participant:
    """One speaker of one meeting.

    Attributes:
        meeting: its id.
        agent: the speaker's letter there.
        channel: number of the headset.
        words: what was said, in the annotation's order.
        turns: start and end of each segment, in seconds.
    """

    meeting: str
    agent: str
    channel: int
    words: tuple[SaidWord, ...]
    turns: tuple[tuple[float, float], ...]

    def said(self, start: float, end: float) -> tuple[SaidWord, ...]:
        """The words between two times, with those without a time that stand among them."""
        inside = [
            number
            for number, word in enumerate(self.words)
            if word.has_time
            and word.start >= start - _TIME_TOLERANCE
            and word.end <= end + _TIME_TOLERANCE
        ]
        if not inside:
            return ()
        kept = set(inside)
        return tuple(
            word
            for number, word in enumerate(self.words[inside[0] : inside[-1] + 1], inside[0])
            if number in kept or not word.has_time
        )

    def outside(self) -> tuple[SaidWord, ...]:
        """The words with times that are in no segment."""
        return tuple(
            word
            for word in self.words
            if word.has_time
            and not any(start <= word.start and word.end <= end for start, end in self.turns)
        )


def normalised(text: str) -> str:
    """Text as Lhotse's recipe has it: capitals, no punctuation; empty where nothing is left."""
    words: str = normalize_text_ami(text, normalize=NORMALISATION)
    return words


def read_participants(annotations: Path) -> tuple[list[Participant], list[Problem]]:
    """Read what was said in all meetings, and the faults of the files.

    Args:
        annotations: the directory `ami_public_manual_1.6.2`.

    Returns:
        The participants, by meeting and headset, and what would stop Lhotse's recipe.
    """
    found: list[Participant] = []
    problems: list[Problem] = []
    table = annotations / "corpusResources" / "meetings.xml"
    for meeting in _children(table, "meeting", ("observation",), problems):
        name = meeting.attrib["observation"]
        for speaker in meeting:
            missing = {"nxt_agent", "channel", "global_name"} - speaker.attrib.keys()
            if missing:
                problems.append(Problem(name, f"{table.name} must give a speaker {missing}"))
                continue
            agent = speaker.attrib["nxt_agent"]
            segments, words = (
                annotations / kind / f"{name}.{agent}.{kind}.xml" for kind in ("segments", "words")
            )
            if not segments.is_file():
                continue
            found.append(
                Participant(
                    meeting=name,
                    agent=agent,
                    channel=int(speaker.attrib["channel"]),
                    words=tuple(_words(words, problems)),
                    turns=tuple(_turns(segments, problems)),
                )
            )
    return sorted(found, key=lambda one: (one.meeting, one.channel)), problems


def _turns(path: Path, problems: list[Problem]) -> Iterator[tuple[float, float]]:
    names = ("transcriber_start", "transcriber_end")
    for segment in _children(path, "segment", names, problems):
        start, end = _times(segment, names, path, problems)
        if math.isfinite(end):
            yield start, end


def _words(path: Path, problems: list[Problem]) -> Iterator[SaidWord]:
    names = ("starttime", "endtime")
    for word in _children(path, "w", (), problems):
        # Lhotse's recipe takes the text and the end of every word that has a start.
        if "starttime" in word.attrib and ("endtime" not in word.attrib or not word.text):
            problems.append(
                Problem(path.name, f"a timed word must end and have text, got {word.attrib}")
            )
        text = normalised(word.text or "")
        if text:
            yield SaidWord(text, *_times(word, names, path, problems))


def _times(
    element: ET.Element, names: Sequence[str], path: Path, problems: list[Problem]
) -> tuple[float, float]:
    """Both times of an element; NaN where it has none, or none that is a number."""
    texts = [element.get(name) for name in names]
    if None in texts:
        return math.nan, math.nan
    try:
        start, end = (float(text) for text in texts if text is not None)
    except ValueError as fault:
        problems.append(Problem(path.name, f"times must be in seconds: {fault}"))
        return math.nan, math.nan
    return start, end


def _children(
    path: Path, tag: str, needed: Sequence[str], problems: list[Problem]
) -> Iterator[ET.Element]:
    """The elements of a kind under a file's root that have the attributes needed."""
    try:
        # Through text, as Lhotse's recipe reads it: what is declared inside is not what counts.
        root = ET.fromstring(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, ET.ParseError) as fault:
        problems.append(Problem(path.name, f"must be readable XML in {path.parent}, got {fault}"))
        return
    for element in root:
        if element.tag != tag:
            continue
        missing = set(needed) - element.attrib.keys()
        if missing:
            problems.append(Problem(path.name, f"a {tag} must have {sorted(missing)}"))
            continue
        yield element
