"""Speed and memory of the OTTC loss, forward and backward, against other losses in the same run.

    python benchmarks/bench_loss.py                        # two tables on the terminal
    python benchmarks/bench_loss.py --markdown docs/benchmarks.md --json bench_loss.json
    python benchmarks/bench_loss.py --device cuda --markdown docs/benchmarks_gpu.md

The losses take turns, round after round, so that a busy moment of the machine hits all of them; the
figures are medians.  Only ratios within one run mean anything.  On the CPU they are processor time on one
thread, which other work on the machine touches little; on a GPU they are times by the wall.
"""

import argparse
import importlib
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import environment, optional, parse_options, provenance_lines, publish
from torch import Tensor

from espnet_ottc import ottc_loss

SIZES = (
    (16, 500, 32, 120),
    (16, 500, 500, 60),
    (16, 500, 5000, 60),
    (8, 1500, 32, 400),
    (8, 1500, 500, 200),
)
SWEEP = (1_000, 3_000, 10_000, 30_000, 100_000)
PACKAGES = ("torch", "numpy", "POT", "tslearn", "k2", "triton")
OURS = "ottc"
NULL = "ottc, null capacity"
RUNS_A_TURN = 10

Step = Callable[[], None]
# Of something to run, and a number of rounds, the median milliseconds.
Clock = Callable[[Callable[[], object], int], float]


@dataclass(frozen=True)
class Problem:
    """One random batch at full lengths."""

    logits: Tensor
    frame_logits: Tensor
    targets: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor
    frame_targets: Tensor

    @property
    def loss_arguments(self) -> tuple[Tensor, ...]:
        """The arguments of `ottc_loss`."""
        return tuple(vars(self).values())[:5]

    @property
    def size(self) -> tuple[int, int, int, int]:
        """B, T, V, U."""
        B, T, V = self.logits.shape
        return B, T, V, self.targets.shape[1]


def make_problem(
    size: tuple[int, int, int, int], device: str, dtype: torch.dtype, seed: int
) -> Problem:
    """Random logits and labels (never the blank, never repeated, so that CTC is feasible)."""
    B, T, V, U = size
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(1, V - 1, (B, U), generator=generator)
    return Problem(
        torch.randn(B, T, V, generator=generator).to(device, dtype).requires_grad_(),
        torch.randn(B, T, generator=generator).to(device, dtype).requires_grad_(),
        (steps.cumsum(1) % (V - 1) + 1).to(device),
        torch.full((B,), T, device=device),
        torch.full((B,), U, device=device),
        torch.randint(0, V, (B * T,), generator=generator).to(device),
    )


def ottc_step(problem: Problem, backend: str) -> Step:
    """The loss of this package."""
    return lambda: ottc_loss(*problem.loss_arguments, backend=backend).backward()


def null_step(problem: Problem) -> Step:
    """The loss with a place for mass that matches nothing."""
    return lambda: ottc_loss(*problem.loss_arguments, null_capacity=0.6, null_weight=3.0).backward()


def frozen_step(problem: Problem) -> Step:
    """The loss with frame weights that need no gradient."""
    logits, scores, *rest = problem.loss_arguments
    scores = scores.detach()
    return lambda: ottc_loss(logits, scores, *rest).backward()


def ctc_step(problem: Problem) -> Step:
    """PyTorch's CTC from the same logits; float32, which is all that it offers."""

    def step() -> None:
        log_probs = problem.logits.float().log_softmax(2).transpose(0, 1)
        lengths = (problem.logit_lengths, problem.target_lengths)
        F.ctc_loss(log_probs, problem.targets, *lengths).backward()

    return step


def cross_entropy_step(problem: Problem) -> Step:
    """Frame cross-entropy: the floor, one label per frame known beforehand."""
    logits = problem.logits
    return lambda: F.cross_entropy(logits.flatten(0, 1), problem.frame_targets).backward()


