"""Long silence around speech moves no word, by any search over a model's labels that the command offers."""

import numpy as np
import pytest
import torch
from letters_model import RATE, TOKENS, LettersModel

from espnet_ottc.aligner import aligner as aligner_module
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.alignment.aligners import BOUNDARY
from espnet_ottc.alignment.steady_sound import Shortened
from espnet_ottc.bin import align

SILENCE = 10.0
TEXT = "bad cafe dead face"


class SequenceModel(LettersModel):
    """As OTTC is trained: silence is the separator, which stands at both ends too."""

    topology, boundary = "sequence", 1


def _said(text: str, quiet: float) -> np.ndarray:
    """(N,) samples: 60 ms a letter, 100 ms of silence between words, 0.1 s at the ends."""
    levels = [quiet] * 100
    previous = ""
    for letter in text.upper():
        # Two equal letters are apart, as speakers of CTC's letters are.
        levels += [0.0] * 20 if letter == previous else []
        levels += [quiet] * 100 if letter == " " else [TOKENS.index(letter) / 10] * 60
        previous = letter
    return np.array(levels + [quiet] * 100, dtype=np.float32)


@pytest.fixture
def _unshortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the silence to the detector, which stays for ends of other sound."""
    monkeypatch.setattr(
        aligner_module,
        "without_steady_sound",
        lambda samples, rate: Shortened(samples, (0.0,), (0.0,), len(samples) / rate),
    )


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("search", sorted(set(align._searches()) - {BOUNDARY}))
def test_words_stay_where_they_are_beside_long_silence(search: str, side: str) -> None:
    if search == "k2_ctc":
        pytest.importorskip("k2")
    if search == "torchaudio_ctc":
        pytest.importorskip("torchaudio")
    model = SequenceModel() if search == "viterbi" else LettersModel()
    quiet = model.separator / 10 if search == "viterbi" else 0.0
    speech = _said(TEXT, quiet)
    silence = np.full(round(SILENCE * RATE), quiet, dtype=np.float32)
    # These sounds are no speech, and the searches are on trial.
    aligner = Aligner(model, AlignerOptions(search=search, vad=False))  # type: ignore[arg-type]
    expected = aligner.align(speech, TEXT, sampling_rate=RATE).words
    pieces = [silence, speech] if side == "before" else [speech, silence]
    found = aligner.align(np.concatenate(pieces), TEXT, sampling_rate=RATE)
    offset = SILENCE if side == "before" else 0.0
    assert found.status == "ok"
    starts = np.cumsum([0.1, 3 * 0.06 + 0.1, 4 * 0.06 + 0.1, 4 * 0.06 + 0.1])
    for word, alone, start in zip(found.words, expected, starts, strict=True):
        assert word.start == pytest.approx(alone.start + offset, abs=0.011)
        assert word.end == pytest.approx(alone.end + offset, abs=0.011)
        assert word.start == pytest.approx(start + offset, abs=0.1)


@pytest.mark.usefixtures("_unshortened")
def test_a_boundary_model_hears_the_words_without_long_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = []

    class Sharp(LettersModel):
        boundary_model = object()

    def sharper(
        found: object,
        words: object,
        boundary: object,
        samples: torch.Tensor,
        *_: object,
        **__: object,
    ) -> object:
        heard.append(len(samples) / RATE)
        return found

    monkeypatch.setattr(aligner_module, "with_boundaries", sharper)
    speech, silence = _said(TEXT, 0.0), np.zeros(round(SILENCE * RATE), dtype=np.float32)
    how = AlignerOptions(vad=False)
    aligner = Aligner(Sharp(), how)  # type: ignore[arg-type]
    expected = Aligner(LettersModel(), how).align(speech, TEXT, sampling_rate=RATE).words  # type: ignore[arg-type]
    for before, after in ((1, 0), (0, 1), (1, 1)):
        sound = np.concatenate([silence] * before + [speech] + [silence] * after)
        found = aligner.align(sound, TEXT, sampling_rate=RATE)
        assert found.duration == len(sound) / RATE
        for word, alone in zip(found.words, expected, strict=True):
            assert word.start == pytest.approx(alone.start + before * SILENCE, abs=0.011)
            assert word.end == pytest.approx(alone.end + before * SILENCE, abs=0.011)
    assert len(heard) == 3
    assert max(heard) <= len(speech) / RATE + 0.5
    # What the detector leaves of an end is noise, which such a model would take for the last word's.
    left = 2 * RATE
    monkeypatch.setattr(aligner_module, "spoken_part", lambda *_: (0, len(speech) + left))
    aligner = Aligner(Sharp())  # type: ignore[arg-type]
    found = aligner.align(np.concatenate([speech, silence]), TEXT, sampling_rate=RATE)
    assert heard[3] == pytest.approx(found.words[-1].end + 0.1, abs=0.002)
    assert found.words[-1].end == pytest.approx(expected[-1].end, abs=0.011)


@pytest.mark.usefixtures("_unshortened")
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_word_that_the_detector_does_not_hear_is_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    quiet_word, silence = _said("bad", 0.0), np.zeros(5 * RATE, dtype=np.float32)
    pieces = [quiet_word, silence, _said("cafe dead face", 0.0)]
    words = ["bad", "cafe", "dead", "face"]
    heard = (len(quiet_word) + len(silence), sum(map(len, pieces)))
    if side == "after":
        pieces, words = pieces[::-1], [*words[1:], "bad"]
        heard = (0, len(pieces[0]))
    sound, text = np.concatenate(pieces), " ".join(words)
    everywhere = Aligner(LettersModel(), AlignerOptions(vad=False))  # type: ignore[arg-type]
    expected = everywhere.align(sound, text, sampling_rate=RATE)
    assert {word.status for word in expected.words} == {"ok"}
    monkeypatch.setattr(aligner_module, "spoken_part", lambda *_: heard)
    aligner = Aligner(LettersModel())  # type: ignore[arg-type]
    assert aligner.align(sound, text, sampling_rate=RATE) == expected
    # One that nobody says is told, and moves no other.
    wrong = text.replace("bad", "fed")
    found = aligner.align(sound, wrong, sampling_rate=RATE).words
    for word, right in zip(found, expected.words, strict=True):
        if word.text == "fed":
            assert word.status in ("doubtful", "not found")
        else:
            assert word.status == "ok"
            assert word.start == pytest.approx(right.start, abs=0.1)
            assert word.end == pytest.approx(right.end, abs=0.1)


@pytest.mark.usefixtures("_unshortened")
def test_a_word_in_what_the_detector_takes_for_a_pause_is_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces = [_said(text, 0.0) for text in ("bad cafe", "dead", "face")]
    sound, text = np.concatenate(pieces), "bad cafe dead face"
    everywhere = Aligner(LettersModel(), AlignerOptions(vad=False))  # type: ignore[arg-type]
    expected = everywhere.align(sound, text, sampling_rate=RATE)
    assert {word.status for word in expected.words} == {"ok"}
    pause = (len(pieces[0]), len(pieces[0]) + len(pieces[1]))
    monkeypatch.setattr(aligner_module, "spoken_part", lambda *_: (0, len(sound)))
    monkeypatch.setattr(aligner_module, "misleading_pauses", lambda *_: [pause])
    aligner = Aligner(LettersModel())  # type: ignore[arg-type]
    assert aligner.align(sound, text, sampling_rate=RATE) == expected
    # Without that word, what is found around it is right.
    found = aligner.align(sound, "bad cafe face", sampling_rate=RATE).words
    assert [word.start for word in found] == pytest.approx(
        [word.start for word in expected.words if word.text != "dead"], abs=0.1
    )


@pytest.mark.usefixtures("_unshortened")
@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_doubtful_beside_sound_without_speech_is_sought_without_it(
    monkeypatch: pytest.MonkeyPatch, gaps: bool
) -> None:
    # The sounds of no letter, and of letters that are in no word.
    pieces = [_said("bad cafe", 0.0), _said("fcfcfc" * 6, 0.0), _said("dead face", 0.0)]
    sound, text = np.concatenate(pieces), "bad cafe dead face"
    pause = (len(pieces[0]), len(pieces[0]) + len(pieces[1]))
    monkeypatch.setattr(aligner_module, "spoken_part", lambda *_: (0, len(sound)))
    monkeypatch.setattr(
        aligner_module,
        "misleading_pauses",
        lambda words, samples, rate, doubtful: [pause] if doubtful else [],
    )
    heard = Aligner(LettersModel(), AlignerOptions(allow_gaps=gaps, vad=False))  # type: ignore[arg-type]
    whole = heard.align(sound, text, sampling_rate=RATE)
    assert whole.status != "ok" or any(word.status != "ok" for word in whole.words)
    found = Aligner(LettersModel(), AlignerOptions(allow_gaps=gaps)).align(  # type: ignore[arg-type]
        sound, text, sampling_rate=RATE
    )
    assert {found.status, *(word.status for word in found.words)} == {"ok"}
    for word, start in zip(found.words, (0.1, 0.38, pause[1] / RATE + 0.1), strict=False):
        assert word.start == pytest.approx(start, abs=0.1)
