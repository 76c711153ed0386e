"""Files of parameters, read without running what else they may hold."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.utils.faults import pytorchs_reason


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a file of safetensors or of `torch.save`.

    Args:
        path: `*.safetensors`, or what `torch.save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything but tensors by name, or is no such file.
        ImportError: safetensors is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of parameters {path}")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as fault:
        raise ValueError(
            f"{path}: a file of parameters must hold tensors alone, since loading anything else can run "
            f"code; PyTorch says: {pytorchs_reason(fault)}"
        ) from fault
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError(f"{path}: parameters must be tensors by name")
    return dict(content)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from espnet_ottc.utils.extras import require_extra

    require_extra("models", f"{path.name}", ("safetensors",))
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: cannot be read as safetensors: {error}") from error
    return tensors
