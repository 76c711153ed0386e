"""What the benchmarks share: what a reader needs to judge the figures, and how files are written."""

import argparse
import importlib
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
        # Without folders, which differ from machine to machine.
        "command": "python "
        + " ".join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv),
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


def timed(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] | None = None,
) -> dict[str, float]:
    """Median milliseconds of each way; they take turns, in an order drawn anew each round.

    Args:
        ways: what to run, by name.
        rounds: how often.
        clock: seconds; None: of the wall, after all work that a GPU has queued.
    """
    now = clock or _now
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        order = list(ways)
        shuffle(order)
        for name in order:
            # Unmeasured first: the one before has filled the caches.
            ways[name]()
            start = now()
            ways[name]()
            times[name].append(1e3 * (now() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def _now() -> float:
    """Seconds, after all queued work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_over(tensor: torch.Tensor, work: Callable[[], object]) -> float:
    """Peak of what some work takes, as a multiple of a tensor's own size.

    On the CPU it is what the process grows by, as the system counts it: run it in a fresh one.  On a GPU
    it is what PyTorch allocates there.
    """
    size = tensor.numel() * tensor.element_size()
    if tensor.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / size
    return _peak_growth(work) / size


def _peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which this process grows at most while it works."""
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


def size_option(text: str, letters: str = "B,T,V,U") -> tuple[int, int, int, int]:
    """Four numbers, which the letters name."""
    try:
        one, two, three, four = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is {letters}, got {text!r}") from None
    return one, two, three, four


def parse_options(
    description: str | None,
    sizes: Sequence[tuple[int, int, int, int]],
    *,
    turns: str,
    letters: str = "B,T,V,U",
    dtypes: Sequence[str] = ("float32", "bfloat16", "float16"),
) -> argparse.Namespace:
    """The options of a benchmark of several ways at several sizes, which runs on a CPU or a GPU.

    Args:
        description: for its help.
        sizes: those that are measured where none are given.
        turns: what takes turns, as "each loss".
        letters: that name the numbers of a size.
        dtypes: to choose from, the default first; where there is one, there is no option.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    if len(dtypes) > 1:
        parser.add_argument("--dtype", default=dtypes[0], choices=dtypes)
    parser.add_argument("--size", type=lambda text: size_option(text, letters), nargs="+",
                        default=sizes, metavar=letters)  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=9, help=f"turns of {turns} (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the document here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device")
    if len(dtypes) == 1:
        options.dtype = dtypes[0]
    return options


def publish(document: str, figures: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print the document, and write what `--json` and `--markdown` ask for."""
    print(document)
    if options.json:
        write(options.json, json.dumps(figures, indent=2) + "\n")
    if options.markdown:
        write(options.markdown, document)
