"""Where sums in double precision are made for tensors of a device that may not have it."""

import torch
from torch import Tensor

# Stands for log 0, below every path without it; −inf would become NaN in differences.  ESPnet has the same.
LOG_ZERO = -1e10
# Apple's GPUs have no float64.
_WITHOUT_FLOAT64 = frozenset({"mps"})
_CPU = torch.device("cpu")


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can live on `device`."""
    return device.type not in _WITHOUT_FLOAT64


def dtype_of_sums(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device without it."""
    return torch.float64 if has_float64(device) else torch.float32


def device_of_sums(device: torch.device) -> torch.device:
    """`device` itself, or the CPU where `device` has no float64.

    What is summed is small, O(B(T+U)); a device without float64 waits for it once a call.
    """
    return device if has_float64(device) else _CPU


def brought_back(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`; float64 becomes float32 where the device has no float64."""
    if values.dtype == torch.float64 and not has_float64(device):
        values = values.float()
    return values.to(device)
