"""Aligners: label sequences to frames, by name.

aligner = make_aligner("viterbi", {"subframe": True})
result = aligner.align(AlignmentBatch(ids, log_probs, lengths, targets, target_lengths, alpha))

Models with CTC are aligned by `k2_ctc` or `torchaudio_ctc`, which find the same paths:
aligner = make_aligner(ctc_aligner("auto"))
"""

import logging
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING

from espnet_ottc.utils.late import late_names

if TYPE_CHECKING:
    from espnet_ottc.alignment.aligners.interface import (
        Aligner,
        AlignmentBatch,
        AlignmentResult,
        TokenAlignment,
    )

__all__ = [
    "ALIGNERS",
    "BOUNDARY",
    "Aligner",
    "AlignmentBatch",
    "AlignmentResult",
    "TokenAlignment",
    "ctc_aligner",
    "make_aligner",
]

_log = logging.getLogger(__name__)

# Module and class of each; imported when one is made, so that their names need no PyTorch.
ALIGNERS = {
    "transport": ("espnet_ottc.alignment.aligners.transport", "TransportAligner"),
    "viterbi": ("espnet_ottc.alignment.aligners.viterbi", "ViterbiAligner"),
    "ctc": ("espnet_ottc.alignment.aligners.label_ctc", "CTCAligner"),
    "torchaudio_ctc": ("espnet_ottc.alignment.aligners.torchaudio_ctc", "TorchaudioCTCAligner"),
    "k2_ctc": ("espnet_ottc.alignment.aligners.k2_ctc", "K2CTCAligner"),
}
# The search of a boundary model, alone or with a recogniser's scores (`espnet_ottc.alignment.boundary`).  It
# reads sound, so that it is no aligner of labels with posteriors.
BOUNDARY = "boundary"
_INTERFACE = ("Aligner", "AlignmentBatch", "AlignmentResult", "TokenAlignment")


def make_aligner(name: str, options: Mapping[str, bool | int | float] | None = None) -> "Aligner":
    """Make an aligner.

    Args:
        name: a key of `ALIGNERS`.
        options: fields of the aligner's dataclass; None takes the defaults.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    if name not in ALIGNERS:
        raise ValueError(f"aligner must be one of {', '.join(ALIGNERS)}; got {name!r}")
    module, kind_name = ALIGNERS[name]
    kind = getattr(import_module(module), kind_name)
    options = options or {}
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"aligner {name} has the options {', '.join(known) or '(none)'}; "
            f"got {', '.join(unknown)}"
        )
    aligner: Aligner = kind(**options)
    return aligner


def ctc_aligner(package: str = "auto") -> str:
    """The name in `ALIGNERS` of the CTC aligner by a package.

    Args:
        package: k2, torchaudio, or auto: k2 if it can be imported, else torchaudio; a log message
            says which.

    Raises:
        ValueError: another package.
    """
    if package != "auto":
        if f"{package}_ctc" not in ALIGNERS:
            raise ValueError(f"the CTC aligner must be auto, k2 or torchaudio; got {package!r}")
        return f"{package}_ctc"
    from espnet_ottc.alignment.aligners.k2_ctc import import_k2

    try:
        import_k2()
    except ImportError as error:
        _log.info("CTC aligner: torchaudio, since %s", error)
        return "torchaudio_ctc"
    _log.info("CTC aligner: k2")
    return "k2_ctc"


__getattr__ = late_names(
    __name__, dict.fromkeys(_INTERFACE, "espnet_ottc.alignment.aligners.interface")
)
