"""How fast, and in how much memory, a long recording is aligned with its text.

    python benchmarks/bench_long_recordings.py --model exp/ottc/seed1 --audio hour.flac --text hour.txt

Times are those of the processor in this process, so that other work on the machine counts little.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import environment, provenance_lines

from espnet_ottc.aligner import Aligner
from espnet_ottc.ops import label_paths


class _Clock:
    """Adds up the seconds of the processor that a function takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        begun = time.process_time()
        try:
            return self.function(*arguments, **options)
        finally:
            self.seconds += time.process_time() - begun


def main() -> None:
    """Align, and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.device, options.dtype, options.seed, options.rounds = "cpu", "float32", 0, 1
    about = environment(options, ("torch", "espnet"))
    aligner = Aligner.from_pretrained(options.model)
    search = _Clock(label_paths._best)
    begun = time.process_time()
    with mock.patch.object(label_paths, "_best", search):
        found = aligner.align(options.audio, options.text.read_text(encoding="utf-8"))
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(*provenance_lines(about, "1 round"), sep="\n")
    print(f"* recording: {found.duration:.0f} s, {len(found.words)} words, {found.status}")
    print(f"* {found.duration / seconds:.0f} times real time")
    print(f"* the search takes {100 * search.seconds / seconds:.1f} % of it")
    print(f"* peak memory of the process: {peak / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
