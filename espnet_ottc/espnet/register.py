"""Makes ESPnet's ASR task know OTTC: importing this module is enough.

The one place of the package with an effect at import; a second import, or a call of `register`, changes
nothing more.  `ctc_type: builtin` and the other types build what they built before.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import espnet2.tasks.abs_task as abs_task
import espnet2.tasks.asr as asr
import torch
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask
from espnet2.train.dataset import DATA_TYPES
from espnet2.train.trainer import Trainer
from espnet2.utils.types import str2bool

from espnet_ottc.espnet.checkpoints import check_parameters
from espnet_ottc.espnet.criteria.base import Criterion
from espnet_ottc.espnet.criteria.consistency import ConsistencyCTC
from espnet_ottc.espnet.criteria.ctc_prior import PriorCTC
from espnet_ottc.espnet.criteria.options import (
    OPTIONS,
    CriterionOptions,
    boundary_label_id,
    describe_options,
    parse_conf,
    resolve_boundary_label,
)
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.criteria.single_path import SinglePath
from espnet_ottc.espnet.criteria.soft_dtw import SoftDTW
from espnet_ottc.espnet.data import CutAudio
from espnet_ottc.espnet.encoders import ENCODERS
from espnet_ottc.espnet.encoders.interface import PackageEncoder
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.recording import RecordingTrainer
from espnet_ottc.espnet.schedule import (
    LINEAR_DECAY,
    LinearDecay,
    count_updates,
    scale_learning_rates,
)
from espnet_ottc.espnet.trainer import OTTCTrainer

CRITERIA: dict[str, type[Criterion]] = {
    kind.options_type.ctc_type: kind
    for kind in (OTTC, PriorCTC, ConsistencyCTC, SinglePath, SoftDTW)
}
MODEL = "ottc"
DATA_TYPE = "lhotse"
ALIGNMENT_STREAM = "ali"

_original_trainer = ASRTask.trainer


@functools.wraps(CTC)
def build_criterion(odim: int, encoder_output_size: int, **conf: Any) -> CTC:
    """Build OTTC for `ctc_type: ottc`, the baselines for theirs, and otherwise ESPnet's CTC as before.

    It takes the name `CTC` in ESPnet's ASR task, which calls it with `**ctc_conf`, and reads CTC's defaults
    off its signature.

    Raises:
        ValueError, TypeError: an unknown option or a bad value.
    """
    kind = CRITERIA.get(conf.get("ctc_type", ""))
    if kind is None:
        return CTC(odim=odim, encoder_output_size=encoder_output_size, **conf)
    options, shared = parse_conf(conf, kind.options_type)
    return kind(odim, encoder_output_size, options, **shared)


def register() -> None:
    """Enter criterion, model, encoders, scheduler and data type into ESPnet's tables; once per process."""
    if asr.CTC is build_criterion:
        return
    asr.CTC = build_criterion
    asr.model_choices.classes[MODEL] = OTTCASRModel
    asr.encoder_choices.classes.update(ENCODERS)
    abs_task.scheduler_classes[LINEAR_DECAY] = LinearDecay
    DATA_TYPES[DATA_TYPE] = {
        "func": CutAudio,
        "kwargs": ["allow_multi_rates"],
        "help": "A manifest of Lhotse cuts, .jsonl or .jsonl.gz; the utterance ids are those of the cuts.",
    }
    for name, wrapper in _WRAPPERS.items():
        original = getattr(ASRTask, name).__func__
        setattr(ASRTask, name, classmethod(functools.wraps(original)(wrapper(original))))


