"""ESPnet's tasks, told of this package's criteria: whichever task names a CTC, today or in a later import."""

import argparse
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.asr.postencoder.abs_postencoder import AbsPostEncoder
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.trainer import Trainer
from espnet2.utils.types import str2bool

from espnet_ottc.espnet.boundary_head import wants_head
from espnet_ottc.espnet.building import build_criterion, criteria_of, token_lists
from espnet_ottc.espnet.checkpoints import check_parameters
from espnet_ottc.espnet.criteria.base import Criterion
from espnet_ottc.espnet.criteria.options import (
    OPTIONS,
    CriterionOptions,
    describe_options,
    parse_conf,
)
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.encoders import ENCODERS
from espnet_ottc.espnet.encoders.interface import PackageEncoder
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.recording import RecordingTrainer
from espnet_ottc.espnet.schedule import count_updates, scale_learning_rates
from espnet_ottc.espnet.shar import shar_iter_factory, shar_source
from espnet_ottc.espnet.trainer import OTTCTrainer
from espnet_ottc.espnet.training_texts import check_training_texts
from espnet_ottc.espnet.transfer.adapter import LinguisticAdapter
from espnet_ottc.espnet.transfer.options import TransferOptions

MODEL = "ottc"
ALIGNMENT_STREAM = "ali"
TRANSFER = "transfer_conf"  # in model_conf

Task = type[AbsTask]

_trainers: dict[Task, type[Trainer]] = {}


def enter(task: Task) -> None:
    """Let a task build this package's criteria, if its module names ESPnet's CTC; once for each task."""
    module = sys.modules[task.__module__]
    if task in _trainers or getattr(module, "CTC", None) not in (CTC, build_criterion):
        return
    module.CTC = build_criterion  # type: ignore[attr-defined]
    _trainers[task] = task.trainer
    for choices in task.class_choices_list:
        if choices.base_type is AbsEncoder:
            choices.classes.update(ENCODERS)
        if choices.base_type is AbsPostEncoder:
            choices.classes[LinguisticAdapter.name] = LinguisticAdapter
    wrappers = dict(_WRAPPERS)
    if models := _asr_models(task):
        models[MODEL] = OTTCASRModel
        wrappers["optional_data_names"] = _optional_data_names
    for name, wrapper in wrappers.items():
        original = getattr(task, name).__func__
        # A task derived from another has what was wrapped there.
        if not hasattr(original, "wrapped_for_ottc"):
            wrapped: Any = functools.wraps(original)(wrapper(original))
            wrapped.wrapped_for_ottc = True
            setattr(task, name, classmethod(wrapped))


def _asr_models(task: Task) -> dict[str, type] | None:
    """The table of a task's models if ESPnet's hybrid model is one of them: `model: ottc` can stand in."""
    for choices in task.class_choices_list:
        if choices.name == "model" and choices.classes.get("espnet") is ESPnetASRModel:
            classes: dict[str, type] = choices.classes
            return classes
    return None


def _build_model(original: Callable[..., Any]) -> Any:
    def build_model(cls: Task, args: argparse.Namespace) -> Any:
        chosen = {
            name: kind for name in _confs(vars(args)) if (kind := _options(getattr(args, name)))
        }
        if chosen and _trainers[cls] is not Trainer:
            types = ", ".join(kind.ctc_type for kind in chosen.values())
            raise ValueError(
                f"ctc_type {types} cannot be trained by ESPnet's {cls.__name__}, "
                f"which has a trainer of its own ({_trainers[cls].__name__})"
            )
        # OTTCASRModel is ESPnet's default model with right error rates; the saved configuration
        # says so.
        model_conf = getattr(args, "model_conf", None) or {}
        ours = chosen or TRANSFER in model_conf
        if ours and _asr_models(cls) and getattr(args, "model", "espnet") == "espnet":
            args.model = MODEL
        lists = (_tokens(getattr(args, name, None)) for name in ("src_token_list", "token_list"))
        with token_lists(*filter(None, lists)):
            model = original(cls, args)
        encoder = getattr(model, "encoder", None)
        if isinstance(encoder, PackageEncoder):
            encoder.check_model(model)
        transfer = getattr(model, "transfer", None)
        if transfer is not None:
            args.model_conf = {**model_conf, TRANSFER: asdict(transfer.options)}
        criteria = criteria_of(model)
        if chosen:
            _check_criteria(cls, args, model, criteria)
        for name, kind in chosen.items():
            setattr(args, name, _complete(getattr(args, name), kind, criteria))
        cls.trainer = _trainer(cls, args, criteria)
        if criteria and cls.__module__.startswith("espnet3."):
            from espnet_ottc.espnet.lightning import follow_epochs

            follow_epochs()
        return model

    return build_model


