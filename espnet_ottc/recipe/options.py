"""What a recipe run was asked for, and where its files lie.

Every command of the recipe takes the options of `run.sh` as they were given and reads them here.
"""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from espnet_ottc.espnet.criteria.options import OPTIONS, parse_conf
from espnet_ottc.recipe.corpora import CORPORA, Corpus
from espnet_ottc.recipe.results import suffix_of
from espnet_ottc.recipe.sets import RecipeSets

# Of all recipes; relative to one, as `run.sh` finds the stages.
_SHARED_CONF = Path("../TEMPLATE/conf")
LAST_STAGE = 11
# ESPnet's options that decide the feature statistics.
_FEATURES = ("input_size", "frontend", "frontend_conf", "feats_extract", "normalize")
TRAINING_STAGES = {"ctc": 5, "ottc": 7}


@dataclass(frozen=True)
class System:
    """One `train_<name>.yaml`.

    Attributes:
        name: of the system.
        path: of its YAML.
        config: its content.
        head_of: the system that it is a part of; none for one with a YAML of its own.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    head_of: str | None = None

    @property
    def criterion(self) -> str:
        """`ottc`, or `ctc` for everything that it is compared with."""
        return "ottc" if self.ctc_conf.get("ctc_type") == "ottc" else "ctc"

    @property
    def stage(self) -> int:
        """The stage that trains it: what trains on a forced alignment comes after it."""
        late = self.needs_alignment or self.head_of is not None
        return TRAINING_STAGES["ottc" if late else self.criterion]

    @property
    def trained(self) -> str:
        """What a user has to run to have it trained."""
        return f"the training of {self.head_of or self.name} (stage {self.stage})"

    @property
    def auxiliary(self) -> "System | None":
        """The CTC model that its training yields besides; none without an auxiliary CTC head."""
        if not self.ctc_conf.get("aux_ctc_weight"):
            return None
        config = {**self.config, "ctc_conf": {"ctc_type": "builtin"}}
        return System(f"{self.name}_aux_ctc", self.path, config, head_of=self.name)

    @property
    def aligners(self) -> tuple[str, ...]:
        """Names of the decoders in time that its model has."""
        if self.ctc_conf.get("label_weights") == "ali":
            # Its blanks are optional, as CTC's are.
            return ("forced_align",)
        if self.criterion == "ottc":
            return ("transport", "viterbi")
        # Soft-DTW's labels are OTTC's: no blank among them is optional.
        return ("viterbi",) if self.ctc_conf.get("ctc_type") == "soft_dtw" else ("forced_align",)

    @property
    def needs_alignment(self) -> bool:
        """Whether it trains on the data stream `ali`, frame labels of a forced alignment."""
        conf = self.ctc_conf
        return conf.get("label_weights") == "ali" or conf.get("ctc_type") == "single_path"

    @property
    def features(self) -> Mapping[str, Any]:
        """What decides the feature statistics, as far as it stands in the YAML."""
        return {name: self.config[name] for name in _FEATURES if name in self.config}

    @property
    def ctc_conf(self) -> Mapping[str, Any]:
        """The options of its criterion."""
        conf: Mapping[str, Any] = self.config.get("ctc_conf") or {}
        return conf


class Recipe:
    """The options of a run, checked, and the paths that follow from them.

    Args:
        options: as `parse` gives them.

    Raises:
        ValueError, OSError: options that cannot be; a corpus without the sets that are needed.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.datadir: Path = options.datadir
        self.expdir: Path = options.expdir
        self.conf: Path = options.conf
        self.seeds: tuple[int, ...] = tuple(_numbers("--seed", options.seed))
        if not 0 <= options.stage <= options.stop_stage <= LAST_STAGE:
            raise ValueError(
                f"0 <= --stage <= --stop_stage <= {LAST_STAGE} must hold, "
                f"got {options.stage} and {options.stop_stage}"
            )
        names = _words("--systems", options.systems)
        self.systems = tuple(_read_system(self.conf, name) for name in names)
        self.decoders = {
            name: _config_path("decode", name, self.conf, _SHARED_CONF)
            for name in _words("--decoders", options.decoders)
        }
        self._check_systems()

    @property
    def models(self) -> tuple[System, ...]:
        """What is decoded, aligned and scored: the systems, and the auxiliary heads that some have."""
        pairs = ((system, system.auxiliary) for system in self.systems)
        return tuple(model for pair in pairs for model in pair if model is not None)

    @property
    def corpus(self) -> Corpus:
        """What the recipe is for."""
        return CORPORA[self.options.corpus]

    @cached_property
    def sets(self) -> RecipeSets:
        """Training, validation and evaluation sets."""
        given = self.options.corpus_dir
        present = (
            self.corpus.synthetic_parts
            if given is None
            else self.corpus.preparation.present_parts(given)
        )
        return self.corpus.sets(
            present, self.options.train_set, _split(self.options.eval_sets or [])
        )

    @property
    def token_type(self) -> str:
        """char, bpe or word."""
        kind: str = self.options.token_type
        return kind

    @property
    def token_dir(self) -> Path:
        """Where the tokens lie; each size of a BPE vocabulary has its own folder."""
        kind = self.token_type
        return self.datadir / "token_list" / (f"bpe{self.options.nbpe}" if kind == "bpe" else kind)

    @property
    def tokens(self) -> Path:
        """ESPnet's token list."""
        return self.token_dir / "tokens.txt"

    @property
    def bpe_model(self) -> Path | None:
        """SentencePiece's model; None for characters."""
        return self.token_dir / "bpe.model" if self.token_type == "bpe" else None

    def training_options(self, system: System) -> list[str]:
        """Options of ESPnet's training beside the YAML: the user's come last and win."""
        own = []
        if self.token_type == "bpe" and system.ctc_conf.get("boundary_label") == "<space>":
            # A word break among SentencePiece's tokens.
            own = ["--ctc_conf", "boundary_label=▁"]
        return own + shlex.split(self.options.train_args)

    @property
    def feature_options(self) -> list[str]:
        """What of the user's own options for ESPnet's training decides the feature statistics."""
        found, wanted = [], False
        for word in shlex.split(self.options.train_args):
            if word.startswith("--"):
                wanted = word[2:].partition("=")[0] in _FEATURES
            if wanted:
                found.append(word)
        return found

    @property
    def stats(self) -> Path:
        """Output of ESPnet's statistics."""
        return self.expdir / "stats"

    @property
    def device(self) -> str:
        """Where alignment runs.

        Raises:
            ValueError: --ngpu, and no GPU here.
        """
        if not self.options.ngpu:
            return "cpu"
        # Late: it takes long to import.
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                "--ngpu asks for a GPU to align on, and this machine has none: decode_cmd (cmd.sh) has to "
                'ask the cluster for one, as "srun --gres=gpu:1" does; or go on with --ngpu 0'
            )
        return "cuda"

    def aligner(self, decoder: str) -> str:
        """The aligner (see espnet_ottc.alignment.aligners) behind a decoder in time."""
        if decoder != "forced_align":
            return decoder
        # Late: it imports torch, and looks for k2.
        from espnet_ottc.alignment.aligners import ctc_aligner

        return ctc_aligner(self.options.ctc_aligner)

    def cuts(self, name: str) -> Path:
        """The cuts of a set."""
        return self.datadir / name / "cuts.jsonl.gz"

    def text(self, name: str) -> Path:
        """The transcripts of a set."""
        return self.datadir / name / "text"

    def annotation(self, name: str) -> Path:
        """The word times of a set that came with the corpus, as far as it has any."""
        return self.datadir / name / "reference.ctm"

    def reference(self, name: str, seed: int) -> Path:
        """The reference word times of a set: the corpus's, or --ali_system's forced alignment."""
        if self.reference_system is None:
            return self.annotation(name)
        folder = self.experiment(self.reference_system, seed) / "align_forced_align"
        return folder / name / "words.ctm"

    @property
    def reference_system(self) -> str | None:
        """Whose forced alignment times are scored against; None: the corpus's own."""
        return str(self.options.ali_system) if self.options.reference == "forced" else None

    @property
    def suffix(self) -> str:
        """Ends the names of files with scores of times, so that no two references are mixed."""
        return suffix_of(self.reference_system)

    @property
    def results(self) -> Path:
        """The rows of all scores."""
        return self.expdir / f"results{self.suffix}.json"

    def experiment(self, system: str, seed: int) -> Path:
        """ESPnet's output directory of one training."""
        return self.expdir / system / f"seed{seed}"

    def model(self, system: str, seed: int) -> Path:
        """The parameters to decode with."""
        name: str = self.options.inference_model
        return self.experiment(system, seed) / name

    def data_mark(self, name: str) -> Path:
        """The done-mark of a step on the data."""
        return self.datadir / ".marks" / f"{name}.json"

    def mark(self, *names: str) -> Path:
        """The done-mark of a step on experiments."""
        return self.expdir.joinpath(".marks", *names[:-1], f"{names[-1]}.json")

    def data_options(self, part: str, name: str) -> list[str]:
        """ESPnet's options for the data of a set; `part` is train or valid."""
        flag = f"--{part}_data_path_and_name_and_type"
        return [flag, f"{self.cuts(name)},speech,lhotse", flag, f"{self.text(name)},text,text"]

    def token_options(self) -> list[str]:
        """ESPnet's options for the tokens."""
        options = ["--token_type", self.token_type, "--token_list", str(self.tokens)]
        return options if self.bpe_model is None else [*options, "--bpemodel", str(self.bpe_model)]

    def _check_systems(self) -> None:
        first = self.systems[0]
        for system in self.systems:
            if system.features != first.features:
                raise ValueError(
                    f"{system.path} must have the frontend and normalisation of {first.path}, since "
                    f"they share {self.stats}; or run them with an --expdir each"
                )
            conf = system.ctc_conf
            kind = OPTIONS.get(str(conf.get("ctc_type")))
            if kind is not None:
                try:
                    parse_conf(conf, kind)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{system.path}: {error}") from error


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `run.sh`; those of the command line where none are given.

    `--corpus`, which each recipe's `run.sh` gives, decides which corpus's options there are.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--corpus", choices=sorted(CORPORA), default="librispeech")
    known, rest = first.parse_known_args(arguments)
    return _parser(known.corpus).parse_args(rest)


