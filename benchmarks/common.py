"""What the benchmarks share: what a reader needs to judge the figures, and how files are written."""

import argparse
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import espnet_ottc


def optional(name: str) -> Any | None:
    """The module, or None where it is not installed; the table then says so."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def environment(options: argparse.Namespace, packages: Sequence[str]) -> dict[str, Any]:
    """Command, commit, hardware, and versions of these packages."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    versions = {"python": platform.python_version(), "espnet_ottc": espnet_ottc.__version__}
    for name in packages:
        module = optional(name)
        version = getattr(module, "__version__", getattr(module, "__dev_version__", "?"))
        versions[name] = version if module else "not installed"
    hardware = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    return {
        "command": "python " + " ".join(sys.argv),
        "commit": git("rev-parse", "--short", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "hardware": f"{hardware}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
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


def cpu_name() -> str:
    """The processor as Linux calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def write(path: Path, text: str) -> None:
    """Write aside, then rename: a half-written file never stands under its name."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def size_option(text: str) -> tuple[int, int, int, int]:
    """B,T,V,U."""
    try:
        B, T, V, U = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is B,T,V,U, got {text!r}") from None
    return B, T, V, U
