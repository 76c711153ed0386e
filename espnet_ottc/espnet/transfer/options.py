"""The options of `model_conf: {transfer_conf: ...}`.

Importing it takes neither PyTorch nor ESPnet, so that recipes check configurations in no time.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from espnet_ottc.espnet.criteria.options.base import (
    check_choice,
    check_epoch,
    check_number,
    option,
    unknown_option,
)

TeacherKind = Literal["masked_lm", "espnet_lm", "huggingface", "random"]
Matching = Literal["transport", "uniform"]
Order = Literal["none", "diagonal", "plan"]
Reference = Literal["product", "ones"]
PlanGradient = Literal["implicit", "none"]


@dataclasses.dataclass(frozen=True)
class TransferOptions:
    """Options of the transfer; `describe_options` lists them with their meaning.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind; the message names the option.
    """

    teacher: TeacherKind = option(
        "masked_lm",
        "masked_lm (this package's own, trained on text), espnet_lm (a model of ESPnet's LM "
        "task), huggingface (a model of the package transformers) or random (a fixed random vector for "
        "each token: the control)",
    )
    teacher_path: str | None = option(
        None,
        "file of a masked_lm, parameters of an espnet_lm with config.yaml beside them, "
        "folder or hub name of a huggingface model; needed and read for training alone",
    )
    layer: int = option(-1, "for huggingface: layer whose states are taken, from -1, the last")
    lower_case: bool = option(False, "for huggingface: give it the text in lower case")
    weight: float = option(
        1.0,
        "adds this times (tokens x loss_align + loss_uot) to the training loss of each utterance",
    )
    after_epoch: int = option(
        0, "starts after this epoch; an encoder that knows nothing is badly taught"
    )
    matching: Matching = option(
        "transport", "transport, or uniform (frames dealt out evenly: a control without transport)"
    )
    reg: float = option(0.05, "weight of the plan's entropy, in units of the cost")
    reg_m_frames: float = option(
        0.5, "weight of keeping the frames' masses: small ones let frames out; .inf: exact"
    )
    reg_m_tokens: float = option(
        math.inf, "weight of keeping the tokens' masses; .inf: every token has all of its mass"
    )
    reference: Reference = option(
        "product",
        "of the entropy: product (masses do not depend on the length) or ones (the paper's)",
    )
    max_iter: int = option(50, "steps of the solver")
    plan_gradient: PlanGradient = option(
        "implicit",
        "of loss_align: implicit (through the plan too) or none (the plan is taken as fixed)",
    )
    order: Order = option(
        "none",
        "expected order in time: none, diagonal, or plan (OTTC's own plan; for others the "
        "posteriors of labels other than the blank, summed up)",
    )
    order_weight: float = option(
        0.1, "adds this times the squared distance in tokens from the expected place to the cost"
    )

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            check_choice(name, getattr(self, name), get_args(kind))
        if self.teacher == "random":
            if self.teacher_path is not None:
                raise ValueError(f"teacher: random has no teacher_path, got {self.teacher_path!r}")
        elif self.teacher_path is not None and not isinstance(self.teacher_path, str):
            raise TypeError(f"teacher_path must be a path or a name, got {self.teacher_path!r}")
        for name in ("weight", "order_weight"):
            check_number(name, getattr(self, name))
        for name in ("reg", "reg_m_frames", "reg_m_tokens"):
            _check_strength(name, getattr(self, name), infinite=name != "reg")
        check_epoch("after_epoch", self.after_epoch)
        for name, least in (("max_iter", 1), ("layer", -math.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")
        if not isinstance(self.lower_case, bool):
            raise TypeError(f"lower_case must be true or false, got {self.lower_case!r}")


_CHOICES = {
    "teacher": TeacherKind,
    "matching": Matching,
    "order": Order,
    "reference": Reference,
    "plan_gradient": PlanGradient,
}


def parse_transfer_conf(conf: Mapping[str, Any]) -> TransferOptions:
    """The options that a `transfer_conf` gives.

    Raises:
        ValueError, TypeError: an unknown option (the nearest known name is suggested) or a bad value.
    """
    known = [field.name for field in dataclasses.fields(TransferOptions)]
    for name in conf:
        if name not in known:
            raise unknown_option("transfer_conf", name, known)
    return TransferOptions(**conf)


def _check_strength(name: str, value: object, *, infinite: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not value > 0 or (value == math.inf and not infinite):
        raise ValueError(f"{name} must be above 0{'' if infinite else ' and finite'}, got {value}")
