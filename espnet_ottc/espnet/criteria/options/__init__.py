"""The options of each `ctc_type` of this package, as they stand in `ctc_conf`, and their checks.

Importing it takes neither PyTorch nor ESPnet, so that recipes check configurations in no time.
"""

from espnet_ottc.espnet.criteria.options.base import CriterionOptions
from espnet_ottc.espnet.criteria.options.baselines import (
    ConsistencyCTCOptions,
    PriorCTCOptions,
    SinglePathOptions,
    SoftDTWOptions,
)
from espnet_ottc.espnet.criteria.options.boundary_label import (
    WORD_BREAK,
    boundary_label_id,
    resolve_boundary_label,
    unaligned_label_id,
)
from espnet_ottc.espnet.criteria.options.conf import (
    FORMER_NAME,
    SHARED_WITH_CTC,
    ctc_defaults,
    describe_options,
    parse_conf,
)
from espnet_ottc.espnet.criteria.options.ottc import OTTCOptions

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

__all__ = [
    "FORMER_NAME",
    "OPTIONS",
    "SHARED_WITH_CTC",
    "WORD_BREAK",
    "ConsistencyCTCOptions",
    "CriterionOptions",
    "OTTCOptions",
    "PriorCTCOptions",
    "SinglePathOptions",
    "SoftDTWOptions",
    "boundary_label_id",
    "ctc_defaults",
    "describe_options",
    "parse_conf",
    "resolve_boundary_label",
    "unaligned_label_id",
]
