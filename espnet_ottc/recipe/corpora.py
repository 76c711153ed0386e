"""The corpora of the recipes: how each is prepared, divided into sets, and synthesised."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from lhotse import MonoCut

from espnet_ottc.corpora import ami, librispeech, timit
from espnet_ottc.corpora.manifests import PartSummary
from espnet_ottc.corpora.timit_phones import SILENCES, folding_path
from espnet_ottc.recipe.sets import RecipeSets, librispeech_sets, official_sets
from espnet_ottc.synthesis.synthetic import SetPlan, ami_plan, librispeech_plan, timit_plan


class Preparation(Protocol):
    """What a corpus's module in `espnet_ottc.corpora` has.

    Attributes:
        KNOWN_PARTS: those that there can be.
        PREFIX: manifests are `<PREFIX>_{recordings,supervisions}_<part>.jsonl.gz`.
    """

    PREFIX: str
    KNOWN_PARTS: tuple[str, ...]

    def present_parts(self, corpus: Path) -> tuple[str, ...]:
        """The parts that a directory has; FileNotFoundError where it is none."""

    def inputs(self, corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
        """Files and directories that the manifests of some parts are made of."""

    def prepare_parts(
        self,
        corpus: Path,
        parts: Sequence[str],
        out: Path,
        *,
        alignments: Path | None = None,
        nj: int = 1,
    ) -> Iterator[PartSummary]:
        """Write the manifests of parts one after the other."""

    def cuts_of(self, manifests: Path, parts: Sequence[str]) -> Iterator[MonoCut]:
        """The cuts of some parts, as a stream."""


@dataclass(frozen=True)
class Corpus:
    """A corpus that has a recipe.

    Attributes:
        preparation: from its directory to cuts.
        sets: training, validation and evaluation sets from the parts that are present, the option
            --train_set and the option --eval_sets.
        synthetic_parts: those of its synthetic stand-in.
        plan: of the stand-in, from hours of training, development, test and noisy test speech.
        hours: the stand-in's, where none are given.
        contents: what its directory holds, in the help.
        folding: where its text is phones, the classes in which they are scored (`--fold`).
        silences: where its text has labels for silence, which they are.
        alignments_apart: whether its word times are published apart from it (`--alignments`).
        train_set: what `--train_set` can be, in the help; empty: there is no choice.
        token_type: of its recipe, where none is given.
        nbpe: size of a BPE vocabulary, where none is given.
    """

    preparation: Preparation
    sets: Callable[[Sequence[str], str | None, Sequence[str]], RecipeSets]
    synthetic_parts: tuple[str, ...]
    plan: Callable[[float, float, float, float], tuple[SetPlan, ...]]
    hours: tuple[float, float, float, float]
    contents: str
    folding: Path | None = None
    silences: tuple[str, ...] = ()
    alignments_apart: bool = False
    train_set: str = ""
    token_type: str = "char"
    nbpe: int = 500


# By the name of its layout, which is also that of the option and, in capitals, of the variable that say
# where it is.
CORPORA: Mapping[str, Corpus] = {
    "ami": Corpus(
        preparation=ami,
        sets=partial(official_sets, "AMI", ("train", "dev", "test")),
        synthetic_parts=ami.KNOWN_PARTS,
        plan=ami_plan,
        hours=(1.0, 0.1, 0.2, 0.0),
        contents=f"{ami.ANNOTATIONS}/ and the headset recordings",
        token_type="bpe",
        # For the few words of the synthetic stand-in.
        nbpe=100,
    ),
    "librispeech": Corpus(
        preparation=librispeech,
        sets=librispeech_sets,
        synthetic_parts=("train-clean-100", "dev-clean", "test-clean"),
        plan=librispeech_plan,
        hours=(2.0, 0.15, 0.25, 0.0),
        contents="the parts",
        alignments_apart=True,
        train_set="a training part, train_460 or train_960; none: the only part that is there",
    ),
    "timit": Corpus(
        preparation=timit,
        sets=partial(official_sets, "TIMIT", ("TRAIN", "DEV", "TEST")),
        synthetic_parts=timit.KNOWN_PARTS,
        plan=timit_plan,
        hours=(1.0, 0.1, 0.2, 0.0),
        contents="TRAIN/ and TEST/, or data/ with them",
        folding=folding_path(),
        silences=SILENCES,
        token_type="word",
    ),
}
