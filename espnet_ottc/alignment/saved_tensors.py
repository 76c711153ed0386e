"""Files of `torch.save`, read without running what else they may hold."""

import pickle
import struct
from pathlib import Path
from typing import Any

import torch

from espnet_ottc.utils.faults import pytorchs_reason

# What PyTorch raises for a file that it did not write.
_FAULTS = (
    *(RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError),
    *(AttributeError, ArithmeticError, AssertionError, struct.error),
)


def load_tensors_alone(path: Path, map_location: str = "cpu") -> Any:
    """The content of a file that `torch.save` wrote: tensors and plain containers.

    Such files are pickles, which could run any code; PyTorch's `weights_only` reads them without.

    Args:
        path: of the file.
        map_location: device of the tensors; "meta": their shapes alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything else, or is no such file; in one line that names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of parameters {path}")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except _FAULTS as fault:
        raise ValueError(
            f"{path}: a file of parameters must hold tensors alone, since loading anything else can run "
            f"code; PyTorch says: {pytorchs_reason(fault)}"
        ) from fault
