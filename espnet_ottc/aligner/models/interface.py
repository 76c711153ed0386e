"""What the aligner asks of a model."""

from collections.abc import Callable
from typing import Protocol

from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameModel, FrameOutputs


class SpeechModel(FrameModel, Protocol):
    """A model with CTC or OTTC; it has the attributes of `FrameModel` too.

    Attributes:
        name: as the user gave it.
        grid: where frames lie in time, in seconds from the first sample.
        tokens: V symbols, by id.
        token_type: `char`, `bpe`, `word` or `phn`, as `espnet_ottc.alignment.spans` has them.
        blank: id of CTC's blank.
        separator: id of the token between two words; None where words have none.
        unknown: id of the token for what the model cannot spell; None where there is none.
        alphabet: what it can spell.
        romanize: gives Latin letters for a word of another script, where the model reads such; else None.
        boundary: id of the label of silence at both ends; None for models without.
        null: id of the label of frames that belong to none, which may stand between any two labels; None
            where every frame belongs to a label, and for CTC.
        topology: `ctc`: blanks are optional, one is needed between equal labels; `sequence`: every label
            has frames of its own, as OTTC is trained.
        boundary_model: knows times better; None for models without.
    """

    name: str
    grid: FrameGrid
    tokens: tuple[str, ...]
    token_type: str
    blank: int
    separator: int | None
    unknown: int | None
    alphabet: Alphabet
    romanize: Callable[[str], str] | None
    boundary: int | None
    null: int | None
    topology: str
    boundary_model: BoundaryModel | None

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
            decoder: `viterbi` or `greedy`; the same for CTC.
        """
        ...
