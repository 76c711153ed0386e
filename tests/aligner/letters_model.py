"""A model that hears letters in the levels of its samples, and sounds that spell texts for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs

RATE, STRIDE = 1000, 10
TOKENS = ("-", "|", *"ABCDEF")


class LettersModel:
    """Hears a letter where the level of a frame is its number tenths; the blank at 0."""

    name, sampling_rate, stride, least_samples = "letters", RATE, STRIDE, STRIDE
    grid = FrameGrid(STRIDE / RATE)
    tokens = TOKENS
    token_type, topology = "char", "ctc"
    blank, separator, unknown, boundary, null = 0, 1, None, None, None
    alphabet, romanize = Alphabet(frozenset("ABCDEF")), None
    pads, device = True, torch.device("cpu")
    boundary_model = None

    def prepare(self, samples: Tensor) -> Tensor:
        return samples

    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        found = []
        for samples in stretches:
            levels = samples[: len(samples) // STRIDE * STRIDE].reshape(-1, STRIDE).mean(1)
            distance = (levels[:, None] - torch.arange(len(TOKENS)) / 10).abs()
            found.append(FrameOutputs((-60 * distance).log_softmax(1)))
        return found

    def encode(self, word: str) -> list[int]:
        return [TOKENS.index(letter) for letter in word]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        raise NotImplementedError


def spoken(text: str, noise: float, seed: int) -> np.ndarray:
    """(N,) samples that spell the text: 50 ms a letter, 20 ms between, 50 ms for a space."""
    levels: list[float] = [0.0] * 100
    for letter in text.upper():
        levels += [TOKENS.index(letter.replace(" ", "|")) / 10] * 50 + [0.0] * 20
    levels += [0.0] * 100
    draw = np.random.default_rng(seed)
    # Noise of whole frames, which their means keep.
    frames = draw.normal(0, noise, len(levels) // STRIDE).repeat(STRIDE)
    return (np.array(levels) + frames).clip(0, 0.9).astype(np.float32)


def write_spoken(folder: Path, count: int, noise: float = 0.04) -> list[str]:
    """Recordings of random words with their texts beside them; returns the texts."""
    draw = np.random.default_rng(1)
    texts = []
    for number in range(count):
        words = ["".join(draw.choice(list("abcdef"), 4)) for _ in range(6)]
        texts.append(" ".join(words))
        samples = spoken(texts[-1], noise, number)
        soundfile.write(folder / f"r{number:02d}.wav", samples, RATE, subtype="FLOAT")
        (folder / f"r{number:02d}.txt").write_text(texts[-1])
    return texts
