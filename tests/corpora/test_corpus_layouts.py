"""Layouts: what is written is what Lhotse's own recipe reads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.recipes import prepare_librispeech

from espnet_ottc.synthesis.layouts import LibriSpeechLayout, alignment_line
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance


def planted(name: str = "7-3-0000") -> Utterance:
    """One second: 0.25 s silence, A, B touching it, a pause, C up to the end."""
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 16000).astype(np.float32)
    words = (
        TimedSymbol("A", 0.25, 0.400001),
        TimedSymbol("BE", 0.400001, 0.6),
        TimedSymbol("C'S", 0.75, 1.0),
    )
    return Utterance(name, Speaker("7", "F", "nobody"), samples, 16000, "A BE C'S", words, words)


def test_alignment_line_has_silences_where_words_do_not_touch() -> None:
    assert (
        alignment_line(planted())
        == '7-3-0000 ",A,BE,,C\'S" "0.250000,0.400001,0.600000,0.750000,1.000000"\n'
    )


def test_trailing_silence_is_written() -> None:
    utterance = planted()
    line = alignment_line(dataclasses.replace(utterance, words=utterance.words[:2], text="A BE"))
    assert line == '7-3-0000 ",A,BE," "0.250000,0.400001,0.600000,1.000000"\n'


def test_lhotse_reads_back_words_times_and_samples(tmp_path: Path) -> None:
    utterances = [planted(f"7-3-{number:04d}") for number in range(3)]
    summary = LibriSpeechLayout().write_session(tmp_path, "dev-clean", iter(utterances))
    assert (summary.utterances, summary.words, summary.seconds) == (3, 9, 3.0)
    manifests = prepare_librispeech(tmp_path, dataset_parts=["dev-clean"])["dev-clean"]
    supervisions = {item.id: item for item in manifests["supervisions"]}
    assert sorted(supervisions) == [utterance.id for utterance in utterances]
    for utterance in utterances:
        supervision = supervisions[utterance.id]
        assert (supervision.text, supervision.speaker) == (utterance.text, "7")
        words = [item for item in supervision.alignment["word"] if item.symbol]
        assert [item.symbol for item in words] == ["A", "BE", "C'S"]
        times = [(item.start, item.end) for item in words]
        np.testing.assert_allclose(times, [word[1:] for word in utterance.words], atol=1e-6)
        samples, rate = soundfile.read(tmp_path / "dev-clean/7/3" / f"{utterance.id}.flac")
        assert rate == 16000
        np.testing.assert_allclose(samples, utterance.samples, atol=2**-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "A BE"}, "7-3-0000: the text must be the timed words"),
        ({"id": "7-0000"}, "7-0000: LibriSpeech ids are"),
        ({"id": "8-3-0000"}, "8-3-0000: LibriSpeech ids are"),
        ({"samples": np.zeros(100, np.float32)}, "7-3-0000: words must be in order"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_with_its_id(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    bad = dataclasses.replace(planted(), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        LibriSpeechLayout().write_session(tmp_path, "dev-clean", [bad])


def test_overlapping_words_are_refused() -> None:
    utterance = planted()
    first, second, third = utterance.words
    words = (first, second._replace(start=0.3), third)
    with pytest.raises(ValueError, match="7-3-0000: words must be in order"):
        alignment_line(dataclasses.replace(utterance, words=words))


def test_a_chapter_does_not_take_another_chapters_utterances(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7-4-0000: must be of the chapter"):
        LibriSpeechLayout().write_session(tmp_path, "dev-clean", [planted(), planted("7-4-0000")])


def test_an_empty_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have utterances"):
        LibriSpeechLayout().write_session(tmp_path, "dev-clean", [])
