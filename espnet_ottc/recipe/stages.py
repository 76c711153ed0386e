"""The stages of a recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from espnet_ottc.recipe.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        number: `--stage` and `--stop_stage` count it.
        name: `python -m espnet_ottc.recipe NAME` runs it.
        title: shown when it begins.
        function: module of this package, and function in it, that does the work.
    """

    number: int
    name: str
    title: str
    function: str

    def load(self) -> "Callable[[Recipe], None]":
        """The function that does the work; imported here, since that takes long."""
        module, _, name = self.function.partition(".")
        found = getattr(import_module(f"espnet_ottc.recipe.{module}"), name)
        return cast("Callable[[Recipe], None]", found)


STAGES = (
    Stage(0, "corpus", "corpus", "data.find_corpus"),
    Stage(1, "manifests", "Lhotse manifests", "data.make_manifests"),
    Stage(2, "cuts", "cuts, every utterance checked", "data.make_cuts"),
    Stage(3, "tokens", "tokens", "data.make_tokens"),
    Stage(4, "statistics", "statistics", "feature_statistics.collect"),
    Stage(4, "teacher", "language model that teaches", "teacher.train"),
    Stage(5, "train_ctc", "train with CTC", "training.train_ctc"),
    Stage(6, "forced_alignment", "forced alignment", "forced_alignment.align"),
    Stage(7, "train_ottc", "train with OTTC", "training.train_ottc"),
    Stage(8, "decode", "decode", "decoding.decode"),
    Stage(9, "align", "align", "alignment.align"),
    Stage(10, "score", "score words and times", "scoring.score"),
    Stage(11, "report", "report", "reporting.report"),
)
