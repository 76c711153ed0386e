"""What the aligner asks of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet


@dataclass(frozen=True, eq=False)
class FrameOutputs:
    """What a model says about the frames of one stretch of sound; on the CPU.

    Attributes:
        log_probs: (T, V) float32 log-probabilities of the tokens.
        frame_scores: (T,) float32 scores whose softmax over an utterance's frames is OTTC's α; None for a
            model without.
    """

    log_probs: Tensor
    frame_scores: Tensor | None = None


class SpeechModel(Protocol):
    """A model with CTC or OTTC.

    Attributes:
        name: as the user gave it.
        sampling_rate: Hz of the samples that it takes.
        stride: samples from one frame to the next.
        least_samples: fewer than these have no frame.
        grid: where frames lie in time, in seconds from the first sample.
        tokens: V symbols, by id.
        token_type: `char`, `bpe`, `word` or `phn`, as `espnet_ottc.alignment.spans` has them.
        blank: id of CTC's blank.
        separator: id of the token between two words; None where words have none.
        unknown: id of the token for what the model cannot spell; None where there is none.
        alphabet: what it can spell.
        romanize: gives Latin letters for a word of another script, where the model reads such; else None.
        boundary: id of the label of silence at both ends; None for models without.
        topology: `ctc`: blanks are optional, one is needed between equal labels; `sequence`: every label
            has frames of its own, as OTTC is trained.
    """

    name: str
    sampling_rate: int
    stride: int
    least_samples: int
    grid: FrameGrid
    tokens: tuple[str, ...]
    token_type: str
    blank: int
    separator: int | None
    unknown: int | None
    alphabet: Alphabet
    romanize: Callable[[str], str] | None
    boundary: int | None
    topology: str

    def prepare(self, samples: Tensor) -> Tensor:
        """What the model does with the whole recording first, such as normalising its loudness.

        Args:
            samples: (N,) float32 at `sampling_rate`.
        """
        ...

    def outputs(self, windows: Sequence[Tensor]) -> list[FrameOutputs]:
        """Run the model on stretches of prepared samples, (N,) each, all of the same length or not."""
        ...

    def encode(self, word: str) -> list[int]:
        """Token ids of one word that is spelled with the alphabet.

        Raises:
            ValueError: the model was trained without texts.
        """
        ...

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        """What is said in the frames, words apart by spaces.

        Args:
            outputs: of a recording.
            decoder: `best_path` or `greedy`; the same for CTC.
        """
        ...