def dense_step(problem: Problem) -> Step:
    """The definition on the full (B, T, U) plan, by autograd."""

    def step() -> None:
        alpha = problem.frame_logits.float().softmax(1)
        A = alpha.cumsum(1)
        U = problem.targets.shape[1]
        B = torch.arange(1, U + 1, device=A.device) / U
        overlap = torch.minimum(A[:, :, None], B) - torch.maximum(
            (A - alpha)[:, :, None], B - 1 / U
        )
        index = problem.targets[:, None].expand(-1, A.shape[1], -1)
        log_probs = problem.logits.float().log_softmax(2).gather(2, index)
        (-(overlap.clamp(min=0) * log_probs).sum((1, 2)).mean()).backward()

    return step


def pot_step(problem: Problem) -> Step | None:
    """POT's `emd_1d`, one utterance after the other: the plan alone, without any gradient."""
    ot = optional("ot")
    B, T, _, U = problem.size
    if ot is None or problem.logits.device.type != "cpu":
        return None
    alpha = problem.frame_logits.detach().double().softmax(1).numpy()
    beta = np.full(U, 1 / U)
    frames, labels = np.arange(T) * 1.0, np.arange(U) * 1.0

    def step() -> None:
        for b in range(B):
            ot.emd_1d(frames, labels, alpha[b], beta, dense=False)

    return step


def soft_dtw_step(problem: Problem) -> Step | None:
    """tslearn's soft-DTW between label probabilities and one-hot targets (Cuturi, Blondel 2017)."""
    metrics = optional("tslearn.metrics")
    if metrics is None or problem.logits.device.type != "cpu" or problem.size[2] > 32:
        return None
    importlib.import_module("numba").set_num_threads(1)  # it loops over the batch on all otherwise
    loss = metrics.SoftDTWLossPyTorch(gamma=1.0)
    V = problem.size[2]
    one_hot = F.one_hot(problem.targets, V).float()
    return lambda: loss(problem.logits.softmax(2), one_hot).mean().backward()


def k2_step(problem: Problem) -> Step | None:
    """k2's CTC, graph construction included."""
    k2 = optional("k2")
    if k2 is None:
        return None
    B, T, _, _ = problem.size
    supervisions = torch.tensor([[b, 0, T] for b in range(B)], dtype=torch.int32)
    lengths = problem.target_lengths.cpu()

    def step() -> None:
        graph = k2.ctc_graph(problem.targets.tolist(), device=problem.logits.device)
        lattice = k2.DenseFsaVec(problem.logits.float().log_softmax(2), supervisions)
        k2.ctc_loss(graph, lattice, reduction="mean", target_lengths=lengths).backward()

    return step


def compared(problem: Problem) -> dict[str, Step | None]:
    """Name to one forward and backward pass; None where it cannot run here."""
    return {
        OURS: ottc_step(problem, "auto"),
        NULL: null_step(problem),
        "ottc, frozen alpha": frozen_step(problem),
        "ottc, plain PyTorch": ottc_step(problem, "eager"),
        "cross-entropy": cross_entropy_step(problem),
        "torch CTC": ctc_step(problem),
        "dense formula": dense_step(problem),
        "POT emd_1d loop (plan only)": pot_step(problem),
        "soft-DTW (tslearn)": soft_dtw_step(problem),
        "k2 CTC": k2_step(problem),
    }


