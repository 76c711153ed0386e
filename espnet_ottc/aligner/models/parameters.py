"""Files of parameters, read without running what else they may hold."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from espnet_ottc.alignment.saved_tensors import load_tensors_alone


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a file of safetensors or of `torch.save`.

    Args:
        path: `*.safetensors`, or what `torch.save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything but tensors by name, or is no such file.
        ImportError: safetensors is not installed.
    """
    if path.suffix == ".safetensors" and path.is_file():
        return _safetensors(path)
    content = load_tensors_alone(path)
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