def _check_criteria(
    task: Task, args: argparse.Namespace, model: torch.nn.Module, criteria: Sequence[Criterion]
) -> None:
    if not criteria:
        logging.warning(
            "ctc_type has no effect in ESPnet's %s: this model (%s) has no CTC",
            task.__name__,
            getattr(args, "model", type(model).__name__),
        )
    for criterion in criteria:
        if criterion.needs_ottc_model and not isinstance(model, OTTCASRModel):
            raise ValueError(
                f"{criterion.needs_ottc_model} needs model: ottc, and ESPnet's {task.__name__} has "
                f"built {type(model).__name__} here"
            )


def _complete(
    conf: dict[str, Any], kind: type[CriterionOptions], criteria: Sequence[Criterion]
) -> dict[str, Any]:
    """A `ctc_conf` with every option, as it is saved: complete, whatever later defaults will be.

    Its labels are the tokens that they mean.  Criteria know ids alone.
    """
    complete = {**asdict(parse_conf(conf, kind)[0]), **conf}
    sequences = [one for one in criteria if isinstance(one, SequenceCriterion)]
    for option, ids in (
        ("boundary_label", {(one.token_list, one.boundary) for one in sequences}),
        ("unaligned_label", {(one.token_list, one.unaligned) for one in sequences}),
    ):
        meant = {None if label is None else tokens[label] for tokens, label in ids}
        if isinstance(conf.get(option), str) and len(meant) == 1:
            complete[option] = meant.pop()
    return complete


def _trainer(task: Task, args: argparse.Namespace, criteria: Sequence[Criterion]) -> type[Trainer]:
    if criteria:
        return OTTCTrainer
    # DeepSpeed training insists on ESPnet's own trainer, and leaves no records.
    if _asr_models(task) and not getattr(args, "use_deepspeed", False):
        return RecordingTrainer
    return _trainers[task]


def _refuse_deepspeed(task: Task, args: argparse.Namespace) -> None:
    if getattr(args, "use_deepspeed", False) and task.trainer is OTTCTrainer:
        raise ValueError(
            "use_deepspeed: criteria of this package need its own trainer, which DeepSpeed does not take; "
            "several GPUs work without it (multiprocessing_distributed: true, or torchrun)"
        )


def _tokens(token_list: str | Sequence[str] | None) -> list[str]:
    if isinstance(token_list, str):
        lines = Path(token_list).read_text(encoding="utf-8").splitlines()
        return [line.rstrip() for line in lines]
    return list(token_list or [])


