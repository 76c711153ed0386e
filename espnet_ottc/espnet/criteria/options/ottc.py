"""The options of `ctc_type: ottc`."""

import dataclasses
from typing import ClassVar, Literal, get_args

from espnet_ottc.espnet.criteria.options.base import (
    CriterionOptions,
    boundary_label_field,
    check_choice,
    check_epoch,
    check_label,
    check_number,
    option,
)

LabelWeights = Literal["uniform", "ali", "learned", "self"]
Alpha = Literal["learned", "uniform"]
Scale = Literal["frames", "labels", "utterance"]


@dataclasses.dataclass(frozen=True)
class OTTCOptions(CriterionOptions):
    """Options of the criterion; `describe_options` lists them with their meaning.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind; the message names the option.
    """

    ctc_type: ClassVar[str] = "ottc"

    boundary_label: str | int | None = boundary_label_field()
    label_weights: LabelWeights = option(
        "uniform",
        "beta: uniform (1/U each), ali (run lengths of the frame labels in the data stream ali), "
        "learned (predicted from the label sequence), self (mean durations that the model itself gave to "
        "each token in the epochs before)",
    )
    label_weight_floor: float = option(
        0.5,
        "for label_weights learned and self: the smallest one, as a share of 1/U, in [0, 1); "
        "above 0 for self",
    )
    label_weight_damping: float = option(
        0.5,
        "for label_weights self: share of the former durations that each epoch keeps, in [0, 1)",
    )
    alpha: Alpha = option(
        "learned", "frame weights: learned (a head on the encoder's output) or uniform (1/T each)"
    )
    flat_start_epochs: int = option(
        0,
        "number of first epochs in which labels and alpha learn from the sum over all alignments "
        "instead of alpha's own plan; over a third as many more OTTC takes over; 0: OTTC from the start",
    )
    freeze_alpha_after_epoch: int | None = option(
        None, "keep the frame-weight head as it is after this epoch; null: never, 0: from the start"
    )
    alpha_kl_weight: float = option(
        0.0,
        "adds this times KL(alpha || uniform) to the loss, in the loss's unit; sharper boundaries",
    )
    alpha_roughness_weight: float = option(
        0.0,
        "adds this times the mean squared step between neighbouring frame scores, "
        "in the loss's unit",
    )
    null_capacity: float = option(
        0.0,
        "each frame can explain this / T of an utterance, in [0, 1]; what alpha leaves of it "
        "teaches the blank, which then means silence; 0: nothing does",
    )
    null_weight: float = option(1.0, "weight of what null_capacity adds to the loss")
    null_after_epoch: int = option(
        0,
        "null_weight is 0 up to this epoch and rises over a third as many, by equal steps; it is "
        "whole in the validation loss throughout",
    )
    unaligned_label: str | int | None = option(
        None,
        "token of texts that gets no frames, for null_capacity: pauses in its place are the "
        "blank's; <word_break>: <space> or SentencePiece's ▁, or nothing where the tokens have neither; "
        "what the model recognises does not have it",
    )
    aux_ctc_weight: float = option(
        0.0,
        "loss = OTTC + aux_ctc_weight * CTC, with a CTC head of its own on the same encoder; "
        "0: no such head",
    )
    consistency_weight: float = option(
        0.0,
        "trains on two draws of SpecAugment of each utterance and adds this times the divergence "
        "of their posteriors, as ctc_type cr_ctc does; 0: one view",
    )
    scale: Scale = option(
        "frames",
        "unit of the loss: frames (nats per utterance, as CTC's), labels (times U) or utterance "
        "(total mass 1)",
    )
    drop_threshold: float = option(
        0.01,
        "greedy decoding drops frames that weigh less than this share of the uniform weight 1/T, "
        "in [0, 1]",
    )
    dropout: float = option(
        0.1,
        "dropout in front of the frame-weight head, and in the layer that learns label weights, "
        "in [0, 1)",
    )

    def __post_init__(self) -> None:
        check_label(self.boundary_label)
        for name, kind in (("label_weights", LabelWeights), ("alpha", Alpha), ("scale", Scale)):
            check_choice(name, getattr(self, name), get_args(kind))
        check_number("label_weight_floor", self.label_weight_floor, below=1.0)
        check_number("label_weight_damping", self.label_weight_damping, below=1.0)
        if self.label_weights == "self" and self.label_weight_floor == 0:
            raise ValueError("label_weights: self needs a label_weight_floor above 0, got 0")
        for name in (
            "alpha_kl_weight",
            "alpha_roughness_weight",
            "aux_ctc_weight",
            "consistency_weight",
        ):
            check_number(name, getattr(self, name))
        self._check_null_capacity()
        check_number("drop_threshold", self.drop_threshold, most=1.0)
        check_number("dropout", self.dropout, below=1.0)
        check_epoch("flat_start_epochs", self.flat_start_epochs)
        if self.flat_start_epochs and (self.alpha == "uniform" or self.label_weights == "learned"):
            raise ValueError(
                "flat_start_epochs is for alpha: learned, and for label weights that are not learned: a "
                "flat start trains alpha but gives label weights no gradient; "
                f"got alpha: {self.alpha}, label_weights: {self.label_weights}"
            )
        epoch = self.freeze_alpha_after_epoch
        if epoch is not None:
            check_epoch("freeze_alpha_after_epoch", epoch)
        if epoch is not None and self.alpha == "uniform":
            raise ValueError("freeze_alpha_after_epoch has nothing to freeze with alpha: uniform")
        if self.penalised and self.alpha == "uniform":
            raise ValueError("alpha_kl_weight and alpha_roughness_weight are for alpha: learned")

    def _check_null_capacity(self) -> None:
        check_number("null_capacity", self.null_capacity, most=1.0)
        check_number("null_weight", self.null_weight)
        check_epoch("null_after_epoch", self.null_after_epoch)
        check_label(self.unaligned_label, "unaligned_label")
        if self.null_capacity == 0:
            if self.unaligned_label is not None:
                raise ValueError(
                    "unaligned_label needs a null_capacity above 0: otherwise no label takes the pauses"
                )
            return
        if self.alpha == "uniform":
            raise ValueError(
                "null_capacity is for alpha: learned; uniform frame weights use all of it"
            )
        if self.label_weights == "ali":
            raise ValueError(
                "null_capacity excludes label_weights: ali, whose blanks are labels with frames of their own"
            )
        if self.unaligned_label is not None and self.unaligned_label == self.boundary_label:
            raise ValueError(
                "unaligned_label must not be the boundary_label, which has frames; "
                f"got {self.unaligned_label!r}"
            )

    @property
    def penalised(self) -> bool:
        """Whether the loss has a penalty on the frame weights."""
        return self.alpha_kl_weight > 0 or self.alpha_roughness_weight > 0
