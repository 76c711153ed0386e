"""Times of words in recordings, by any model with CTC or OTTC: the Python behind `ottc-align`.

from espnet_ottc.aligner import Aligner
found = Aligner.from_pretrained("torchaudio:MMS_FA").align("talk.mp3", "what is said in it")
"""

from typing import TYPE_CHECKING

from espnet_ottc.utils.late import late_names

if TYPE_CHECKING:
    from espnet_ottc.aligner.aligner import Aligner
    from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord

__all__ = ["AlignedUtterance", "AlignedWord", "Aligner"]

_MODULES = {
    "Aligner": "espnet_ottc.aligner.aligner",
    "AlignedUtterance": "espnet_ottc.alignment.aligned",
    "AlignedWord": "espnet_ottc.alignment.aligned",
}
# Late, so that a command's help needs neither PyTorch nor a decoder of audio.
__getattr__ = late_names(__name__, _MODULES)
