"""A boundary model for a recogniser that is there: `ottc-tune`.

The recogniser is not touched.  A folder holds the boundary model and says which recogniser it goes with.
By its name both are loaded as one model, whose times come from one search over both scores.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object
from espnet_ottc.utils.training_checkpoints import BOUNDARY_MODEL

if TYPE_CHECKING:
    from espnet_ottc.aligner.aligner import Aligner
    from espnet_ottc.aligner.utterance import Utterance
    from espnet_ottc.alignment.boundary.model import BoundaryModel
    from espnet_ottc.alignment.boundary.session import Trained

_DESCRIPTION = "tuned_model.json"


@dataclass(frozen=True)
class Recogniser:
    """The recogniser of a tuned model.

    Attributes:
        model: its name; of a path the absolute one.
        beside: of a path, the way to it from the tuned model's folder; None for other names.
        language: of its adapters, and of texts; None: the default.
        weights: a file of parameters in place of the one that the name stands for.
    """

    model: str
    beside: str | None = None
    language: str | None = None
    weights: str | None = None

    @classmethod
    def of(
        cls, name: str, folder: Path, language: str | None = None, weights: Path | None = None
    ) -> "Recogniser":
        """One by its name, for a folder."""
        file = None if weights is None else str(weights.absolute())
        if not Path(name).exists():
            return cls(name, None, language, file)
        path = Path(name).absolute()
        return cls(str(path), os.path.relpath(path, folder.absolute()), language, file)

    def place(self, folder: Path) -> str:
        """Its name for whoever loads it; a path stays right where both were moved together.

        Raises:
            FileNotFoundError: a path to nothing.
        """
        if self.beside is None:
            return self.model
        beside = folder / self.beside
        if beside.exists():
            return str(beside)
        if not Path(self.model).exists():
            raise FileNotFoundError(
                f"--model {folder}: its recogniser {self.model} is not there any more"
            )
        return self.model


def is_tuned(folder: Path) -> bool:
    """Whether a folder holds a tuned model."""
    return (folder / _DESCRIPTION).is_file()


def recogniser_of(folder: Path) -> Recogniser:
    """The recogniser of a tuned model.

    Raises:
        ValueError: a file of something else.
        OSError: it cannot be read.
    """
    try:
        return Recogniser(**read_json_object(folder / _DESCRIPTION))
    except TypeError as fault:
        raise ValueError(f"{folder / _DESCRIPTION}: not of a tuned model: {fault}") from fault


def write_recogniser(folder: Path, recogniser: Recogniser) -> None:
    """Make a folder with a boundary model a tuned model."""
    write_json(folder / _DESCRIPTION, asdict(recogniser))


def tune(
    folder: Path,
    aligner: "Aligner",
    utterances: "Sequence[Utterance]",
    recogniser: Recogniser,
    *,
    lexicon: Path | None = None,
    config: BoundaryConfig | None = None,
    start: "BoundaryModel | None" = None,
    anyway: bool = False,
    again: bool = False,
    on_recognised: Callable[[int], None] | None = None,
) -> "Trained":
    """Train a boundary model for a recogniser, and keep both as one model in a folder.

    Args:
        folder: for the tuned model.
        aligner: with the recogniser; it recognises what has no text.
        utterances: to learn from.
        recogniser: how it is loaded again.
        lexicon: a file of `word phone phone ...` lines; None spells by letters.
        config: of the boundary model; None takes what suits the texts.
        start: a boundary model that is adapted in place of training one.
        anyway: keep a model that did not converge.
        again: train anew where the folder has such a model, or a part of its training.
        on_recognised: is told how many utterances were recognised, if any.

    Raises:
        NotConvergedError: the training did not find the words; nothing is kept.
        ValueError: nothing to learn from.
        OSError: a file that cannot be read or written.
    """
    # Late, since that module imports the class of `aligner`, and that the models.
    from espnet_ottc.aligner.boundary import train_on

    said = [_with_text(aligner, one) for one in utterances]
    count = sum(one.text is None for one in utterances)
    if count and on_recognised is not None:
        on_recognised(count)
    trained = train_on(
        folder / BOUNDARY_MODEL,
        said,
        language=aligner.options.text_language,
        lexicon=lexicon,
        config=config,
        start=start,
        anyway=anyway,
        again=again,
    )
    # Left alone where nothing changed, so that what was aligned by it need not be again.
    if trained.fresh or not is_tuned(folder) or recogniser_of(folder) != recogniser:
        write_recogniser(folder, recogniser)
    return trained


def _with_text(aligner: "Aligner", utterance: "Utterance") -> "Utterance":
    """With what the model recognises where there is no text; as it is where its sound cannot be read."""
    if utterance.text is not None:
        return utterance
    try:
        samples = aligner.samples(utterance)
        outputs = aligner.outputs(samples)
    except (OSError, ValueError, RuntimeError):
        return utterance  # whoever aligns it says so
    return replace(utterance, text=aligner.recognised(samples, outputs))
