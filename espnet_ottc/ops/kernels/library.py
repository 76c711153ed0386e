"""The shared libraries that the C sources of this folder are compiled to, through ctypes.

They are compiled when the package is installed, and use nothing of Python's.  They run on PyTorch's own
OpenMP threads, since both load the same libgomp.
"""

import ctypes
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


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
    raise ImportError(
        "the C kernel was not compiled; install a C compiler and run "
        "`pip install --force-reinstall --no-deps espnet-ottc`"
    )


def load_library(path: Path, functions: Mapping[str, type[ctypes.Structure]]) -> ctypes.CDLL:
    """Load a library whose functions take one structure each, by its address, and return nothing.

    Args:
        path: the file.
        functions: name of each -> its structure.

    Raises:
        ImportError: it cannot be loaded.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as fault:
        raise ImportError(f"{path.name} cannot be loaded: {fault}") from fault
    for name, structure in functions.items():
        getattr(library, name).argtypes = [ctypes.POINTER(structure)]
        getattr(library, name).restype = None
    return library
