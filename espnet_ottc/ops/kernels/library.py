"""The shared libraries that the C sources of this folder are compiled to, through ctypes.

They are compiled when the package is installed, and use nothing of Python's.  They run on PyTorch's own
OpenMP threads, since both load the same libgomp.
"""

import ctypes
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_AGAIN = "pip install --force-reinstall --no-deps espnet-ottc"


def compiled(stem: str) -> Path:
    """The file of a compiled library.

    Args:
        stem: its name without suffix.

    Raises:
        ImportError: it was not compiled.
    """
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.exists():
            return path
    raise ImportError(f"the C kernel was not compiled; install a C compiler and run `{_AGAIN}`")


def load_library(
    path: Path, structure: type[ctypes.Structure], functions: Sequence[str]
) -> ctypes.CDLL:
    """Load a library whose functions take one structure each, by its address, and return nothing.

    Args:
        path: the file.
        structure: what they take.
        functions: their names.

    Raises:
        ImportError: it cannot be loaded, or was compiled from other sources than these modules go with.
    """
    size = None
    try:
        library = ctypes.CDLL(str(path))
        size = ctypes.c_int64.in_dll(library, "structure_bytes").value
        for name in functions:
            getattr(library, name).argtypes = [ctypes.POINTER(structure)]
            getattr(library, name).restype = None
    except OSError as fault:
        raise ImportError(f"{path.name} cannot be loaded: {fault}") from fault
    except (ValueError, AttributeError):
        pass  # an older one does not say its size, or has other functions
    if size != ctypes.sizeof(structure):
        raise ImportError(f"{path.name} was compiled for another version; run `{_AGAIN}`")
    return library
