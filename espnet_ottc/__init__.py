"""OTTC: a loss that learns one alignment between frames and labels, for plain PyTorch and ESPnet.

The numerical core imports PyTorch alone; ESPnet is entered through `espnet_ottc.espnet` only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
