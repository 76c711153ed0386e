"""One utterance with its exact times: what a synthesiser makes and what a layout writes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TimedSymbol(NamedTuple):
    """A word or a phone and its span [start, end), in seconds from the utterance's start."""

    symbol: str
    start: float
    end: float


@dataclass(frozen=True)
class Speaker:
    """Who speaks: `id` (digits, as LibriSpeech has them), `sex` ("F" or "M"), a readable `name`."""

    id: str
    sex: str
    name: str


@dataclass(frozen=True, eq=False)
class Utterance:
    """Samples, text and exact times of one utterance.

    Attributes:
        id: `<speaker>-<session>-<number>`, unique in its corpus.
        speaker: who speaks.
        samples: (N,) float32 in [-1, 1].
        sampling_rate: Hz.
        text: words separated by single spaces, capitals, no punctuation.
        words: the words of `text` in order; what lies between them is silence.
        phones: phones in order; together they cover every word and nothing else.
    """

    id: str
    speaker: Speaker
    samples: NDArray[np.float32]
    sampling_rate: int
    text: str
    words: tuple[TimedSymbol, ...]
    phones: tuple[TimedSymbol, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sampling_rate
