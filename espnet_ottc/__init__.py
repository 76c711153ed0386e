"""OTTC: a loss that learns one alignment between frames and labels, for plain PyTorch and ESPnet.

The numerical core imports PyTorch alone; ESPnet is entered through `espnet_ottc.espnet` only.
"""

from espnet_ottc.ops.loss import OTTCLoss, ottc_loss
from espnet_ottc.ops.sotd import sotd
from espnet_ottc.ops.transport import TransportPlan, transport_plan

__version__ = "0.1.0"

__all__ = ["OTTCLoss", "TransportPlan", "ottc_loss", "sotd", "transport_plan"]