def time_steps(problem: Problem, steps: dict[str, Step | None], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step, the steps taking turns in an order drawn anew each round.

    In its turn a step runs unmeasured first, since the one before it has filled the caches and left its
    threads spinning, then a few times measured.  A slow one (over a quarter of a second) has two turns
    of one measured run.
    """
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name, step in steps.items() if step}
    slow: set[str] = set()
    for round_number in range(rounds):
        order = list(times)
        shuffle(order)
        for name in order:
            if name in slow and round_number > 1:
                continue
            step = steps[name]
            assert step is not None
            if name not in slow:
                warm_up = [run_once(problem, step) for _ in range(2)]
                if min(warm_up) > 250:
                    slow.add(name)
            for _ in range(1 if name in slow else RUNS_A_TURN):
                times[name].append(run_once(problem, step))
    return {name: statistics.median(values) for name, values in times.items()}


def run_once(problem: Problem, step: Step) -> float:
    """Milliseconds of one step without gradients left from before."""
    problem.logits.grad = problem.frame_logits.grad = None
    start = now(problem)
    step()
    return 1e3 * (now(problem) - start)


def now(problem: Problem) -> float:
    """Seconds: of the wall after all queued work of a GPU, else of the processor, all threads together."""
    if problem.logits.device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(problem: Problem, step: Step) -> float:
    """Peak of what one step allocates, as a multiple of the logits' own size."""
    problem.logits.grad = problem.frame_logits.grad = None
    size = problem.logits.numel() * problem.logits.element_size()
    if problem.logits.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / size
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        step()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / size


def measure(size: tuple[int, int, int, int], options: argparse.Namespace) -> dict[str, Any]:
    """All losses at one size, with the ratios that matter."""
    problem = make_problem(size, options.device, getattr(torch, options.dtype), options.seed)
    steps = compared(problem)
    times = time_steps(problem, steps, options.rounds)
    memory = {
        name: peak_memory(problem, step)
        for name, step in steps.items()
        if step and name in (OURS, "ottc, plain PyTorch", "cross-entropy", "torch CTC")
    }
    row = {
        "size": dict(zip("BTVU", size, strict=True)),
        "milliseconds": times,
        "peak_memory_over_logits": memory,
        "times_faster_than_ctc": times["torch CTC"] / times[OURS],
        "cost_over_cross_entropy": times[OURS] / times["cross-entropy"],
        "cost_of_null_capacity": times[NULL] / times[OURS],
    }
    if options.device == "cuda":
        row["device"] = device_figures(problem, options.rounds, device_time)
    return row


def device_figures(problem: Problem, rounds: int, clock: Clock) -> dict[str, float]:
    """What the GPU alone needs, without launches, and how near a plain copy of the logits that comes.

    The forward pass must read the logits once, the backward pass read them and write their gradient.
    """
    logits = problem.logits.detach()
    target = torch.empty_like(logits)
    inputs = [problem.logits, problem.frame_logits]
    copy = clock(lambda: target.copy_(logits), rounds)
    forward = clock(lambda: ottc_loss(*problem.loss_arguments), rounds)
    both = clock(lambda: torch.autograd.grad(ottc_loss(*problem.loss_arguments), inputs), rounds)
    cross_entropy = clock(
        lambda: torch.autograd.grad(
            F.cross_entropy(problem.logits.flatten(0, 1), problem.frame_targets), problem.logits
        ),
        rounds,
    )
    return {
        "ottc": both,
        "cross-entropy": cross_entropy,
        "copy": copy,
        "forward_share_of_copy_bandwidth": copy / 2 / forward,
        "backward_share_of_copy_bandwidth": copy / (both - forward),
    }


def device_time(step: Callable[[], object], rounds: int) -> float:
    """Median milliseconds of a step in replays of a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(RUNS_A_TURN):
            step()
    times: list[float] = []
    for _ in range(rounds + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / RUNS_A_TURN)
    return statistics.median(times[1:])


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Time against T+U at V = 32, one utterance, four frames a label; the slope in log-log."""
    points = []
    for total in SWEEP:
        size = (1, total * 4 // 5, 32, total // 5)
        problem = make_problem(size, options.device, getattr(torch, options.dtype), options.seed)
        times = time_steps(problem, {OURS: ottc_step(problem, "auto")}, options.rounds)
        points.append({"frames_and_labels": total, "milliseconds": times[OURS]})
    x = [math.log(point["frames_and_labels"]) for point in points]
    y = [math.log(point["milliseconds"]) for point in points]
    return {"points": points, "log_log_slope": statistics.linear_regression(x, y).slope}


def markdown(report: dict[str, Any]) -> str:
    """The report as a document."""
    return "\n".join([*_head(report), *_times(report), *_ratios(report), *_growth(report)]) + "\n"


def _head(report: dict[str, Any]) -> list[str]:
    about = report["environment"]
    clock = "by the wall" if _on_gpu(report) else "of processor time on one thread"
    return [
        "# Benchmarks of the loss",
        "",
        "Generated by `benchmarks/bench_loss.py`; do not edit. One training step (forward and backward) of",
        f"each loss on the same logits, in median milliseconds {clock}.",
        "B utterances, T frames, V labels in the vocabulary, U labels in the target.",
        "",
        *provenance_lines(about, f"{about['rounds']} rounds of {RUNS_A_TURN}"),
        "",
    ]


def _times(report: dict[str, Any]) -> list[str]:
    names = list(report["sizes"][0]["milliseconds"])
    rows = []
    for row in report["sizes"]:
        times = row["milliseconds"]
        rows.append([_size(row), *(f"{times[n]:.3g}" if n in times else "–" for n in names)])
    table = _table(["B, T, V, U", *names], rows)
    return [*table, "", "– : not run (too large for it, or not installed).", ""]


def _ratios(report: dict[str, Any]) -> list[str]:
    headings = [
        "B, T, V, U",
        "times faster than CTC",
        "cost over cross-entropy",
        "with null capacity, over ottc",
        "peak memory over the logits'",
    ]
    lines = []
    if _on_gpu(report):
        headings += ["on the GPU alone: ms", "over cross-entropy's", "forward / backward"]
        lines += [
            "The columns after the memory are the GPU's own time in replays of a CUDA graph, where launches",
            "cost nothing. Forward and backward are shares of a copy's bandwidth. They count one read of the",
            "logits in the forward pass, and one read and one write in the backward pass.",
            "",
        ]
    return [*lines, *_table(headings, [_ratios_of(row) for row in report["sizes"]]), ""]


def _ratios_of(row: dict[str, Any]) -> list[str]:
    cells = [
        _size(row),
        f"{row['times_faster_than_ctc']:.0f}",
        f"{row['cost_over_cross_entropy']:.2f}",
        f"{row['cost_of_null_capacity']:.2f}",
        f"{row['peak_memory_over_logits'][OURS]:.2f}",
    ]
    if "device" in row:
        device = row["device"]
        shares = [device[f"{way}_share_of_copy_bandwidth"] for way in ("forward", "backward")]
        cells += [
            f"{device[OURS]:.3g}",
            f"{device[OURS] / device['cross-entropy']:.2f}",
            " / ".join(f"{share:.0%}" for share in shares),
        ]
    return cells


def _growth(report: dict[str, Any]) -> list[str]:
    points = [
        [str(point["frames_and_labels"]), f"{point['milliseconds']:.3g}"]
        for point in report["sweep"]["points"]
    ]
    slope = report["sweep"]["log_log_slope"]
    return [
        f"Growth with T+U at V = 32 (one utterance): log-log slope {slope:.2f}.",
        "",
        *_table(["T+U", "ms"], points),
    ]


def _on_gpu(report: dict[str, Any]) -> bool:
    return "device" in report["sizes"][0]


def _size(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["size"].values()))


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    separator = "|---" * len(headings) + "|"
    return [f"| {' | '.join(headings)} |", separator, *(f"| {' | '.join(row)} |" for row in rows)]


def main() -> None:
    """Run, print, and write what was asked for."""
    options = parse_options(__doc__, SIZES, turns="each loss")
    if options.device == "cpu":
        torch.set_num_threads(1)
    report = {
        "environment": environment(options, PACKAGES),
        "sizes": [measure(size, options) for size in options.size],
        "sweep": sweep(options),
    }
    publish(markdown(report), report, options)


if __name__ == "__main__":
    main()
