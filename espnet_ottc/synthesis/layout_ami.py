"""Meetings in the AMI corpus's layout: headset recordings and NXT XML with word times.

A set is a headset, `<meeting>.Headset-<number>`, and its utterances are put on the meeting's
timeline.  Turns start at times that the meeting's name decides, and go round the headsets: nothing
has to be shared between the processes that write them, and neighbouring turns overlap as they do in
conversation.  What a meeting's headsets have in common, their length and what each hears of the
others, is added when all are there.
"""

import random
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from espnet_ottc.synthesis.layouts import SessionSummary
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance

HEADSETS = 4
ANNOTATIONS = "ami_public_manual_1.6.2"
# Letters of a meeting's participants, one a headset.
AGENTS = "ABCD"

_NXT = "http://nite.sourceforge.net/"
_SET_NAME = re.compile(rf"(?P<meeting>\w+)\.Headset-(?P<number>[0-{HEADSETS - 1}])")
# Seconds between the starts of turns: about as long as turns are, so that every other overlaps.
_TURN_SECONDS = (2.2, 4.0)
_SHORTEST_PAUSE = 0.3
# The annotation has milliseconds: utterances start on one.
_TICKS_PER_SECOND = 1000
_NOISE_LEVEL_DB = -65.0
_CROSSTALK_DB = -30.0
_LARGEST_SAMPLE = 0.95


@dataclass(frozen=True)
class Headset:
    """One headset of one meeting."""

    meeting: str
    number: int

    @classmethod
    def of(cls, set_name: str) -> "Headset":
        """The headset that a set is named after.

        Raises:
            ValueError: the name is not `<meeting>.Headset-<number>`.
        """
        match = _SET_NAME.fullmatch(set_name)
        if match is None:
            raise ValueError(
                f"set {set_name}: AMI's sets are <meeting>.Headset-<0 to {HEADSETS - 1}>"
            )
        return cls(match["meeting"], int(match["number"]))

    @property
    def agent(self) -> str:
        """The participant's letter."""
        return AGENTS[self.number]

    def audio(self, root: Path) -> Path:
        """Where the recording lies."""
        name = f"{self.meeting}.Headset-{self.number}.wav"
        return root / "wav_db" / self.meeting / "audio" / name

    def annotation(self, root: Path, kind: str) -> Path:
        """Where `words` or `segments` lie."""
        return root / ANNOTATIONS / kind / f"{self.meeting}.{self.agent}.{kind}.xml"