def _build_optimizers(original: Callable[..., Any]) -> Any:
    def build_optimizers(
        cls: Task, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        if args.collect_stats:  # nothing is trained, and there are no batches yet
            args.scheduler = None
        else:
            check_training_texts(cls, args)
            _refuse_deepspeed(cls, args)
        count_updates(args)
        for given in args.init_param:
            check_parameters(Path(given.partition(":")[0]))
        # ESPnet comes here between a model's construction and what a checkpoint or --init_param
        # puts into it, and for training only.
        encoder = getattr(model, "encoder", None)
        optimizers: list[torch.optim.Optimizer] = original(cls, args, model)
        if isinstance(model, OTTCASRModel) and not (args.collect_stats or args.dry_run):
            model.prepare_transfer(args)
            if wants_head(model):
                model.boundary_options.check_dictionary()
        if isinstance(encoder, PackageEncoder):
            encoder.prepare_training(args)
            names = dict(encoder.named_parameters())
            factors = {
                names[name]: factor for name, factor in encoder.learning_rate_factors().items()
            }
            for optimizer in optimizers:
                scale_learning_rates(optimizer, factors, args.scheduler)
        return optimizers

    return build_optimizers


def _build_iter_factory(original: Callable[..., Any]) -> Any:
    def build_iter_factory(
        cls: Task, args: argparse.Namespace, distributed_option: Any, mode: str, kwargs: Any = None
    ) -> Any:
        part = "train" if mode == "train" else "valid"
        source = shar_source(getattr(args, f"{part}_data_path_and_name_and_type"))
        if source is None:
            return original(cls, args, distributed_option, mode, kwargs)
        options = cls.build_iter_options(args, distributed_option, mode)
        return shar_iter_factory(source, options, args, mode)

    return build_iter_factory


def _optional_data_names(original: Callable[..., Any]) -> Any:
    def optional_data_names(
        cls: Task, train: bool = True, inference: bool = False
    ) -> tuple[str, ...]:
        names: tuple[str, ...] = original(cls, train, inference)
        return (*names, ALIGNMENT_STREAM)

    return optional_data_names


def _add_task_arguments(original: Callable[..., Any]) -> Any:
    def add_task_arguments(cls: Task, parser: argparse.ArgumentParser) -> None:
        original(cls, parser)
        # argparse reads % as the start of a format.
        texts = []
        for ctc_type, kind in OPTIONS.items():
            meanings = [f"{name} ({meaning})" for name, _, meaning in describe_options(kind)]
            texts.append(f"With ctc_type={ctc_type}: {'; '.join(meanings) or 'no options'}.")
        parser.add_argument(
            "--keep_checkpoint",
            type=str2bool,
            default=False,
            help="Move checkpoint.pth to checkpoint.kept.pth when the next epoch starts, since ESPnet "
            "overwrites it in place; to resume, put it back (recipes do)",
        )
        for action in parser._actions:
            if _confs([action.dest]):
                action.help = " ".join([action.help or "", *texts]).replace("%", "%%")
            if action.dest == "model_conf":
                described = describe_options(TransferOptions)
                meanings = [f"{name} ({meaning})" for name, _, meaning in described]
                text = f"{TRANSFER} with postencoder=linguistic_adapter: {'; '.join(meanings)}."
                action.help = f"{action.help or ''} {text}".replace("%", "%%")

    return add_task_arguments


def _get_default_config(original: Callable[..., Any]) -> Any:
    def get_default_config(cls: Task) -> dict[str, Any]:
        config: dict[str, Any] = original(cls)
        for name in _confs(config):
            if kind := _options(config[name]):
                config[name] = {**asdict(kind()), **config[name]}
        return config

    return get_default_config


def _print_config(original: Callable[..., Any]) -> Any:
    def print_config(cls: Task, file: TextIO | None = None) -> None:
        file = file or sys.stdout
        places: dict[str, type[Any]] = {
            **{f"ctc_conf with ctc_type: {ctc_type}": kind for ctc_type, kind in OPTIONS.items()},
            f"{TRANSFER} in model_conf": TransferOptions,
        }
        for place, kind in places.items():
            file.write(f"# Options of {place}\n")
            for name, default, meaning in describe_options(kind):
                shown = "null" if default is None else default
                file.write(f"#   {name}: {shown}  ({meaning})\n")
        original(cls, file)

    return print_config


def _confs(names: Any) -> list[str]:
    """Of a task's arguments those that describe a CTC: `ctc_conf`, and one each for source and target."""
    return [name for name in names if name.endswith("ctc_conf")]


def _options(ctc_conf: dict[str, Any] | None) -> type[CriterionOptions] | None:
    """The dataclass of a criterion's options; None for ESPnet's own types."""
    return OPTIONS.get((ctc_conf or {}).get("ctc_type", ""))


_WRAPPERS = {
    "build_model": _build_model,
    "build_optimizers": _build_optimizers,
    "build_iter_factory": _build_iter_factory,
    "add_task_arguments": _add_task_arguments,
    "get_default_config": _get_default_config,
    "print_config": _print_config,
}
