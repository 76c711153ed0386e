"""The corpora of the recipes: how each is prepared, divided into sets, and synthesised.

A corpus of one's own is a module in `espnet_ottc.corpora` that has what `Preparation` lists, an entry
here, and a `run.sh` that gives its name.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from espnet_ottc.recipe.sets import RecipeSets, librispeech_sets, official_sets

if TYPE_CHECKING:
    # Late elsewhere, since they import Lhotse, and that PyTorch.
    from lhotse import MonoCut

    from espnet_ottc.corpora.manifests import PartSummary
    from espnet_ottc.synthesis.synthetic import SetPlan


class Preparation(Protocol):
    """What a corpus's module in `espnet_ottc.corpora` has.

    Attributes:
        KNOWN_PARTS: those that there can be.
    """

    KNOWN_PARTS: tuple[str, ...]

    def present_parts(self, corpus: Path) -> tuple[str, ...]:
        """The parts that a directory has; FileNotFoundError where it is none."""

    def inputs(self, corpus: Path, parts: Sequence[str]) -> tuple[Path, ...]:
        """Files and directories that the manifests of some parts are made of."""

    def manifest_paths(self, directory: Path, part: str) -> dict[str, Path]:
        """Where the manifests of a part lie: keys `recordings` and `supervisions`, perhaps more."""

    def prepare_parts(
        self,
        corpus: Path,
        parts: Sequence[str],
        out: Path,
        *,
        alignments: Path | None = None,
        nj: int = 1,
    ) -> "Iterator[PartSummary]":
        """Write the manifests of parts one after the other."""

    def cuts_of(self, manifests: Path, parts: Sequence[str]) -> "Iterator[MonoCut]":
        """The cuts of some parts, as a stream."""


def _no_options(_: argparse._ArgumentGroup) -> None:
    """A corpus without options of its own."""


@dataclass(frozen=True)
class Corpus:
    """A corpus that has a recipe.

    Attributes:
        name: for messages.
        option: that says where it is, without dashes.
        variable: of the environment, that says so too.
        contents: what the option has to be, in the help.
        module: in `espnet_ottc.corpora`: from its directory to cuts (see `Preparation`).
        sets: training, validation and evaluation sets from the parts that are present, the option
            --train_set and the option --eval_sets.
        layout: of its synthetic stand-in (`espnet_ottc.synthesis.building.LAYOUTS`).
        plan: function of `espnet_ottc.synthesis.synthetic`: the stand-in's sets from hours of training,
            development, test and noisy test speech.
        synthetic_parts: parts of the stand-in.
        hours: the stand-in's, where none are given.
        add_options: adds options of its own.  A value named `alignments` (a folder with one of each
            part, given to `prepare_parts`) or `drop_bad_alignments` reaches the stages.
        folding: where its text is phones, the file with the classes in which they are scored.
        silences: where its text has labels for silence, which they are.
        train_set: what `--train_set` can be, in the help; empty: there is no choice.
        token_type: of its recipe, where none is given.
        nbpe: size of a BPE vocabulary, where none is given.
    """

    name: str
    option: str
    variable: str
    contents: str
    module: str
    sets: Callable[[Sequence[str], str | None, Sequence[str]], RecipeSets]
    layout: str
    plan: str
    synthetic_parts: tuple[str, ...]
    hours: tuple[float, float, float, float]
    add_options: Callable[[argparse._ArgumentGroup], None] = _no_options
    folding: str = ""
    silences: tuple[str, ...] = ()
    train_set: str = ""
    token_type: str = "char"
    nbpe: int = 500

    @property
    def preparation(self) -> Preparation:
        """Its module; importing it takes long."""
        return cast(Preparation, import_module(f"espnet_ottc.corpora.{self.module}"))

    @property
    def folding_path(self) -> Path | None:
        """The file of the classes in which its phones are scored; None where its text is words."""
        data = Path(__file__).parents[1] / "corpora" / "data"
        return data / self.folding if self.folding else None

    def synthetic_sets(
        self,
        hours: float | None = None,
        dev_hours: float | None = None,
        test_hours: float | None = None,
        test_other_hours: float | None = None,
    ) -> "tuple[SetPlan, ...]":
        """The sets of the stand-in; hours that are None are the recipe's own."""
        given = (hours, dev_hours, test_hours, test_other_hours)
        amounts = (
            usual if wanted is None else wanted
            for wanted, usual in zip(given, self.hours, strict=True)
        )
        synthetic = import_module("espnet_ottc.synthesis.synthetic")
        return cast("tuple[SetPlan, ...]", getattr(synthetic, self.plan)(*amounts))


def _librispeech_options(data: argparse._ArgumentGroup) -> None:
    data.add_argument("--alignments", type=Path, metavar="DIR",
                      help="the directory with the parts' *.alignment.txt; none: beside the "
                      "transcripts, as far as they are there")  # fmt: skip
    data.add_argument("--drop_bad_alignments", action="store_true",
                      help="do without the word times of an utterance whose alignment does not match "
                      "its text")  # fmt: skip


# By the name that `run.sh` gives (`--corpus`).
CORPORA: Mapping[str, Corpus] = {
    "ami": Corpus(
        name="AMI",
        option="ami",
        variable="AMI",
        contents="the directory with ami_public_manual_1.6.2/ and the headset recordings",
        module="ami",
        sets=partial(official_sets, "AMI", ("train", "dev", "test")),
        layout="ami",
        plan="ami_plan",
        synthetic_parts=("train", "dev", "test"),
        hours=(1.0, 0.1, 0.2, 0.0),
        token_type="bpe",
        # For the few words of the synthetic stand-in.
        nbpe=100,
    ),
    "any": Corpus(
        name="DATA",
        option="data",
        variable="OTTC_DATA",
        contents="a Kaldi data directory, a manifest of Lhotse cuts, or a folder of audio with texts",
        module="own_data",
        sets=partial(official_sets, "the data", ("train", "dev", "test")),
        layout="folder",
        plan="folder_plan",
        synthetic_parts=("train", "dev", "test"),
        hours=(1.0, 0.1, 0.2, 0.0),
    ),
    "librispeech": Corpus(
        name="LIBRISPEECH",
        option="librispeech",
        variable="LIBRISPEECH",
        contents="the directory with the parts",
        module="librispeech",
        sets=librispeech_sets,
        layout="librispeech",
        plan="librispeech_plan",
        synthetic_parts=("train-clean-100", "dev-clean", "test-clean"),
        hours=(2.0, 0.15, 0.25, 0.0),
        add_options=_librispeech_options,
        train_set="a training part, train_460 or train_960; none: the only part that is there",
    ),
    "timit": Corpus(
        name="TIMIT",
        option="timit",
        variable="TIMIT",
        contents="the directory with TRAIN/ and TEST/, or data/ with them",
        module="timit",
        sets=partial(official_sets, "TIMIT", ("TRAIN", "DEV", "TEST")),
        layout="timit",
        plan="timit_plan",
        synthetic_parts=("TRAIN", "DEV", "TEST"),
        hours=(1.0, 0.1, 0.2, 0.0),
        folding="phones_timit.txt",
        silences=("h#", "pau", "epi"),
        token_type="word",
    ),
}
