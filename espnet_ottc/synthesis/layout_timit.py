"""Read sentences in TIMIT's layout: NIST SPHERE with `.PHN`, `.WRD` and `.TXT` beside it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_ottc.corpora.timit_phones import PAUSE, UTTERANCE_EDGE
from espnet_ottc.synthesis.layouts import SessionSummary
from espnet_ottc.synthesis.utterance import TimedSymbol, Utterance

# A speaker's third and fourth sentence have the names of the dialect sentences, which training and scoring
# leave out.
_DIALECT = {2: "SA1", 3: "SA2"}
_SET_NAME = re.compile(r"(TRAIN|TEST)/DR[1-8]/[FM][A-Z]{3}\d")


class TimitLayout:
    """`data/<TRAIN or TEST>/DR<n>/<SPEAKER>/<SENTENCE>.{WAV,PHN,WRD,TXT}`; times in samples.

    Phones cover the whole recording: what is no speech is `h#` at its ends and `pau` within.
    """

    def write_session(
        self, root: Path, set_name: str, utterances: Iterable[Utterance]
    ) -> SessionSummary:
        """Write one speaker's sentences; `set_name` is `<TRAIN or TEST>/DR<n>/<SPEAKER>`.

        Raises:
            ValueError: a set of another name, no utterances, those of several speakers, or phones that
                overlap or leave the utterance.
        """
        import soundfile

        if not _SET_NAME.fullmatch(set_name):
            raise ValueError(
                f"set {set_name}: TIMIT's sets are <TRAIN or TEST>/DR<1 to 8>/<SPEAKER>"
            )
        folder = root / "data" / set_name
        folder.mkdir(parents=True)
        speaker = None
        count = words = 0
        seconds = 0.0
        for utterance in utterances:
            if speaker not in (None, utterance.speaker):
                raise ValueError(f"{utterance.id}: a folder has one speaker, got {speaker} too")
            speaker = utterance.speaker
            stem = folder / _sentence_name(count)
            phones = _tiled(utterance)
            rate = utterance.sampling_rate
            soundfile.write(
                stem.with_suffix(".WAV"), utterance.samples, rate, "PCM_16", format="NIST"
            )
            length = len(utterance.samples)
            text = f"0 {length} {utterance.text.capitalize()}.\n"
            stem.with_suffix(".TXT").write_text(text, encoding="ascii")
            stem.with_suffix(".PHN").write_text(_lines(phones, rate), encoding="ascii")
            lower = [word._replace(symbol=word.symbol.lower()) for word in utterance.words]
            stem.with_suffix(".WRD").write_text(_lines(lower, rate), encoding="ascii")
            count += 1
            words += len(utterance.words)
            seconds += utterance.duration
        if speaker is None:
            raise ValueError(f"set {set_name}: a speaker must have utterances, got none")
        return SessionSummary(set_name, speaker, count, words, seconds)

    def write_tables(self, root: Path, sessions: Sequence[SessionSummary]) -> None:
        """Write `SPKRINFO.TXT`: initials, sex, dialect region, use."""
        lines = ["; ID    Sex DR Use  Name\n"]
        for one in sessions:
            use, region, name = one.set_name.split("/")
            lines.append(
                f"{name[1:]:6s}  {name[0]}  {region.removeprefix('DR'):2s} {use[:3]}  "
                f"{one.speaker.name}\n"
            )
        (root / "SPKRINFO.TXT").write_text("".join(lines), encoding="ascii")


def _sentence_name(number: int) -> str:
    """SX and SI in turn, but for the dialect sentences."""
    return _DIALECT.get(number, f"{('SX', 'SI')[number % 2]}{number + 1}")


def _tiled(utterance: Utterance) -> list[TimedSymbol]:
    """The phones with silence wherever there are none."""
    tiled: list[TimedSymbol] = []
    now = 0.0
    end = TimedSymbol("", utterance.duration, utterance.duration)
    for phone in (*utterance.phones, end):
        if not now <= phone.start <= phone.end <= utterance.duration:
            raise ValueError(
                f"{utterance.id}: phones must be in order within [0, {utterance.duration}], "
                f"got {phone} after {now}"
            )
        if phone.start > now:
            inside = tiled and phone is not end
            tiled.append(TimedSymbol(PAUSE if inside else UTTERANCE_EDGE, now, phone.start))
        if phone is not end:
            tiled.append(phone)
        now = phone.end
    return tiled


def _lines(items: Iterable[TimedSymbol], rate: int) -> str:
    edges = ((round(one.start * rate), round(one.end * rate), one.symbol) for one in items)
    # A phone of less than a sample, at another rate, is none.
    return "".join(f"{start} {end} {symbol}\n" for start, end, symbol in edges if end > start)
