"""Aligners: label sequences to frames, by name.

aligner = make_aligner("viterbi", {"subframe": True})
result = aligner.align(AlignmentBatch(ids, log_probs, lengths, targets, target_lengths, alpha))

Models with CTC are aligned by `k2_ctc` or `torchaudio_ctc`, which find the same paths:
aligner = make_aligner(ctc_aligner("auto"))
"""

import logging
from collections.abc import Mapping
from dataclasses import fields

from espnet_ottc.alignment.aligners.interface import (
    Aligner,
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
)
from espnet_ottc.alignment.aligners.k2_ctc import K2CTCAligner, import_k2
from espnet_ottc.alignment.aligners.torchaudio_ctc import TorchaudioCTCAligner
from espnet_ottc.alignment.aligners.transport import TransportAligner
from espnet_ottc.alignment.aligners.viterbi import ViterbiAligner

_log = logging.getLogger(__name__)

ALIGNERS: dict[
    str, type[TransportAligner | ViterbiAligner | TorchaudioCTCAligner | K2CTCAligner]
] = {
    "transport": TransportAligner,
    "viterbi": ViterbiAligner,
    "torchaudio_ctc": TorchaudioCTCAligner,
    "k2_ctc": K2CTCAligner,
}

__all__ = [
    "ALIGNERS",
    "Aligner",
    "AlignmentBatch",
    "AlignmentResult",
    "TokenAlignment",
    "ctc_aligner",
    "make_aligner",
]


def make_aligner(name: str, options: Mapping[str, bool | int | float] | None = None) -> Aligner:
    """An aligner by its name in `ALIGNERS`, with the options that are its dataclass's fields.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    if name not in ALIGNERS:
        raise ValueError(f"aligner must be one of {', '.join(ALIGNERS)}; got {name!r}")
    kind = ALIGNERS[name]
    options = options or {}
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"aligner {name} has the options {', '.join(known) or '(none)'}; "
            f"got {', '.join(unknown)}"
        )
    return kind(**options)  # type: ignore[arg-type]


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
    try:
        import_k2()
    except ImportError as error:
        _log.info("CTC aligner: torchaudio, since %s", error)
        return "torchaudio_ctc"
    _log.info("CTC aligner: k2")
    return "k2_ctc"
