"""A boundary head for a model that is trained here: learnt from the same recordings, kept in its parameters.

It is a boundary model (`espnet_ottc.alignment.boundary`).  That learns by rounds of search, not by steps
along a gradient, so that the training of the recogniser trains it when it ends.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from espnet2.train.dataset import ESPnetDataset
from torch import Tensor, nn

from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.options import HeadOptions, parse_boundary_conf
from espnet_ottc.alignment.boundary.session import NotConvergedError, train_into
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.encoders.frame_grid import sampling_rate_of
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.training_checkpoints import BOUNDARY_MODEL

PREFIX = "boundary_head."
HEAD_OPTIONS = ("boundary_head", "boundary_conf")  # in model_conf
# Types of tokens that are whole words, or phones.
WHOLE_WORDS = ("word", "phn")
# Beside minutes of a recogniser's training the head's must be short.
_DEFAULTS: Mapping[str, Any] = {
    "hours": 1.0,
}
# No corpus has so many utterances in an hour.
_UTTERANCES_PER_HOUR = 7200
_NOT_PARAMETERS = ("checkpoint",)


class BoundaryHead(nn.Module):
    """Holds a boundary model for ESPnet: it is saved and loaded with the model's parameters.

    It has no parameters of its own and takes no part in training.  Files without a head leave it as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, Tensor] = {}

    def hold(self, model: BoundaryModel) -> None:
        """Keep a boundary model."""
        self.tensors = model.to_tensors()

    def model(self) -> BoundaryModel | None:
        """The boundary model; None where there is none.

        Raises:
            ValueError: parameters of something else.
        """
        return BoundaryModel.from_tensors(self.tensors) if self.tensors else None

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        destination.update({f"{prefix}{name}": value for name, value in self.tensors.items()})

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any
    ) -> None:
        given = {
            name.removeprefix(prefix): value.detach().cpu()
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        self.tensors = given or self.tensors


def parse_head_conf(conf: Mapping[str, Any] | None) -> HeadOptions:
    """The options of a head, whose training is shorter than that of a boundary model alone.

    Raises:
        ValueError: an unknown option, or a value out of range.
    """
    return parse_boundary_conf(conf, _DEFAULTS)


def wants_head(model: nn.Module) -> bool:
    """Whether a model is to get a head: OTTC's are, if they have a place for it, unless the user says no."""
    if not isinstance(getattr(model, "boundary_head", None), BoundaryHead):
        return False
    wanted = model.wants_boundary_head
    criterion = getattr(model, "ctc", None)
    return bool(isinstance(criterion, SequenceCriterion) if wanted is None else wanted)


def restore_head(model: nn.Module, directory: Path) -> None:
    """At the start of a training that was done before: its later parameters shall have the head, too.

    Files with and without cannot be averaged.
    """
    try:
        head = BoundaryModel.load(directory / BOUNDARY_MODEL)
    except (FileNotFoundError, ValueError):
        return
    model.boundary_head.hold(head)  # type: ignore[operator,union-attr]
    _put_into_files(head, directory)


def train_head(model: nn.Module, args: argparse.Namespace) -> None:
    """At the end of a training: train the head, and put it into the files of parameters.

    Without a head the recogniser is as good as with one, so that what goes wrong is a warning.

    Args:
        model: ESPnet's, which is to get a head.
        args: ESPnet's options of the training.
    """
    directory = Path(args.output_dir)
    options: HeadOptions = model.boundary_options  # type: ignore[assignment]
    try:
        utterances = spoken_texts(args, options)
        words = (word for utterance in utterances for word in utterance.words)
        whole = getattr(args, "token_type", None) in WHOLE_WORDS
        lexicon = options.lexicon(words, whole=whole)
        config = options.suited((utterance.words for utterance in utterances), lexicon)
        trained = train_into(directory / BOUNDARY_MODEL, utterances, config, lexicon)
    except NotConvergedError as fault:
        logging.warning("the model gets no boundary head: %s", fault)
        return
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as fault:
        logging.warning("the model gets no boundary head: %s", fault, exc_info=True)
        return
    logging.info("boundary head: %d rounds; %s", len(trained.rounds), trained.convergence)
    _put_into_files(trained.model, directory)


def spoken_texts(args: argparse.Namespace, options: HeadOptions) -> list[SpokenText]:
    """The recordings of a training with their texts, or as many of them, at random, as a head learns from.

    Raises:
        ValueError: a training on features instead of sound, or on other data than ESPnet's own.
    """
    streams = {
        one[1]: tuple(one) for one in getattr(args, "train_data_path_and_name_and_type", None) or []
    }
    if not {"speech", "text"} <= streams.keys():
        raise ValueError("it is learnt from the data streams speech and text, which are not there")
    if getattr(args, "input_size", None) is not None:
        raise ValueError("it is learnt from sound, and this model is trained on features")
    # Apart, since a data set gives no text as it stands.
    texts = ESPnetDataset([streams["text"]]).loader_dict["text"]
    sound = ESPnetDataset([streams["speech"]])
    names = _names(args) or list(texts)
    rate = sampling_rate_of(args)
    most = int(options.config.hours * _UTTERANCES_PER_HOUR)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(options.config.seed))
    chosen = sorted(order[:most].tolist())

    def load(name: str) -> tuple[Tensor, int]:
        samples = torch.as_tensor(sound[name][1]["speech"]).float()
        return (samples if samples.dim() == 1 else samples.mean(1)), rate

    return [
        SpokenText(
            names[i],
            tuple(str(texts[names[i]]).split()),
            lambda name=names[i]: load(name),  # type: ignore[misc]
        )
        for i in chosen
    ]


def _names(args: argparse.Namespace) -> list[str]:
    """The utterances that are trained on: long and short ones, and those without alignment, are left out."""
    files = getattr(args, "train_shape_file", None) or []
    if not files:
        return []
    lines = Path(files[0]).read_text(encoding="utf-8").splitlines()
    return [line.split(maxsplit=1)[0] for line in lines if line.strip()]


def _put_into_files(head: BoundaryModel, directory: Path) -> None:
    """Into each file of parameters that lacks it, in one step."""
    entries = {f"{PREFIX}{name}": value for name, value in head.to_tensors().items()}
    for path in sorted(directory.glob("*.pth")):
        # ESPnet names the best ones by links to those of epochs.
        if path.is_symlink() or path.name.startswith(_NOT_PARAMETERS):
            continue
        state = load_parameters(path)
        if not any(name.startswith(PREFIX) for name in state):
            with written_aside(path) as aside:
                torch.save({**state, **entries}, aside)
