"""The options of the criteria that OTTC is compared with."""

import dataclasses
from typing import ClassVar

from espnet_ottc.espnet.criteria.options.base import (
    CriterionOptions,
    boundary_label_field,
    check_epoch,
    check_label,
    check_number,
    option,
)


@dataclasses.dataclass(frozen=True)
class PriorCTCOptions(CriterionOptions):
    """Options of `ctc_type: ctc_prior`.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind.
    """

    ctc_type: ClassVar[str] = "ctc_prior"

    prior_scale: float = option(
        0.3, "power of the labels' priors that posteriors are divided by; 0: CTC"
    )
    prior_after_epoch: int = option(
        1,
        "priors are uniform up to this epoch; they help a CTC model that has left its plateau, "
        "where all posteriors are alike, and keep others there",
    )

    def __post_init__(self) -> None:
        check_number("prior_scale", self.prior_scale)
        check_epoch("prior_after_epoch", self.prior_after_epoch)


@dataclasses.dataclass(frozen=True)
class ConsistencyCTCOptions(CriterionOptions):
    """Options of `ctc_type: cr_ctc`.

    Raises:
        ValueError, TypeError: a value outside its range or of the wrong kind.
    """

    ctc_type: ClassVar[str] = "cr_ctc"

    consistency_weight: float = option(
        0.2, "weight of the divergence between the two views' posteriors"
    )

    def __post_init__(self) -> None:
        check_number("consistency_weight", self.consistency_weight)


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

    boundary_label: str | int | None = boundary_label_field()
    gamma: float = option(
        1.0, "temperature of the soft minimum over warping paths, in nats, above 0"
    )

    def __post_init__(self) -> None:
        check_label(self.boundary_label)
        check_number("gamma", self.gamma)
        if self.gamma == 0:
            raise ValueError("gamma must be above 0, got 0")
