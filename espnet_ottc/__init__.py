"""OTTC: a loss that learns one alignment between frames and labels, for plain PyTorch and ESPnet.

The numerical core imports PyTorch alone; ESPnet is entered through `espnet_ottc.espnet` only.
"""

from typing import TYPE_CHECKING

from espnet_ottc.utils.late import late_names

if TYPE_CHECKING:
    from espnet_ottc.nn.head import OTTCHead
    from espnet_ottc.ops.loss import OTTCLoss, ottc_loss
    from espnet_ottc.ops.sotd import sotd
    from espnet_ottc.ops.transport import TransportPlan, transport_plan

__version__ = "0.2.0"

__all__ = ["OTTCHead", "OTTCLoss", "TransportPlan", "ottc_loss", "sotd", "transport_plan"]

# Imported when they are first asked for (PEP 562): the help of a command needs no PyTorch.
_HOMES = {
    "OTTCHead": "espnet_ottc.nn.head",
    "OTTCLoss": "espnet_ottc.ops.loss",
    "TransportPlan": "espnet_ottc.ops.transport",
    "ottc_loss": "espnet_ottc.ops.loss",
    "sotd": "espnet_ottc.ops.sotd",
    "transport_plan": "espnet_ottc.ops.transport",
}


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
