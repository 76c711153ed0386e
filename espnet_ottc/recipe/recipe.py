"""A run of a recipe: its options, with the systems, sets and paths that follow from them."""

import argparse
import os
import shlex
from functools import cached_property
from pathlib import Path

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.clusters import TRAINING, Clusters
from espnet_ottc.recipe.corpora import CORPORA, Corpus
from espnet_ottc.recipe.options import LAST_STAGE, SHARED_CONF, numbers, several, split
from espnet_ottc.recipe.paths import Paths, synthetic_corpus
from espnet_ottc.recipe.sets import RecipeSets
from espnet_ottc.recipe.systems import FEATURES, System, config_path, read_system


class Recipe:
    """The options of a run, and what follows from them; `checks.check` says whether they fit together.

    Args:
        options: as `options.parse` gives them.

    Raises:
        ValueError, OSError: options that cannot be; a corpus without the sets that are needed.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.conf: Path = options.conf
        self.seeds: tuple[int, ...] = tuple(numbers("--seed", options.seed))
        if not 0 <= options.stage <= options.stop_stage <= LAST_STAGE:
            raise ValueError(
                f"0 <= --stage <= --stop_stage <= {LAST_STAGE} must hold, "
                f"got {options.stage} and {options.stop_stage}"
            )
        self.paths = Paths(
            datadir=options.datadir,
            expdir=options.expdir,
            token_type=options.token_type,
            nbpe=options.nbpe,
            inference_model=options.inference_model,
            reference_system=options.ali_system if options.reference == "forced" else None,
        )
        names = several("--systems", options.systems)
        self.systems = tuple(read_system(self.conf, name, SHARED_CONF) for name in names)
        self.decoders = {
            name: config_path("decode", name, self.conf, SHARED_CONF)
            for name in several("--decoders", options.decoders)
        }

    @property
    def recognisers(self) -> tuple[System, ...]:
        """The systems that train a recogniser."""
        return tuple(system for system in self.systems if not system.times_only)

    @property
    def models(self) -> tuple[System, ...]:
        """What is aligned and scored: the systems, and the auxiliary heads that some have."""
        pairs = ((system, system.auxiliary) for system in self.systems)
        return tuple(model for pair in pairs for model in pair if model is not None)

    @property
    def decoded(self) -> tuple[System, ...]:
        """Those of `models` that recognise words."""
        return tuple(model for model in self.models if not model.times_only)

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
            present, self.options.train_set, split(self.options.eval_sets or [])
        )

    @property
    def synthetic_hours(self) -> dict[str, str]:
        """Hours of speech to synthesise, as far as they are given: `hours`, `dev_hours`, `test_hours`."""
        names = ("hours", "dev_hours", "test_hours")
        given = {name: getattr(self.options, f"synthetic_{name}") for name in names}
        return {name: hours for name, hours in given.items() if hours is not None}

    @property
    def corpus_dir(self) -> Path:
        """Where the corpus is, or will be synthesised."""
        given: Path | None = self.options.corpus_dir
        return synthetic_corpus(self.synthetic_hours) if given is None else given

    def corpus_inputs(self) -> tuple[Path, ...]:
        """Files and folders that the manifests are made of.

        Raises:
            OSError, ValueError: some are not there.
        """
        parts = self.sets.parts
        alignments: Path | None = self.options.alignments
        apart = () if alignments is None else (alignments / part for part in parts)
        return (*self.corpus.preparation.inputs(self.corpus_dir, parts), *apart)

    @property
    def token_type(self) -> str:
        """char, bpe or word."""
        return self.paths.token_type

    @property
    def training_options(self) -> list[str]:
        """The user's own options of ESPnet's training, which come last and win."""
        return shlex.split(self.options.train_args)

    @property
    def processes(self) -> int:
        """Processes of a training on each of its machines."""
        return int(self.options.nproc or max(1, self.options.ngpu))

    @cached_property
    def training_machines(self) -> int:
        """Machines of a training."""
        clusters = Clusters(self.options.cluster)
        return clusters.workers(TRAINING).nodes if clusters.elsewhere else 1

    @property
    def feature_options(self) -> list[str]:
        """What of the user's own options for ESPnet's training decides the feature statistics."""
        found, wanted = [], False
        for word in self.training_options:
            if word.startswith("--"):
                wanted = word[2:].partition("=")[0] in FEATURES
            if wanted:
                found.append(word)
        return found

    @property
    def device(self) -> str:
        """Where alignment runs.

        Raises:
            ValueError: --ngpu, and no GPU here.
        """
        if not self.options.ngpu:
            return "cpu"
        if self.options.cluster is not None or os.environ.get(jobs.DECODE):
            return "cuda"
        # Late: it takes long to import.
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                "--ngpu asks for a GPU to align on, and this machine has none: decode_cmd (cluster.sh) "
                'has to ask the cluster for one, as "srun --gres=gpu:1" does; or go on with --ngpu 0'
            )
        return "cuda"

    def time_decoders(self, system: System, seed: int) -> tuple[str, ...]:
        """Names of the decoders in time that a trained model has: the system's, and its boundary head's."""
        # Late: it imports torch.
        from espnet_ottc.alignment.aligners import BOUNDARY
        from espnet_ottc.alignment.boundary.model import is_boundary_model

        headed = not (system.times_only or system.head_of) and is_boundary_model(
            self.paths.boundary_model(system.name, seed)
        )
        return (*system.aligners, BOUNDARY) if headed else system.aligners

    def aligner(self, decoder: str) -> str:
        """The aligner (see espnet_ottc.alignment.aligners) behind a decoder in time."""
        if decoder != "forced_align":
            return decoder
        # Late: it imports torch, and looks for k2.
        from espnet_ottc.alignment.aligners import ctc_aligner

        return ctc_aligner(self.options.ctc_aligner)

    def shar(self, set_name: str) -> str | None:
        """Where the stream of a set is; None where none was given."""
        folder: str | None = self.options.shar
        return None if folder is None else f"{folder.rstrip('/')}/{set_name}"

    def speech(self, set_name: str) -> str:
        """The audio of a set as ESPnet's options name it: its stream where there is one, else its cuts."""
        source = self.shar(set_name)
        if source is not None:
            return f"{source},speech,shar"
        return f"{self.paths.cuts(set_name)},speech,lhotse"

    def data_options(self, part: str, name: str) -> list[str]:
        """ESPnet's options for the audio and the texts of a set; `part` is train or valid."""
        flag = f"--{part}_data_path_and_name_and_type"
        return [flag, self.speech(name), flag, f"{self.paths.text(name)},text,text"]

    def token_options(self) -> list[str]:
        """ESPnet's options for the tokens."""
        tokens, bpe_model = self.paths.tokens, self.paths.bpe_model
        options = ["--token_type", self.token_type, "--token_list", str(tokens)]
        return options if bpe_model is None else [*options, "--bpemodel", str(bpe_model)]
