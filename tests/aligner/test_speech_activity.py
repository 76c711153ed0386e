"""Words are recognised where somebody speaks, and nowhere else."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from letters_model import LettersModel
from torch import Tensor

from espnet_ottc.aligner import speech_activity
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.aligner.audio import resampled
from espnet_ottc.aligner.speech_activity import (
    misleading_pauses,
    speech_probabilities,
    speech_stretches,
    spoken_frames,
    spoken_part,
)
from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.alignment.aligned import AlignedUtterance, Summary
from espnet_ottc.alignment.background import with_background
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.windows import FrameOutputs

RATE = 16_000
SECONDS = 10
TIMES = torch.arange(SECONDS * RATE) / RATE


def _chord() -> Tensor:
    """Four notes that swell and fade."""
    notes = sum(torch.sin(2 * torch.pi * pitch * TIMES) for pitch in (220.0, 277.2, 329.6, 440.0))
    return 0.1 * notes * (1 + torch.sin(5 * TIMES))  # type: ignore[no-any-return]


def _hiss(level: float) -> Tensor:
    return level * torch.randn(SECONDS * RATE, generator=torch.Generator().manual_seed(1))


SOUNDS = {
    "silence": torch.zeros(SECONDS * RATE),
    "quiet hiss": _hiss(0.003),
    "loud hiss": _hiss(0.05),
    "tone": 0.3 * torch.sin(2 * torch.pi * 440 * TIMES),
    "music": _chord(),
}


@cache
def _speech() -> Tensor:
    """(N,) somebody says a sentence."""
    pytest.importorskip("espeakng_loader")
    from espnet_ottc.synthesis.espeak import Espeak, Prosody

    with Espeak("en-us+m3") as espeak:
        spoken = espeak.speak(
            "seven good friends came to the old house in the evening", Prosody(160, 50, 50)
        )
        heard = spoken.samples.astype(np.float32) / 32768
        return torch.from_numpy(resampled(heard, espeak.sampling_rate, RATE))


class CountingModel(LettersModel):
    """Says as many words as it is given frames."""

    sampling_rate, stride, grid = RATE, 160, FrameGrid(0.01)

    def outputs(self, stretches: list[Tensor]) -> list[FrameOutputs]:  # type: ignore[override]
        return [FrameOutputs(torch.zeros(len(x) // 160, 8).log_softmax(1)) for x in stretches]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        return "A " * len(outputs.log_probs)


@pytest.mark.parametrize("name", SOUNDS)
def test_nobody_speaks_in_noise_and_music(name: str) -> None:
    assert speech_stretches(SOUNDS[name], RATE) == []
    found = Aligner(CountingModel()).align(SOUNDS[name], sampling_rate=RATE)  # type: ignore[arg-type]
    assert found.words == ()
    assert found.recognised


@pytest.mark.parametrize("name", SOUNDS)
def test_speech_between_noise_is_kept_whole_and_alone(name: str) -> None:
    speech, noise = _speech(), SOUNDS[name]
    found = speech_stretches(torch.cat([noise, speech, noise]), RATE)
    start, end = SECONDS, SECONDS + len(speech) / RATE
    assert start - 1 < found[0][0] < start + 0.1
    assert end - 0.3 < found[-1][1] < end + 1
    assert all(before[1] == after[0] for before, after in pairwise(found))


def test_a_recogniser_is_given_the_frames_of_speech_unless_told_otherwise() -> None:
    speech, noise = _speech(), SOUNDS["loud hiss"]
    samples = torch.cat([noise, speech])
    model = CountingModel()
    outputs = model.outputs([samples])[0]
    kept = spoken_frames(outputs, samples, RATE, model.grid)
    assert len(speech) / 160 - 100 < len(kept.log_probs) < len(speech) / 160 + 150
    everything = Aligner(model, AlignerOptions(vad=False))  # type: ignore[arg-type]
    assert everything.recognised(samples, outputs) == "A " * len(outputs.log_probs)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_text_is_sought_between_long_ends_without_speech(name: str) -> None:
    speech, noise = _speech(), SOUNDS[name]
    first, last = spoken_part(torch.cat([noise, speech, noise]), RATE)
    start, end = len(noise), len(noise) + len(speech)
    assert start - RATE / 2 < first < start
    assert end - 0.1 * RATE < last < end + RATE / 2
    assert spoken_part(torch.cat([noise, speech]), RATE)[1] == end
    assert spoken_part(torch.cat([speech, noise]), RATE)[0] == 0
    assert spoken_part(noise, RATE) == (0, len(noise))
    assert spoken_part(torch.cat([noise[: 2 * RATE], speech]), RATE)[0] == 0
    assert spoken_part(noise[:0], RATE) == (0, 0)


def test_its_times_count_from_the_recordings_start(tmp_path: Path) -> None:
    noise = SOUNDS["music"]
    # Without digital silence.
    samples = with_background(torch.cat([noise, _speech(), noise]), RATE)
    first, last = spoken_part(samples, RATE)
    assert 0 < first < last < len(samples)
    model = CountingModel()
    whole = Aligner(model, AlignerOptions(vad=False))  # type: ignore[arg-type]
    aligner = Aligner(model)  # type: ignore[arg-type]
    (word,) = whole.align(samples[first:last], "bad", sampling_rate=RATE).words
    path = tmp_path / "x.wav"
    soundfile.write(path, samples.numpy(), RATE, subtype="FLOAT")
    utterance = Utterance("x", Recording("x", path), text="bad")
    for found in (
        aligner.align(samples, "bad", sampling_rate=RATE),
        aligner.align(path, "bad"),
        *aligner.align_together([utterance]),
    ):
        assert not isinstance(found, Exception)
        assert found.words == (word.moved(first / RATE),)
        assert found.words[0].tokens[0].start >= first / RATE
        assert found.duration == len(samples) / RATE
    assert whole.align(samples, "bad", sampling_rate=RATE).words != found.words


@pytest.mark.parametrize("name", SOUNDS)
def test_a_pause_is_found_where_a_word_covers_it(name: str) -> None:
    speech = _speech()
    pause = SOUNDS[name][: 2 * RATE]
    samples = torch.cat([speech, pause, speech])
    begin, end = len(speech) / RATE, (len(speech) + len(pause)) / RATE
    word = 0.4
    ((first, last),) = misleading_pauses([(0, word), (word, end), (end, end + word)], samples, RATE)
    assert begin < first / RATE < begin + 0.6
    assert end - 0.7 < last / RATE < end
    beside = [(0.0, begin), (end, end + word)]
    assert misleading_pauses(beside, samples, RATE) == []
    assert misleading_pauses([(0, begin), (begin, end)], torch.cat([speech] * 3), RATE) == []
    assert misleading_pauses([], samples, RATE) == []


def test_a_pause_is_found_near_doubtful_words() -> None:
    pause = SOUNDS["music"][: 2 * RATE]
    samples = torch.cat([_speech(), pause, *[_speech()] * 20])
    begin, end = len(_speech()) / RATE, (len(_speech()) + len(pause)) / RATE
    duration = len(samples) / RATE
    behind = [(end + k / 2, end + k / 2 + 0.4) for k in range(int(2 * (duration - end)))]
    words = [(begin - 0.4, begin), *behind]
    assert misleading_pauses(words, samples, RATE) == []
    ((first, last),) = misleading_pauses(words, samples, RATE, [words[0]])
    assert begin < first / RATE < last / RATE < end
    assert misleading_pauses(words, samples, RATE, [(duration - 0.5, duration)]) == []
    # Where nobody is heard the text may be said more quietly than the detector hears.
    assert misleading_pauses([(0.0, 1.0)], pause, RATE, [(0.0, 2.0)]) == []


def test_no_word_is_said_in_music_between_others() -> None:
    speech, music = _speech(), SOUNDS["music"]
    samples = torch.cat([speech, music, speech])
    begin, end = len(speech) / RATE, (len(speech) + len(music)) / RATE

    def inside(found: AlignedUtterance) -> float:
        return sum(max(min(one.end, end) - max(one.start, begin), 0) for one in found.words)

    model = CountingModel()
    everywhere = Aligner(model, AlignerOptions(vad=False))  # type: ignore[arg-type]
    assert inside(everywhere.align(samples, "bad cab", sampling_rate=RATE)) > 5
    found = Aligner(model).align(samples, "bad cab", sampling_rate=RATE)  # type: ignore[arg-type]
    assert inside(found) < 1
    assert found.duration == len(samples) / RATE


def test_weights_of_frames_go_with_them() -> None:
    samples = torch.cat([_speech(), SOUNDS["silence"]])
    frames = len(samples) // 160
    outputs = FrameOutputs(torch.zeros(frames, 3), torch.arange(float(frames)))
    kept = spoken_frames(outputs, samples, RATE, FrameGrid(0.01))
    assert kept.frame_scores is not None
    assert len(kept.frame_scores) == len(kept.log_probs)
    assert bool((kept.frame_scores.diff() > 0).all())
    assert float(kept.frame_scores[-1]) * 0.01 < len(_speech()) / RATE + 1


def test_sound_at_another_rate_is_heard_alike() -> None:
    samples = torch.cat([SOUNDS["silence"], _speech(), SOUNDS["silence"]])
    low = torch.from_numpy(resampled(samples.numpy(), RATE, 8000))
    (expected,), (found,) = speech_stretches(samples, RATE), speech_stretches(low, 8000)
    assert found == pytest.approx(expected, abs=0.15)


def test_pieces_side_by_side_hear_what_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.cat([_speech(), SOUNDS["quiet hiss"], _speech(), _speech()] * 4)
    found = speech_probabilities(samples) >= 0.5
    monkeypatch.setattr(speech_activity, "_PIECE", 1000.0)
    whole = speech_probabilities(samples) >= 0.5
    assert len(found) == -(-len(samples) // 512)
    assert float((found != whole).float().mean()) < 0.01


def test_the_detector_leaves_the_number_of_threads_alone() -> None:
    speech_activity._detector.cache_clear()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        speech_probabilities(torch.zeros(1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("level", [1.0, 0.1])
def test_a_text_without_words_is_doubtful_where_somebody_speaks(level: float) -> None:
    samples = level * torch.cat([SOUNDS["quiet hiss"], _speech()])
    found = Aligner(CountingModel()).align(samples, "", sampling_rate=RATE)  # type: ignore[arg-type]
    assert (found.status, found.confidence, found.words) == ("doubtful", None, ())
    assert Summary.of([found]).exceeds(0.1)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_text_without_words_is_ok_where_nobody_speaks(name: str) -> None:
    found = Aligner(CountingModel()).align(SOUNDS[name], "", sampling_rate=RATE)  # type: ignore[arg-type]
    assert (found.status, found.confidence) == ("ok", None)