class AmiLayout:
    """`wav_db/<meeting>/audio/<meeting>.Headset-<number>.wav` and `ami_public_manual_1.6.2/`.

    An utterance is a segment, its text a sentence with a full stop, and a comma wherever words do
    not touch.  Times have three decimals, as the corpus's own.
    """

    def write_session(
        self, root: Path, set_name: str, utterances: Iterable[Utterance]
    ) -> SessionSummary:
        """Write the headset that `set_name` names.

        Raises:
            ValueError: no utterances, several speakers or sampling rates, a set name of another
                form, or a text that is not the timed words.
        """
        import soundfile

        headset = Headset.of(set_name)
        stream = iter(utterances)
        first = next(stream, None)
        if first is None:
            raise ValueError(f"set {set_name}: a headset must have utterances, got none")
        path = headset.audio(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(list(set_name.encode()))
        annotation = _Annotation(headset)
        with soundfile.SoundFile(path, "w", first.sampling_rate, 1, "PCM_16") as audio:
            turns = islice(turn_starts(headset.meeting), headset.number, None, HEADSETS)
            for utterance in chain([first], stream):
                _check(utterance, first)
                now = audio.tell() / audio.samplerate
                # Not before the last utterance has ended: turns that have passed are lost.
                start = next(turn for turn in turns if turn >= now + _SHORTEST_PAUSE)
                pause = round(start * audio.samplerate) - audio.tell()
                audio.write(_noise(noise, pause))
                annotation.add(utterance, start)
                audio.write(utterance.samples)
        annotation.write(root)
        return SessionSummary(
            set_name, first.speaker, annotation.utterances, annotation.words, annotation.seconds
        )

    def write_tables(self, root: Path, sessions: Sequence[SessionSummary]) -> None:
        """Finish the recordings and write `corpusResources/meetings.xml`."""
        meetings: dict[str, list[tuple[Headset, Speaker]]] = defaultdict(list)
        for session in sessions:
            headset = Headset.of(session.set_name)
            meetings[headset.meeting].append((headset, session.speaker))
        table = _root("meetings")
        for number, (name, members) in enumerate(sorted(meetings.items())):
            members.sort(key=lambda member: member[0].number)
            seconds = _mix([headset.audio(root) for headset, _ in members], name)
            attributes = {"observation": name, "duration": f"{seconds:.3f}"}
            meeting = _element(table, "meeting", f"m{number}", attributes)
            for headset, speaker in members:
                attributes = {
                    "nxt_agent": headset.agent,
                    "channel": str(headset.number),
                    "global_name": global_name(speaker),
                }
                _element(meeting, "speaker", f"m{number}.{headset.agent}", attributes)
        _write(table, root / ANNOTATIONS / "corpusResources" / "meetings.xml")


def turn_starts(meeting: str) -> Iterator[float]:
    """When the turns of a meeting start, in seconds, without end; turn n is headset n mod 4's."""
    draw = random.Random(meeting)
    now = _SHORTEST_PAUSE
    while True:
        now += draw.uniform(*_TURN_SECONDS)
        yield round(now * _TICKS_PER_SECOND) / _TICKS_PER_SECOND


def global_name(speaker: Speaker) -> str:
    """A speaker's name in the whole corpus, with the sex in front, as `FEE1004`."""
    return f"{speaker.sex}EE{speaker.id}"


class _Annotation:
    """The words and segments of one headset, in memory until all are there."""

    def __init__(self, headset: Headset) -> None:
        self.utterances = self.words = 0
        self.seconds = 0.0
        self._headset = headset
        self._name = f"{headset.meeting}.{headset.agent}"
        self._words = _root(f"{self._name}.words")
        self._segments = _root(f"{self._name}.segs")

    def add(self, utterance: Utterance, start: float) -> None:
        """Add an utterance that was put at `start`."""
        first = self._next_id()
        following: Iterator[TimedSymbol | None] = chain(utterance.words[1:], [None])
        for number, (word, after) in enumerate(zip(utterance.words, following, strict=True)):
            text = word.symbol.lower()
            self._add_word(text.capitalize() if number == 0 else text, start, word)
            mark = "." if after is None else "," if after.start > word.end else ""
            if mark:
                self._add_word(mark, start, word._replace(start=word.end), {"punc": "true"})
        attributes = {
            "channel": str(self._headset.number),
            "transcriber_start": f"{start:.3f}",
            "transcriber_end": f"{start + utterance.duration:.3f}",
        }
        name = f"{self._name}.segment{self.utterances}"
        segment = _element(self._segments, "segment", name, attributes)
        href = f"{self._name}.words.xml#id({first})..id({self._name}.words{len(self._words) - 1})"
        ET.SubElement(segment, f"{{{_NXT}}}child", href=href)
        self.utterances += 1
        self.words += len(utterance.words)
        self.seconds += utterance.duration

    def write(self, root: Path) -> None:
        """Write both files."""
        _write(self._words, self._headset.annotation(root, "words"))
        _write(self._segments, self._headset.annotation(root, "segments"))

    def _add_word(
        self, text: str, start: float, span: TimedSymbol, marks: Mapping[str, str] | None = None
    ) -> None:
        times = {
            "starttime": f"{start + span.start:.3f}",
            "endtime": f"{start + span.end:.3f}",
        }
        _element(self._words, "w", self._next_id(), times | dict(marks or {})).text = text

    def _next_id(self) -> str:
        return f"{self._name}.words{len(self._words)}"


def _check(utterance: Utterance, first: Utterance) -> None:
    words = [word.symbol for word in utterance.words]
    if not words or " ".join(words) != utterance.text:
        raise ValueError(
            f"{utterance.id}: the text must be the timed words; got {utterance.text!r} and {words}"
        )
    edges = [0.0, *(time for word in utterance.words for time in word[1:]), utterance.duration]
    if any(left > right for left, right in pairwise(edges)):
        raise ValueError(
            f"{utterance.id}: words must be in order within [0, {utterance.duration}], "
            f"got {utterance.words}"
        )
    if (utterance.speaker, utterance.sampling_rate) != (first.speaker, first.sampling_rate):
        raise ValueError(
            f"{utterance.id}: a headset has one speaker and one sampling rate, those of {first.id}"
        )


def _mix(paths: Sequence[Path], meeting: str) -> float:
    """Give a meeting's headsets one length, and to each a faint copy of the others; seconds."""
    import soundfile

    heard = []
    rate = 0
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        heard.append(samples)
    length = max(map(len, heard))
    noise = np.random.default_rng(list(meeting.encode()))
    heard = [np.append(one, _noise(noise, length - len(one))) for one in heard]
    room = np.sum(heard, axis=0)
    gain = 10 ** (_CROSSTALK_DB / 20)
    for path, own in zip(paths, heard, strict=True):
        mixed = own + gain * (room - own)
        largest = float(np.abs(mixed).max())
        soundfile.write(path, mixed * min(1.0, _LARGEST_SAMPLE / largest), rate, "PCM_16")
    return length / rate


def _noise(generator: np.random.Generator, length: int) -> NDArray[np.float32]:
    level = np.float32(10 ** (_NOISE_LEVEL_DB / 20))
    noise: NDArray[np.float32] = level * generator.standard_normal(length, np.float32)
    return noise


def _root(name: str) -> ET.Element:
    return ET.Element(f"{{{_NXT}}}root", {f"{{{_NXT}}}id": name})


def _element(parent: ET.Element, tag: str, name: str, attributes: Mapping[str, str]) -> ET.Element:
    return ET.SubElement(parent, tag, {f"{{{_NXT}}}id": name, **attributes})


def _write(root: ET.Element, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.register_namespace("nite", _NXT)
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="us-ascii", xml_declaration=True)
