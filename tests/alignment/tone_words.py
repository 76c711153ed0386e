"""Words of tones with pauses: each letter has a pitch, and every word's time is known."""

import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel

RATE = 16000
PITCHES = {"a": 300, "b": 700, "c": 1400, "d": 2600, "e": 4200}
Times = list[tuple[float, float]]
# A boundary model that learns them in seconds.
small_config = functools.partial(
    BoundaryConfig,
    width=32,
    batch_frames=256,
    gaussian_rounds=3,
    least_count=1,
    stages=(Stage(rounds=5, epochs=3),),
)


def spoken(
    number: int, count: int = 4, noise: float = 0.003, voice: float = 1.0
) -> tuple[Tensor, list[str], Times]:
    """Samples, words of three letters each, and the words' times in seconds.

    Args:
        number: other words for each.
        count: of the words.
        noise: its standard deviation; a tone has an amplitude of 0.3.
        voice: what pitches are multiplied by.
    """
    generator = torch.Generator().manual_seed(number)
    pieces, words, times, now = [], [], [], 0.0
    for _ in range(count):
        pause = 0.1 + 0.2 * float(torch.rand((), generator=generator))
        pieces.append(torch.zeros(round(pause * RATE)))
        now += len(pieces[-1]) / RATE
        word = "".join("abcde"[int(i)] for i in torch.randperm(5, generator=generator)[:3])
        start = now
        for letter in word:
            seconds = 0.06 + 0.1 * float(torch.rand((), generator=generator))
            time = torch.arange(round(seconds * RATE)) / RATE
            pieces.append(0.3 * torch.sin(2 * math.pi * voice * PITCHES[letter] * time))
            now += len(pieces[-1]) / RATE
        words.append(word)
        times.append((start, now))
    samples = torch.cat([*pieces, torch.zeros(3200)])
    return samples + noise * torch.randn(len(samples), generator=generator), words, times


def aligned(model: BoundaryModel, utterance: SpokenText) -> BoundaryAlignment:
    """What a boundary model finds of an utterance's words."""
    samples, rate = utterance.load()
    features = model.features(samples, rate)
    found = align_features(model, features, utterance.words, len(samples) / rate)
    assert isinstance(found, BoundaryAlignment)
    return found


def mean_error(
    model: BoundaryModel, heard: Iterable[tuple[SpokenText, Sequence[tuple[float, float]]]]
) -> float:
    """Seconds, over the starts and ends of all words, whose true ones are known."""
    errors = []
    for utterance, times in heard:
        for span, (start, end) in zip(aligned(model, utterance).words, times, strict=True):
            errors += [abs(span.start - start), abs(span.end - end)]
    return sum(errors) / len(errors)


def write(folder: Path, name: str, samples: Tensor, text: str) -> None:
    """Write a recording with its text beside it."""
    import soundfile

    soundfile.write(folder / f"{name}.wav", samples.numpy(), RATE)
    (folder / f"{name}.txt").write_text(text)
