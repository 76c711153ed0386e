"""Writers of corpora in the layouts of real ones, for which preparation code exists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance


@dataclass(frozen=True)
class SessionSummary:
    """What one speaker said in one set: counts and seconds."""

    set_name: str
    speaker: Speaker
    utterances: int
    words: int
    seconds: float


class Layout(Protocol):
    """How a corpus lies on the disk."""

    def write_session(
        self, root: Path, set_name: str, utterances: Iterable[Utterance]
    ) -> SessionSummary:
        """Write the utterances of one speaker and session below `root`."""

    def write_tables(self, root: Path, sessions: Sequence[SessionSummary]) -> None:
        """Write the files that describe the whole corpus."""


class LibriSpeechLayout:
    """`<set>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`, transcripts, alignments.

    `*.trans.txt` has a line `<id> <TEXT>` for each utterance.  `<speaker>-<chapter>.alignment.txt`
    has the format of the public LibriSpeech alignments: the words, with an empty one for each
    silence, and where each of them ends, in seconds.
    """

    def write_session(
        self, root: Path, set_name: str, utterances: Iterable[Utterance]
    ) -> SessionSummary:
        """Write one chapter; utterances are written as they come.

        Raises:
            ValueError: no utterance, an id of another form or chapter, or text that would not
                survive the format.
        """
        import soundfile

        transcripts: list[str] = []
        alignments: list[str] = []
        chapter: Path | None = None
        speaker: Speaker | None = None
        words = 0
        seconds = 0.0
        for utterance in utterances:
            folder = root / set_name / _chapter_path(utterance)
            if chapter is None:
                chapter, speaker = folder, utterance.speaker
                chapter.mkdir(parents=True)
            elif folder != chapter:
                raise ValueError(f"{utterance.id}: must be of the chapter {chapter}, got {folder}")
            _check_text(utterance)
            soundfile.write(
                chapter / f"{utterance.id}.flac",
                utterance.samples,
                utterance.sampling_rate,
                subtype="PCM_16",
            )
            transcripts.append(f"{utterance.id} {utterance.text}\n")
            alignments.append(alignment_line(utterance))
            words += len(utterance.words)
            seconds += utterance.duration
        if chapter is None or speaker is None:
            raise ValueError(f"set {set_name}: a chapter must have utterances, got none")
        stem = f"{chapter.parent.name}-{chapter.name}"
        (chapter / f"{stem}.trans.txt").write_text("".join(transcripts), encoding="utf-8")
        (chapter / f"{stem}.alignment.txt").write_text("".join(alignments), encoding="utf-8")
        return SessionSummary(set_name, speaker, len(transcripts), words, seconds)

    def write_tables(self, root: Path, sessions: Sequence[SessionSummary]) -> None:
        """Write SPEAKERS.TXT: speaker, sex, set, minutes, name."""
        lines = [";ID  |SEX| SUBSET           |MINUTES| NAME\n"]
        for item in sessions:
            lines.append(
                f"{item.speaker.id:5s}| {item.speaker.sex} | {item.set_name:17s}| "
                f"{item.seconds / 60:5.2f} | {item.speaker.name}\n"
            )
        (root / "SPEAKERS.TXT").write_text("".join(lines), encoding="utf-8")


def alignment_line(utterance: Utterance) -> str:
    """The line of `*.alignment.txt` for one utterance: `<id> ",A,,B," "<ends>"`, in microseconds.

    Raises:
        ValueError: words overlap or leave the utterance.
    """
    symbols: list[str] = []
    ends: list[float] = []
    now = 0.0
    end_of_all = TimedSymbol("", utterance.duration, utterance.duration)
    for word in (*utterance.words, end_of_all):
        if not now <= word.start <= word.end <= utterance.duration:
            raise ValueError(
                f"{utterance.id}: words must be in order within [0, {utterance.duration}], "
                f"got {word} after {now}"
            )
        if word.start > now:
            symbols.append("")
            ends.append(word.start)
        if word is not end_of_all:
            symbols.append(word.symbol)
            ends.append(word.end)
        now = word.end
    times = ",".join(f"{end:.6f}" for end in ends)
    return f'{utterance.id} "{",".join(symbols)}" "{times}"\n'


def _chapter_path(utterance: Utterance) -> Path:
    speaker, _, rest = utterance.id.partition("-")
    chapter, _, number = rest.partition("-")
    if speaker != utterance.speaker.id or not (chapter and number) or "-" in number:
        raise ValueError(
            f"{utterance.id}: LibriSpeech ids are <speaker>-<chapter>-<number>, "
            f"and the speaker here is {utterance.speaker.id}"
        )
    return Path(speaker, chapter)


def _check_text(utterance: Utterance) -> None:
    words = [word.symbol for word in utterance.words]
    if (
        not words
        or " ".join(words) != utterance.text
        or any(set(word) & set(' ,"') for word in words)
    ):
        raise ValueError(
            f"{utterance.id}: the text must be the timed words, without commas and quotes; "
            f"got {utterance.text!r} and {words}"
        )
