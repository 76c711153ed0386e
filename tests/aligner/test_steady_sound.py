"""Steady sound is found where it is, left out where a text is sought, and counted in the times."""

import math

import pytest
import torch
from letters_model import LettersModel
from torch import Tensor

from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.alignment.aligned import AlignedWord
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.alignment.steady_sound import steady_stretches, without_steady_sound
from espnet_ottc.alignment.windows import FrameOutputs

RATE = 16_000


def _noise(seconds: float, level: float) -> Tensor:
    return level * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(1))


def _changing(seconds: float) -> Tensor:
    """Tones of a tenth of a second, of any pitch and loudness: no steady sound."""
    draw = torch.Generator().manual_seed(2)
    time = torch.arange(round(seconds * RATE)) / RATE
    drawn = torch.rand(3, math.ceil(seconds * 10), generator=draw).repeat_interleave(RATE // 10, 1)
    pitch, loudness, hoarseness = drawn[:, : len(time)]
    sound = (2 * math.pi * (200 + 3000 * pitch) * time).sin() + hoarseness * _noise(seconds, 1.0)
    return 0.3 * 10 ** (-1.5 * loudness) * sound


SOUNDS = {
    "digital silence": _noise(4, 0.0),
    "a quiet room": _noise(4, 0.0005),
    "hiss": _noise(4, 0.02),
    "tone": 0.2 * torch.sin(2 * math.pi * 440 * torch.arange(4 * RATE) / RATE),
}


@pytest.mark.parametrize("rate", [RATE, 8000])
@pytest.mark.parametrize("name", SOUNDS)
def test_steady_sound_is_found_to_hundredths_of_a_second(name: str, rate: int) -> None:
    sound, other = SOUNDS[name], _changing(3)
    samples = torch.cat([sound, other, sound[: 3 * RATE // 2], other, sound])[:: RATE // rate]
    found = torch.tensor(steady_stretches(samples, rate)) / rate
    assert found == pytest.approx(torch.tensor([[0.0, 4.0], [7.0, 8.5], [11.5, 15.5]]), abs=0.03)


def test_changing_sound_and_short_pauses_are_not_steady() -> None:
    other = _changing(3)
    assert steady_stretches(torch.cat([other, _noise(0.8, 0.001), other]), RATE) == []
    assert steady_stretches(other[:0], RATE) == []
    assert steady_stretches(other[::16], 1000) == []
    assert steady_stretches(_noise(0.9, 0.01), RATE) == []


@pytest.mark.parametrize("samples", [_noise(3, 0.01), _changing(3), _noise(0, 0.01)])
def test_a_recording_of_nothing_else_or_without_it_stays_whole(samples: Tensor) -> None:
    assert torch.equal(without_steady_sound(samples, RATE).samples, samples)


def test_a_word_is_whole_on_one_side_of_what_is_left_out() -> None:
    sound = without_steady_sound(torch.cat([_changing(3), _noise(10, 0.01), _changing(3)]), RATE)
    assert sound.duration == 16
    assert len(sound.samples) / RATE == pytest.approx(6.2, abs=0.06)
    _, second = sound.begins
    assert sound.time(1.0) == 1
    assert sound.time(second + 1.1) == pytest.approx(14, abs=0.03)
    # What is left of the noise is as quiet as a room.
    pause = sound.samples[round((second - 0.08) * RATE) : round((second + 0.08) * RATE)]
    assert float(pause.std()) < 0.003 * float(sound.samples.abs().max())

    def placed(start: float, end: float) -> AlignedWord:
        word = AlignedWord("a", start, end, None, "ok", "a", (Span("a", start, end, 0.0),))
        return sound.word(word)

    before, behind = placed(second - 0.5, second + 0.1), placed(second - 0.1, second + 0.5)
    assert (before.start, before.end) == (second - 0.5, second)
    assert behind.start == pytest.approx(12.9, abs=0.03)
    assert behind.end == pytest.approx(13.4, abs=0.03)
    assert [(token.start, token.end) for token in behind.tokens] == [(behind.start, behind.end)]


class _UnsureModel(LettersModel):
    """Takes every label for as probable as every other."""

    sampling_rate, stride, grid = RATE, 160, FrameGrid(0.01)

    def outputs(self, stretches: list[Tensor]) -> list[FrameOutputs]:  # type: ignore[override]
        return [FrameOutputs(torch.zeros(len(x) // 160, 8).log_softmax(1)) for x in stretches]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        return "bad"


@pytest.mark.parametrize("text", ["bad", None])
def test_words_are_sought_outside_of_it_and_have_the_times_of_the_recording(
    text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The detector hears no speech in tones.
    monkeypatch.setattr("espnet_ottc.aligner.aligner.spoken_frames", lambda outputs, *_: outputs)
    samples = torch.cat([_noise(5, 0.01), _changing(3), _noise(5, 0.01)])
    model = _UnsureModel()
    found = Aligner(model).align(samples, text, sampling_rate=RATE)  # type: ignore[arg-type]
    assert found.duration == 13
    assert 4.85 < found.words[0].start < found.words[-1].end < 8.15
    everywhere = Aligner(model, AlignerOptions(vad=False))  # type: ignore[arg-type]
    (word,) = everywhere.align(samples, "bad", sampling_rate=RATE).words
    assert word.end > 12
