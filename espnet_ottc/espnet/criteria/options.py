"""The options of each `ctc_type` of this package, as they stand in `ctc_conf`, and their checks."""

import dataclasses
import difflib
import inspect
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar, get_args

from espnet2.asr.ctc import CTC

LabelWeights = Literal["uniform", "ali", "learned", "self"]
Alpha = Literal["learned", "uniform"]
Scale = Literal["frames", "labels", "utterance"]

# Of what CTC's constructor knows (ESPnet's parser may put all of it, with its defaults, into ctc_conf)
# these two mean the same here; the others speak of CTC's lattice.
SHARED_WITH_CTC = ("dropout_rate", "reduce")
_SIZES = ("self", "odim", "encoder_output_size")


def _boundary_label() -> Any:
    return dataclasses.field(
        default=None,
        metadata={
            "help": "token (or its id) that every label sequence starts and ends with, so that silence has a "
            "label; for characters <space>; hypotheses come without it at their ends"
        },
    )


@dataclasses.dataclass(frozen=True)
class CriterionOptions:
    """Options of one `ctc_type`."""

    ctc_type: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class OTTCOptions(CriterionOptions):
    """Options of the criterion; `describe_options` lists them with their meaning.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind; the message names the option.
    """

    ctc_type: ClassVar[str] = "ottc"

    boundary_label: str | int | None = _boundary_label()
    label_weights: LabelWeights = dataclasses.field(
        default="uniform",
        metadata={
            "help": "beta: uniform (1/U each), ali (run lengths of the frame labels in the data stream ali), "
            "learned (predicted from the label sequence), self (mean durations that the model itself gave to "
            "each token in the epochs before)"
        },
    )
    label_weight_floor: float = dataclasses.field(
        default=0.5,
        metadata={
            "help": "for label_weights learned and self: the smallest one, as a share of 1/U, in [0, 1); "
            "above 0 for self"
        },
    )
    label_weight_damping: float = dataclasses.field(
        default=0.5,
        metadata={
            "help": "for label_weights self: share of the former durations that each epoch keeps, in [0, 1)"
        },
    )
    alpha: Alpha = dataclasses.field(
        default="learned",
        metadata={
            "help": "frame weights: learned (a head on the encoder's output) or uniform (1/T each)"
        },
    )
    flat_start_epochs: int = dataclasses.field(
        default=0,
        metadata={
            "help": "number of first epochs in which labels and alpha learn from the sum over all alignments "
            "instead of alpha's own plan; over a third as many more OTTC takes over; 0: OTTC from the start"
        },
    )
    freeze_alpha_after_epoch: int | None = dataclasses.field(
        default=None,
        metadata={
            "help": "keep the frame-weight head as it is after this epoch; null: never, 0: from the start"
        },
    )
    alpha_kl_weight: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "adds this times KL(alpha || uniform) to the loss, in the loss's unit; sharper boundaries"
        },
    )
    alpha_roughness_weight: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "adds this times the mean squared step between neighbouring frame scores, "
            "in the loss's unit"
        },
    )
    aux_ctc_weight: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "loss = OTTC + aux_ctc_weight * CTC, with a CTC head of its own on the same encoder; "
            "0: no such head"
        },
    )
    consistency_weight: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "trains on two draws of SpecAugment of each utterance and adds this times the divergence "
            "of their posteriors, as ctc_type cr_ctc does; 0: one view"
        },
    )
    scale: Scale = dataclasses.field(
        default="frames",
        metadata={
            "help": "unit of the loss: frames (nats per utterance, as CTC's), labels (times U) or utterance "
            "(total mass 1)"
        },
    )
    drop_threshold: float = dataclasses.field(
        default=0.01,
        metadata={
            "help": "greedy decoding drops frames that weigh less than this share of the uniform weight 1/T, "
            "in [0, 1]"
        },
    )
    dropout: float = dataclasses.field(
        default=0.1, metadata={"help": "dropout in front of the frame-weight head, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        _check_label(self.boundary_label)
        for name, kind in (("label_weights", LabelWeights), ("alpha", Alpha), ("scale", Scale)):
            _check_choice(name, getattr(self, name), get_args(kind))
        _check_number("label_weight_floor", self.label_weight_floor, below=1.0)
        _check_number("label_weight_damping", self.label_weight_damping, below=1.0)
        if self.label_weights == "self" and self.label_weight_floor == 0:
            raise ValueError("label_weights: self needs a label_weight_floor above 0, got 0")
        for name in (
            "alpha_kl_weight",
            "alpha_roughness_weight",
            "aux_ctc_weight",
            "consistency_weight",
        ):
            _check_number(name, getattr(self, name))
        _check_number("drop_threshold", self.drop_threshold, most=1.0)
        _check_number("dropout", self.dropout, below=1.0)
        _check_epoch("flat_start_epochs", self.flat_start_epochs)
        if self.flat_start_epochs and (self.alpha == "uniform" or self.label_weights == "learned"):
            raise ValueError(
                "flat_start_epochs is for alpha: learned, and for label weights that are not learned: a "
                "search gives the one something to learn, and the other nothing"
            )
        epoch = self.freeze_alpha_after_epoch
        if epoch is not None:
            _check_epoch("freeze_alpha_after_epoch", epoch)
        if epoch is not None and self.alpha == "uniform":
            raise ValueError("freeze_alpha_after_epoch has nothing to freeze with alpha: uniform")
        if self.penalised and self.alpha == "uniform":
            raise ValueError("alpha_kl_weight and alpha_roughness_weight are for alpha: learned")

    @property
    def penalised(self) -> bool:
        """Whether the loss has a penalty on the frame weights."""
        return self.alpha_kl_weight > 0 or self.alpha_roughness_weight > 0


@dataclasses.dataclass(frozen=True)
class PriorCTCOptions(CriterionOptions):
    """Options of `ctc_type: ctc_prior`.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind.
    """

    ctc_type: ClassVar[str] = "ctc_prior"

    prior_scale: float = dataclasses.field(
        default=0.3,
        metadata={"help": "power of the labels' priors that posteriors are divided by; 0: CTC"},
    )
    prior_after_epoch: int = dataclasses.field(
        default=1,
        metadata={
            "help": "priors are uniform up to this epoch; they help a CTC model that has left its plateau, "
            "where all posteriors are alike, and keep others there"
        },
    )

    def __post_init__(self) -> None:
        _check_number("prior_scale", self.prior_scale)
        _check_epoch("prior_after_epoch", self.prior_after_epoch)


@dataclasses.dataclass(frozen=True)
class ConsistencyCTCOptions(CriterionOptions):
    """Options of `ctc_type: cr_ctc`.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind.
    """

    ctc_type: ClassVar[str] = "cr_ctc"

    consistency_weight: float = dataclasses.field(
        default=0.2,
        metadata={"help": "weight of the divergence between the two views' posteriors"},
    )

    def __post_init__(self) -> None:
        _check_number("consistency_weight", self.consistency_weight)


@dataclasses.dataclass(frozen=True)
class SinglePathOptions(CriterionOptions):
    """`ctc_type: single_path` has no options."""

    ctc_type: ClassVar[str] = "single_path"


@dataclasses.dataclass(frozen=True)
class SoftDTWOptions(CriterionOptions):
    """Options of `ctc_type: soft_dtw`.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind.
    """

    ctc_type: ClassVar[str] = "soft_dtw"

    boundary_label: str | int | None = _boundary_label()
    gamma: float = dataclasses.field(
        default=1.0,
        metadata={"help": "temperature of the soft minimum over warping paths, in nats, above 0"},
    )

    def __post_init__(self) -> None:
        _check_label(self.boundary_label)
        _check_number("gamma", self.gamma)
        if self.gamma == 0:
            raise ValueError("gamma must be above 0, got 0")


OPTIONS: dict[str, type[CriterionOptions]] = {
    kind.ctc_type: kind
    for kind in (
        OTTCOptions,
        PriorCTCOptions,
        ConsistencyCTCOptions,
        SinglePathOptions,
        SoftDTWOptions,
    )
}
Kind = TypeVar("Kind", bound=CriterionOptions)


def parse_conf(conf: Mapping[str, Any], kind: type[Kind]) -> tuple[Kind, dict[str, Any]]:
    """Split a `ctc_conf` into the criterion's options and what it shares with CTC.

    Args:
        conf: keys of `kind` and of ESPnet's CTC; `ctc_type` is ignored.
        kind: the dataclass of the criterion's options.

    Returns:
        The options, and the keyword arguments `dropout_rate` and `reduce` as far as they are given.

    Raises:
        ValueError, TypeError: an unknown option (the nearest known name is suggested) or a bad value.
    """
    own = [field.name for field in dataclasses.fields(kind)]
    inherited = ctc_defaults()
    for name in conf:
        if name not in own and name not in inherited:
            near = difflib.get_close_matches(name, [*own, *SHARED_WITH_CTC], n=1)
            known = ", ".join([*own, *SHARED_WITH_CTC])
            hint = f"did you mean {near[0]}?" if near else f"known options: {known}"
            raise ValueError(f"ctc_conf of ctc_type {kind.ctc_type} has no option {name!r}; {hint}")
    unused = [
        name
        for name, value in conf.items()
        if name in inherited
        and name not in (*SHARED_WITH_CTC, "ctc_type")
        and value != inherited[name]
    ]
    if unused:
        logging.info(
            "ctc_type %s has no use for CTC's options %s", kind.ctc_type, ", ".join(unused)
        )
    options = kind(**{name: conf[name] for name in own if name in conf})
    return options, {name: conf[name] for name in SHARED_WITH_CTC if name in conf}


def ctc_defaults() -> dict[str, Any]:
    """The options of ESPnet's own CTC with their defaults."""
    parameters = inspect.signature(CTC.__init__).parameters
    return {name: p.default for name, p in parameters.items() if name not in _SIZES}


def describe_options(kind: type[CriterionOptions]) -> list[tuple[str, Any, str]]:
    """Name, default and meaning of each option of a criterion, in order."""
    return [(f.name, f.default, f.metadata["help"]) for f in dataclasses.fields(kind)]


def _check_label(label: object) -> None:
    if label is None:
        return
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise TypeError(f"boundary_label must be a token, its id or null, got {label!r}")
    if isinstance(label, int) and label < 1:
        raise ValueError(f"boundary_label must not be the blank, and ids are positive; got {label}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _check_epoch(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a number of epochs >= 0, got {value!r}")


def _check_number(
    name: str, value: object, *, below: float | None = None, most: float | None = None
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    too_large = (below is not None and value >= below) or (most is not None and value > most)
    if not value >= 0 or value == float("inf") or too_large:
        upper = f"{below})" if below is not None else f"{most}]" if most is not None else "inf)"
        raise ValueError(f"{name} must lie in [0, {upper}, got {value}")
