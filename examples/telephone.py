"""Telephone numbers as they sound when they are dialled: made-up recordings with known times.

Each digit is a pair of tones (DTMF, ITU-T Q.23), groups of digits are the words.  Nothing is downloaded.
"""

from dataclasses import dataclass

import numpy as np

from espnet_ottc.alignment.spans import Span

RATE = 16000
SEPARATOR = "|"
SYMBOLS = ["<pad>", SEPARATOR, *"0123456789"]
_LOW, _HIGH = (697, 770, 852, 941), (1209, 1336, 1477)
_PADS = {digit: (_LOW[i // 3], _HIGH[i % 3]) for i, digit in enumerate("123456789")}
_PADS["0"] = (_LOW[3], _HIGH[1])


@dataclass(frozen=True)
class Call:
    """A number that is dialled.

    Attributes:
        samples: (N,) float32 at 16 kHz, with line noise.
        text: groups of digits, as `020 7946`.
        words: the same with their true times.
    """

    samples: np.ndarray
    text: str
    words: list[Span]


def calls(count: int, seed: int) -> list[Call]:
    """Some calls; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [_call(rng) for _ in range(count)]


def _call(rng: np.random.Generator) -> Call:
    pieces, words, length = [], [], 0

    def add(samples: np.ndarray) -> None:
        nonlocal length
        pieces.append(samples)
        length += len(samples)

    add(_silence(rng, 0.1, 0.4))
    for _ in range(rng.integers(1, 4)):
        digits = "".join(rng.choice(list(_PADS), rng.integers(2, 5)))
        for number, digit in enumerate(digits):
            if number:
                add(_silence(rng, 0.03, 0.06))
            else:
                start = length
            time = np.arange(int(rng.uniform(0.08, 0.16) * RATE)) / RATE
            add(sum(0.15 * np.sin(2 * np.pi * pitch * time) for pitch in _PADS[digit]))
        words.append(Span(digits, start / RATE, length / RATE))
        add(_silence(rng, 0.15, 0.4))
    samples = np.concatenate(pieces) + 0.02 * rng.standard_normal(length)
    return Call(samples.astype(np.float32), " ".join(word.symbol for word in words), words)


def _silence(rng: np.random.Generator, shortest: float, longest: float) -> np.ndarray:
    return np.zeros(int(rng.uniform(shortest, longest) * RATE))


def report(found: list[list[Span]], truth: list[Call]) -> None:
    """Print the words of the first two with their times, and how far all starts and ends are off."""
    for spans in found[:2]:
        for span in spans:
            print(f"  {span.start:6.3f} to {span.end:6.3f} s  {span.symbol}")
        print()
    right, off = 0, []
    for spans, call in zip(found, truth, strict=True):
        if [span.symbol for span in spans] != call.text.split():
            continue
        right += 1
        for span, word in zip(spans, call.words, strict=True):
            off += [abs(span.start - word.start), abs(span.end - word.end)]
    print(f"{right} of {len(truth)} numbers are right", end="")
    print(f"; starts and ends of their words are {1000 * np.mean(off):.0f} ms off" if off else "")
