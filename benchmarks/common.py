"""What the benchmarks share: what a reader needs to judge the figures, and how files are written."""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.provenance import provenance


def optional(name: str) -> Any | None:
    """The module, or None where it is not installed; the table then says so."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def environment(options: argparse.Namespace, packages: Sequence[str]) -> dict[str, Any]:
    """Command, commit, hardware, and versions of these distributions."""
    about = provenance(packages)
    hardware = about["hardware"]
    device = torch.cuda.get_device_name() if options.device == "cuda" else hardware["processor"]
    versions = {name: version or "not installed" for name, version in about["versions"].items()}
    # Which CUDA it was built for is not in the distribution's version.
    versions["torch"] = torch.__version__
    return {
        "command": "python " + " ".join(sys.argv),
        "commit": (about["commit"] or "unknown")[:7],
        "dirty": bool(about["dirty"]),
        "hardware": f"{device}, {hardware['cores']} cores, {torch.get_num_threads()} threads",
        "dtype": options.dtype,
        "seed": options.seed,
        "rounds": options.rounds,
        "versions": versions,
    }


def provenance_lines(about: dict[str, Any], rounds: str) -> list[str]:
    """The environment as a list in a document; `rounds` says how often was measured."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    changed = " with changes" if about["dirty"] else ""
    return [
        f"* command: `{about['command']}`",
        f"* hardware: {about['hardware']}; {about['dtype']}; seed {about['seed']}; {rounds}",
        f"* versions: {versions}; commit {about['commit']}{changed}",
    ]


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which this process grows at most while it works, as the system counts; in a fresh one."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    before = _memory("VmRSS")
    work()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def write(path: Path, text: str) -> None:
    """Write a document; half of one never stands under its name."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def size_option(text: str) -> tuple[int, int, int, int]:
    """B,T,V,U."""
    try:
        B, T, V, U = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is B,T,V,U, got {text!r}") from None
    return B, T, V, U
