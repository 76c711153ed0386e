"""Aligners: label sequences to frames, by name.

aligner = make_aligner("viterbi", {"subframe": True})
result = aligner.align(AlignmentBatch(ids, log_probs, lengths, targets, target_lengths, alpha))
"""

from collections.abc import Mapping
from dataclasses import fields

from espnet_ottc.aligners.interface import (
    Aligner,
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
)
from espnet_ottc.aligners.torchaudio_ctc import TorchaudioCTCAligner
from espnet_ottc.aligners.transport import TransportAligner
from espnet_ottc.aligners.viterbi import ViterbiAligner

ALIGNERS: dict[str, type[TransportAligner | ViterbiAligner | TorchaudioCTCAligner]] = {
    "transport": TransportAligner,
    "viterbi": ViterbiAligner,
    "torchaudio_ctc": TorchaudioCTCAligner,
}

__all__ = [
    "ALIGNERS",
    "Aligner",
    "AlignmentBatch",
    "AlignmentResult",
    "TokenAlignment",
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
