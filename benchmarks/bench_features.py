"""What it costs that the loss is an operator of PyTorch: compiled against plain, and a step without numbers.

    python benchmarks/bench_features.py                 # a table on the terminal
    python benchmarks/bench_features.py --before TREE   # against another checkout of this repository, too

The two of a pair take turns; figures are medians and ratios of medians within one run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import size_option

from espnet_ottc import ottc_loss

SIZES = ((16, 500, 32, 120), (16, 500, 500, 60), (1, 1, 2, 1))
STEPS_A_TURN = 30
# Takes numbers of steps from its input and answers with the median microseconds of one.
WORKER = """
import statistics, sys, time, torch
from espnet_ottc import ottc_loss
B, T, V, U = map(int, sys.argv[1].split(","))
torch.manual_seed(0)
inputs = (torch.randn(B, T, V, requires_grad=True), torch.randn(B, T, requires_grad=True),
          torch.randint(0, V, (B, U)), torch.full((B,), T), torch.full((B,), U))
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        inputs[0].grad = inputs[1].grad = None
        start = time.perf_counter()
        ottc_loss(*inputs).backward()
        times.append(time.perf_counter() - start)
    print(1e6 * statistics.median(times), flush=True)
"""


def compiled_over_plain(size: tuple[int, int, int, int], rounds: int) -> tuple[float, float]:
    """Median microseconds of a plain and of a compiled step."""
    B, T, V, U = size
    torch.manual_seed(0)
    inputs = (torch.randn(B, T, V, requires_grad=True), torch.randn(B, T, requires_grad=True))
    rest = (torch.randint(0, V, (B, U)), torch.full((B,), T), torch.full((B,), U))
    steps = (ottc_loss, torch.compile(ottc_loss, fullgraph=True))
    times: tuple[list[float], list[float]] = ([], [])
    for round_number in range(rounds + 1):
        for step, measured in zip(steps, times, strict=True):
            for _ in range(STEPS_A_TURN):
                inputs[0].grad = inputs[1].grad = None
                start = time.perf_counter()
                step(*inputs, *rest).backward()
                if round_number:  # the first compiles
                    measured.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def now_over_before(
    size: tuple[int, int, int, int], before: Path, rounds: int
) -> tuple[float, float]:
    """Median microseconds of a step of the checkout `before` and of this one, in turns."""
    trees = (before, Path(__file__).parents[1])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, ",".join(map(str, size))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )
        for tree in trees
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for worker, measured in zip(workers, times, strict=True):
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(f"{STEPS_A_TURN}\n")
            worker.stdin.flush()
            measured.append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=size_option, nargs="+", default=SIZES, metavar="B,T,V,U")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--before", type=Path, help="a checkout with its kernel built, to compare with"
    )
    options = parser.parse_args()
    print("| B, T, V, U | pair | µs | µs | ratio |\n|---|---|---|---|---|")
    for size in options.size:
        pairs = {"plain, compiled": compiled_over_plain(size, options.rounds)}
        if options.before:
            pairs["before, now"] = now_over_before(size, options.before.resolve(), options.rounds)
        for name, (first, second) in pairs.items():
            sizes = ", ".join(map(str, size))
            print(f"| {sizes} | {name} | {first:.0f} | {second:.0f} | {second / first:.2f} |")


if __name__ == "__main__":
    main()
