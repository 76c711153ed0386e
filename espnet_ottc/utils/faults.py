"""What other packages say of a fault, as one line for a user."""

import re

_SENTENCES = re.compile(r"(?<=\.)\s+|\n+")
# What PyTorch says besides the reason: above all how to run what the file holds.
_ADVICE = re.compile(
    r"weights[_ ]only|PyTorch 2\.6|arbitrary code|trusted? |Please|Check the documentation",
    re.IGNORECASE,
)


def pytorchs_reason(fault: BaseException) -> str:
    """Why PyTorch does not read a file of parameters, without its advice to run what the file holds."""
    said = str(fault).rpartition("WeightsUnpickler error:")[2]
    sentences = (one.strip() for one in _SENTENCES.split(said))
    reasons = (one.rstrip(".") for one in sentences if one and not _ADVICE.search(one))
    return next(reasons, "it holds something else")
