"""A folder of recordings with TextGrids beside them, as people keep data of their own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats import write_textgrid
from espnet_ottc.alignment.spans import Span
from espnet_ottc.synthesis.layouts import SessionSummary
from espnet_ottc.synthesis.utterance import Utterance


class FolderLayout:
    """`<train, dev or test>/<speaker>/<id>.flac` with `<id>.TextGrid`, whose tier `words` has the times."""

    def write_session(
        self, root: Path, set_name: str, utterances: Iterable[Utterance]
    ) -> SessionSummary:
        """Write what one speaker says in one set.

        Raises:
            ValueError: no utterances, or words that overlap or leave the utterance.
        """
        import soundfile

        speaker = None
        count = words = 0
        seconds = 0.0
        for utterance in utterances:
            speaker = utterance.speaker
            stem = root / set_name / speaker.id / utterance.id
            stem.parent.mkdir(parents=True, exist_ok=True)
            rate = utterance.sampling_rate
            soundfile.write(stem.with_suffix(".flac"), utterance.samples, rate, subtype="PCM_16")
            spans = [Span(word.symbol, word.start, word.end) for word in utterance.words]
            write_textgrid(stem.with_suffix(".TextGrid"), {"words": spans}, utterance.duration)
            count += 1
            words += len(spans)
            seconds += utterance.duration
        if speaker is None:
            raise ValueError(f"set {set_name}: a speaker must have utterances, got none")
        return SessionSummary(set_name, speaker, count, words, seconds)

    def write_tables(self, root: Path, sessions: Sequence[SessionSummary]) -> None:
        """Nothing: such a folder has no tables."""
