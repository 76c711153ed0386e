"""Files of parameters, read without running what else they may hold."""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from espnet_ottc.alignment.saved_tensors import load_tensors_alone

# What ESPnet's reporter keeps of the epochs so far: durations and numbers of NumPy's.
_NUMBER = np.float64(0).__reduce__()[0]
_RECORDS: list[Any] = [
    datetime.timedelta,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
    # ... under the names that NumPy 1 and NumPy 2 give it
    (_NUMBER, "numpy.core.multiarray.scalar"),
    (_NUMBER, "numpy._core.multiarray.scalar"),
]


def load_parameters(path: Path, *, map_location: str = "cpu") -> dict[str, Any]:
    """The content of a file that `torch.save` wrote, tensors and plain containers alone, by name.

    Args:
        path: of the file.
        map_location: device of the tensors; "meta": their shapes alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything else, or is no such file.
    """
    content = load_tensors_alone(path, map_location)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: parameters must be a mapping, got {type(content).__name__}")
    return dict(content)


def check_parameters(path: Path) -> None:
    """Refuse a file that `load_parameters` refuses; for files that ESPnet itself is going to load."""
    load_parameters(path, map_location="meta")


@contextmanager
def checked_training_state(path: Path) -> Iterator[None]:
    """A block in which ESPnet may load a checkpoint of a training: parameters, optimizers, epochs so far.

    ESPnet from 202609 on refuses NumPy's numbers, which earlier releases of it wrote.  Those run any code.

    Raises:
        ValueError: the checkpoint holds anything else, or is no such file.
    """
    with torch.serialization.safe_globals(_RECORDS):
        check_parameters(path)
        yield


def fit_optimizer_state(optimizer: Optimizer) -> None:
    """Give what an optimizer has loaded about its parameters their shapes, where version 0.1 had others.

    The last layer of the frame-weight head was a row (1, D) and is (D,) now.  The module takes the old
    parameter itself; its moments are here.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == (1, *parameter.shape):
                state[name] = value.reshape(parameter.shape)
