"""Times of words in recordings, by any model with CTC or OTTC: the Python behind `ottc-align`.

from espnet_ottc.aligner import Aligner
found = Aligner.from_pretrained("torchaudio:MMS_FA").align("talk.mp3", "what is said in it")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_ottc.aligner.aligner import Aligner
    from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord

__all__ = ["AlignedUtterance", "AlignedWord", "Aligner"]

_MODULES = {
    "Aligner": "espnet_ottc.aligner.aligner",
    "AlignedUtterance": "espnet_ottc.alignment.aligned",
    "AlignedWord": "espnet_ottc.alignment.aligned",
}


def __getattr__(name: str) -> Any:
    # Late, so that a command's help needs neither PyTorch nor a decoder of audio.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
