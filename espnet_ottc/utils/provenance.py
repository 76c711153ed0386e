"""Where a result comes from: commit, versions, hardware."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import espnet_ottc

PACKAGES = ("espnet", "lhotse", "torch", "torchaudio")


def provenance(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Commit and dirty flag of the source tree (None outside one), versions, hardware.

    Changes in `results/` and `docs/`, which runs write themselves, make no tree dirty.

    Args:
        packages: distributions whose versions matter; None stands for one that is not installed.
    """
    return {"commit": _git("rev-parse", "HEAD"), "dirty": _dirty()} | {
        "versions": {"espnet_ottc": espnet_ottc.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in packages},
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """Processor, its cores that this process may use, memory in GB, GPUs."""
    import torch  # late: a command's help needs no PyTorch

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _dirty() -> bool | None:
    status = _git("status", "--porcelain", ":/", ":(top,exclude)results", ":(top,exclude)docs")
    return None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    """What git says of the source tree; None where there is no git, or the tree is not tracked."""
    source = Path(espnet_ottc.__file__).resolve().parent
    try:
        # A package installed inside some other project's tree has nothing to do with its commits.
        tracked = subprocess.run(
            ["git", "-C", str(source), "ls-files", "--error-unmatch", "__init__.py"],
            capture_output=True, check=False,
        )  # fmt: skip
        if tracked.returncode:
            return None
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
