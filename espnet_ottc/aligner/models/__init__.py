"""Models that can align, by name: one interface, whatever package they come from.

model = load_model("torchaudio:MMS_FA")
"""

from espnet_ottc.aligner.models.interface import SpeechModel
from espnet_ottc.aligner.models.registry import SOURCES, load_model

__all__ = ["SOURCES", "SpeechModel", "load_model"]