def _parser(corpus: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="./run.sh", allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.set_defaults(corpus=corpus)
    stages = options.add_argument_group("what to run")
    stages.add_argument("--stage", type=int, default=0, help="first stage")
    stages.add_argument("--stop_stage", type=int, default=LAST_STAGE, help="last stage")
    stages.add_argument("--systems", nargs="+", default=["ctc", "ottc"], metavar="SYSTEM",
                        help="train_<SYSTEM>.yaml of --conf")  # fmt: skip
    stages.add_argument("--seed", nargs="+", default=["1"], help="one or several")
    stages.add_argument("--decoders", nargs="+", default=["best_path"], metavar="DECODER",
                        help="decode_<DECODER>.yaml of --conf or, for all recipes, of "
                        f"{_SHARED_CONF}; tables show the first one's words beside the times")  # fmt: skip
    _add_data_options(options.add_argument_group("data"), corpus)
    _add_training_options(options.add_argument_group("training and results"))
    return options


def _add_data_options(data: argparse._ArgumentGroup, corpus: str) -> None:
    data.add_argument(f"--{corpus}", type=Path, dest="corpus_dir", metavar="DIR",
                      default=os.environ.get(corpus.upper()) or None,
                      help=f"the directory with {CORPORA[corpus].contents}; "
                      "none: speech is synthesised")  # fmt: skip
    data.add_argument("--train_set",
                      help=CORPORA[corpus].train_set or "the official one; nothing else")  # fmt: skip
    data.add_argument("--eval_sets", nargs="+", metavar="PART",
                      help="sets to decode, align and score; none: all dev and test parts")  # fmt: skip
    if CORPORA[corpus].alignments_apart:
        data.add_argument("--alignments", type=Path, metavar="DIR",
                          help="the directory with the parts' *.alignment.txt; none: beside the "
                          "transcripts, as far as they are there")  # fmt: skip
        data.add_argument("--drop_bad_alignments", action="store_true",
                          help="do without the word times of an utterance whose alignment does not match "
                          "its text")  # fmt: skip
    for part, hours in zip(("", "dev_", "test_"), CORPORA[corpus].hours, strict=False):
        data.add_argument(f"--synthetic_{part}hours", metavar="HOURS",
                          help=f"speech to synthesise; none: {hours:g} hours")  # fmt: skip
    data.add_argument("--token_type", choices=["char", "bpe", "word"],
                      default=CORPORA[corpus].token_type,
                      help="tokens; word: also phones, where they are the text")  # fmt: skip
    data.add_argument("--nbpe", type=_positive, default=CORPORA[corpus].nbpe,
                      help="size of the BPE vocabulary")  # fmt: skip
    data.add_argument("--datadir", type=Path, default=Path("data"), help="prepared data")


def _add_training_options(training: argparse._ArgumentGroup) -> None:
    training.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAMLs")
    training.add_argument("--expdir", type=Path, default=Path("exp"), help="trainings and results")
    training.add_argument("--ngpu", type=_count, default=0, help="GPUs for a training")
    training.add_argument("--nj", type=_positive, default=os.cpu_count() or 1,
                          help="processes for everything else")  # fmt: skip
    training.add_argument("--train_nj", type=_positive, default=1,
                          help="trainings of one stage at a time, which share the cores (and the GPUs, "
                          "unless train_cmd gives each its own)")  # fmt: skip
    training.add_argument("--train_args", default="", help="more of asr_train's options, quoted")
    training.add_argument("--inference_model", default="valid.loss.best.pth",
                          help="parameters to decode with")  # fmt: skip
    training.add_argument("--ali_system", default="ctc", metavar="SYSTEM",
                          help="whose forced alignment `label_weights: ali` and single_path train on, "
                          "and `--reference forced` scores against")  # fmt: skip
    training.add_argument("--ali_from", type=Path, metavar="MODEL",
                          help="a CTC experiment (a folder, or parameters with config.yaml beside "
                          "them) that aligns instead of --ali_system")  # fmt: skip
    training.add_argument("--ctc_aligner", choices=["auto", "k2", "torchaudio"], default="auto",
                          help="package that aligns with CTC models; auto: k2, else torchaudio")  # fmt: skip
    training.add_argument("--reference", choices=["annotation", "forced"], default="annotation",
                          help="word times to score against: the corpus's own, or the forced "
                          "alignment of --ali_system (then in results_by_<SYSTEM>.json, "
                          "RESULTS_by_<SYSTEM>.md)")  # fmt: skip
    training.add_argument("--markdown", type=Path,
                          help="where the table goes; none: RESULTS.md in --expdir")  # fmt: skip


def _read_system(conf: Path, name: str) -> System:
    path = _config_path("train", name, conf)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: must be YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: must be a mapping of ESPnet's options, got {config!r}")
    return System(name, path, config)


def _config_path(kind: str, name: str, *folders: Path) -> Path:
    """The configuration in the first folder that has it."""
    for folder in folders:
        path = folder / f"{kind}_{name}.yaml"
        if path.is_file():
            return path
    there = {p.stem.removeprefix(f"{kind}_") for f in folders for p in f.glob(f"{kind}_*.yaml")}
    raise ValueError(
        f"there is no {kind}_{name}.yaml in {' or '.join(map(str, folders))}, "
        f"but {', '.join(sorted(there)) or 'none'}"
    )


def _words(option: str, texts: Sequence[str]) -> list[str]:
    words = _split(texts)
    if not words or len(set(words)) < len(words):
        raise ValueError(f"{option} must be one or more different names, got {' '.join(words)!r}")
    return words


def _numbers(option: str, texts: Sequence[str]) -> list[int]:
    words = _words(option, texts)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"{option} must be whole numbers, got {' '.join(words)!r}")
    return [int(word) for word in words]


def _split(texts: Sequence[str]) -> list[str]:
    """Words, whether they came quoted ("1 2") or apart."""
    return [word for text in texts for word in text.split()]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return number
