"""The warning that a kernel is missing and plain PyTorch does its work."""

import warnings

_warned: set[str] = set()


def warn_of_fallback(kernel: str, fault: ImportError) -> None:
    """Say it once for each kernel.

    Args:
        kernel: as the warning calls it.
        fault: why it cannot be loaded.
    """
    if kernel not in _warned:
        _warned.add(kernel)
        warnings.warn(
            f"the {kernel} cannot be loaded, using plain PyTorch: {fault}",
            RuntimeWarning,
            stacklevel=4,
        )
