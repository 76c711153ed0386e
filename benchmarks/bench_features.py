"""What it costs that the loss is an operator of PyTorch: compiled against plain, alone and in a model.

    python benchmarks/bench_features.py                 # a table on the terminal
    python benchmarks/bench_features.py --markdown docs/benchmarks_features.md
    python benchmarks/bench_features.py --before TREE   # against another checkout of this repository, too

The two of a pair take turns; figures are medians and ratios of medians within one run.  They are
processor time of one thread, so that other work on the machine counts little.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import environment, provenance_lines, size_option, write
from empty_operator import nothing
from torch import Tensor, nn

from espnet_ottc import ottc_loss

Loss = Callable[..., Tensor]  # with the arguments of `ottc_loss`
SIZES = ((16, 500, 32, 120), (16, 500, 500, 60), (4, 100, 32, 25), (1, 1, 2, 1))
STEPS_A_TURN = 10
FEATURES, WIDTH = 80, 128  # of the model
# Takes numbers of steps from its input and answers with the median microseconds of one.
WORKER = """
import statistics, sys, time, torch
from espnet_ottc import ottc_loss
torch.set_num_threads(1)
B, T, V, U = map(int, sys.argv[1].split(","))
torch.manual_seed(0)
inputs = (torch.randn(B, T, V, requires_grad=True), torch.randn(B, T, requires_grad=True),
          torch.randint(0, V, (B, U)), torch.full((B,), T), torch.full((B,), U))
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        inputs[0].grad = inputs[1].grad = None
        start = time.thread_time()
        ottc_loss(*inputs).backward()
        times.append(time.thread_time() - start)
    print(1e6 * statistics.median(times), flush=True)
"""


class Model(nn.Module):
    """A small encoder of frames, a linear layer for labels and one for frame weights, and the loss."""

    def __init__(self, vocabulary: int, loss: Loss) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(FEATURES, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.GELU(),
            nn.Linear(WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.GELU(),
        )
        self.labels, self.frames = nn.Linear(WIDTH, vocabulary), nn.Linear(WIDTH, 1)
        self.loss = loss

    def forward(self, features: Tensor, *rest: Tensor) -> Tensor:
        """The mean loss of (B, T, 80) features; the rest as for `ottc_loss`."""
        hidden = self.encoder(features)
        loss: Tensor = self.loss(self.labels(hidden), self.frames(hidden).squeeze(-1), *rest)
        return loss


def alone_compiled_over_plain(
    loss: Loss, size: tuple[int, int, int, int], rounds: int
) -> tuple[float, float]:
    """Median microseconds of a plain and of a compiled step of the loss alone."""
    B, T, V, _ = size
    torch.manual_seed(0)
    inputs = (torch.randn(B, T, V, requires_grad=True), torch.randn(B, T, requires_grad=True))
    compiled = torch.compile(loss, fullgraph=True)
    return _in_turns(loss, compiled, (*inputs, *_texts(size)), inputs, rounds)


def model_compiled_over_plain(
    loss: Loss, size: tuple[int, int, int, int], rounds: int
) -> tuple[float, float]:
    """Median microseconds of a plain and of a compiled step of a model with the loss."""
    B, T, V, _ = size
    torch.manual_seed(0)
    model = Model(V, loss)
    arguments = (torch.randn(B, T, FEATURES), *_texts(size))
    compiled = torch.compile(model, fullgraph=True)
    return _in_turns(model, compiled, arguments, tuple(model.parameters()), rounds)


def _texts(size: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    B, T, V, U = size
    return torch.randint(0, V, (B, U)), torch.full((B,), T), torch.full((B,), U)


def _in_turns(
    plain: Callable[..., Tensor],
    compiled: Callable[..., Tensor],
    arguments: tuple[Tensor, ...],
    leaves: tuple[Tensor, ...],
    rounds: int,
) -> tuple[float, float]:
    """Median microseconds of each, forward and backward; `leaves` get the gradients."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_number in range(rounds + 1):
        for step, measured in zip((plain, compiled), times, strict=True):
            for _ in range(STEPS_A_TURN):
                for leaf in leaves:
                    leaf.grad = None
                start = time.thread_time()
                step(*arguments).backward()
                if round_number:  # the first compiles
                    measured.append(1e6 * (time.thread_time() - start))
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
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=size_option, nargs="+", default=SIZES, metavar="B,T,V,U")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--alone", action="store_true", help="leave the model out")
    parser.add_argument(
        "--before", type=Path, help="a checkout with its kernel built, to compare with"
    )
    parser.add_argument("--markdown", type=Path, help="write the document here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.device, options.dtype, options.seed = "cpu", "float32", 0
    document = "\n".join([*_head(options), *_rows(options)]) + "\n"
    print(document)
    if options.markdown:
        write(options.markdown, document)


def _head(options: argparse.Namespace) -> list[str]:
    rounds = f"{options.rounds} rounds of {STEPS_A_TURN}"
    return [
        "# Benchmarks of PyTorch features",
        "",
        "Generated by `benchmarks/bench_features.py`; do not edit. Median microseconds of processor time of",
        "one training step (forward and backward) on one thread, the two of each pair in turns.",
        "Compiled: by `torch.compile(fullgraph=True)`.",
        "",
        "*Nothing* is an operator with the arguments and results of the loss that computes nothing. What it",
        "costs more when compiled is PyTorch's own: alone, the price of entering a compiled program; in a",
        "model, what becomes of the model's other operators as well.",
        "",
        f"The model has an encoder of two layers of {WIDTH} units on {FEATURES} features a frame, a linear",
        "layer for labels, one for frame weights, and the loss, all in one compiled program.",
        "",
        *provenance_lines(environment(options, ("torch",)), rounds),
        "",
        "| B, T, V, U | pair | first, µs | second, µs | second − first, µs | second / first |",
        "|---|---|---|---|---|---|",
    ]


def _rows(options: argparse.Namespace) -> list[str]:
    rows = []
    for size in options.size:
        losses: dict[str, Loss] = {"loss": ottc_loss, "nothing": nothing}
        pairs = {
            f"{name} alone: plain, compiled": alone_compiled_over_plain(loss, size, options.rounds)
            for name, loss in losses.items()
        }
        if not options.alone:
            pairs |= {
                f"model with {name}: plain, compiled": model_compiled_over_plain(
                    loss, size, options.rounds
                )
                for name, loss in losses.items()
            }
        if options.before:
            pairs["loss alone: before, now"] = now_over_before(
                size, options.before.resolve(), options.rounds
            )
        sizes = ", ".join(map(str, size))
        rows += [
            f"| {sizes} | {name} | {first:.0f} | {second:.0f} | {second - first:+.0f} "
            f"| {second / first:.2f} |"
            for name, (first, second) in pairs.items()
        ]
    return rows


if __name__ == "__main__":
    main()