def _build_model(original: Any) -> Any:
    def build_model(cls: type[ASRTask], args: argparse.Namespace) -> Any:
        # OTTCASRModel is ESPnet's default model with right error rates; the saved configuration
        # says so.
        if _options(args.ctc_conf) is not None and getattr(args, "model", "espnet") == "espnet":
            args.model = MODEL
        given = args.ctc_conf or {}
        named, args.ctc_conf = _boundary_labels(given, args.token_list)
        model = original(cls, args)
        encoder = getattr(model, "encoder", None)
        if isinstance(encoder, PackageEncoder):
            encoder.check_model(model)
        criterion = getattr(model, "ctc", None)
        args.ctc_conf = {**given, **named}
        if isinstance(criterion, Criterion):
            # The configuration that ESPnet saves next is complete, whatever later defaults will be.
            args.ctc_conf = {**asdict(criterion.options), **args.ctc_conf}
        ASRTask.trainer = _trainer(args, criterion)
        return model

    return build_model


def _trainer(args: argparse.Namespace, criterion: object) -> type[Trainer]:
    if isinstance(criterion, Criterion):
        return OTTCTrainer
    # DeepSpeed training insists on ESPnet's own trainer, and leaves no records.
    return _original_trainer if getattr(args, "use_deepspeed", False) else RecordingTrainer


def _boundary_labels(
    conf: dict[str, Any], token_list: str | Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`boundary_label` as the token that it means, which is saved; and the whole `ctc_conf` with its id.

    Criteria know ids alone: the model of which they are a part has the tokens.
    """
    label = conf.get("boundary_label")
    if _options(conf) is None or not isinstance(label, str):
        return {}, conf
    if isinstance(token_list, str):
        token_list = [
            line.rstrip() for line in Path(token_list).read_text(encoding="utf-8").splitlines()
        ]
    token = resolve_boundary_label(label, token_list)
    return {"boundary_label": token}, {
        **conf,
        "boundary_label": boundary_label_id(token, token_list),
    }


def _build_optimizers(original: Any) -> Any:
    def build_optimizers(
        cls: type[ASRTask], args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        if args.collect_stats:  # nothing is trained, and there are no batches yet
            args.scheduler = None
        count_updates(args)
        for given in args.init_param:
            check_parameters(Path(given.partition(":")[0]))
        # ESPnet comes here between a model's construction and what a checkpoint or --init_param
        # puts into it, and for training only.
        encoder = getattr(model, "encoder", None)
        optimizers: list[torch.optim.Optimizer] = original(cls, args, model)
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


def _optional_data_names(original: Any) -> Any:
    def optional_data_names(
        cls: type[ASRTask], train: bool = True, inference: bool = False
    ) -> tuple[str, ...]:
        names: tuple[str, ...] = original(cls, train, inference)
        return (*names, ALIGNMENT_STREAM)

    return optional_data_names


def _add_task_arguments(original: Any) -> Any:
    def add_task_arguments(cls: type[ASRTask], parser: argparse.ArgumentParser) -> None:
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
            if action.dest == "ctc_conf":
                action.help = " ".join([action.help or "", *texts]).replace("%", "%%")

    return add_task_arguments


def _get_default_config(original: Any) -> Any:
    def get_default_config(cls: type[ASRTask]) -> dict[str, Any]:
        config: dict[str, Any] = original(cls)
        if kind := _options(config["ctc_conf"]):
            config["ctc_conf"] = {**asdict(kind()), **config["ctc_conf"]}
        return config

    return get_default_config


def _print_config(original: Any) -> Any:
    def print_config(cls: type[ASRTask], file: TextIO | None = None) -> None:
        file = file or sys.stdout
        for ctc_type, kind in OPTIONS.items():
            file.write(f"# Options of ctc_conf with ctc_type: {ctc_type}\n")
            for name, default, meaning in describe_options(kind):
                shown = "null" if default is None else default
                file.write(f"#   {name}: {shown}  ({meaning})\n")
        original(cls, file)

    return print_config


def _options(ctc_conf: dict[str, Any] | None) -> type[CriterionOptions] | None:
    """The dataclass of a criterion's options; None for ESPnet's own types."""
    return OPTIONS.get((ctc_conf or {}).get("ctc_type", ""))


_WRAPPERS = {
    "build_model": _build_model,
    "build_optimizers": _build_optimizers,
    "optional_data_names": _optional_data_names,
    "add_task_arguments": _add_task_arguments,
    "get_default_config": _get_default_config,
    "print_config": _print_config,
}

register()
