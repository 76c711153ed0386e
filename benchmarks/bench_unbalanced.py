"""Time and memory of unbalanced transport: its plan and gradient beside the dense cost that it starts from,
and OTTC's step with a null capacity beside one without.

    python benchmarks/bench_unbalanced.py                    # a table on the terminal
    python benchmarks/bench_unbalanced.py --markdown docs/benchmarks_unbalanced.md
    python benchmarks/bench_unbalanced.py --device cuda

Each way takes its turn, round after round, in an order drawn anew; the figures are medians, on a CPU of the
processor's time, which other programs change little.  Only ratios within one run mean anything.  The implicit
and the unrolled gradient are checked against each other, and the plans against POT's.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from bench_loss import make_problem, null_step, ottc_step
from common import environment, optional, parse_options, peak_over, provenance_lines, publish, timed
from torch import Tensor
from torch.nn import functional as F

from espnet_ottc.ops.unbalanced import unbalanced_transport_plan

# B, T, U and d, the size of the vectors that are compared.
SIZES = ((16, 250, 30, 256), (16, 250, 30, 768), (16, 400, 120, 768), (8, 750, 100, 768))
ITERATIONS = 50
STRENGTHS = {"reg": 0.05, "reg_m_frames": 0.5, "reg_m_tokens": 1.0}
# B, T, V, U of OTTC's steps.
LOSS_SIZES = ((16, 500, 32, 120), (16, 500, 500, 60), (16, 500, 5000, 60), (8, 1500, 32, 400))
STEP_ROUNDS = 21
COST, PLAN, IMPLICIT, UNROLLED, POT = "cost", "plan", "implicit", "unrolled", "POT"
PACKAGES = ("torch", "POT")

Size = tuple[int, int, int, int]


@dataclass(frozen=True)
class Row:
    """What was measured at one size."""

    size: Size
    milliseconds: dict[str, float]
    peak_memory_over_cost: dict[str, float]


@dataclass(frozen=True)
class Batch:
    """Vectors of frames (B, T, d) and tokens (B, U, d), their distances, and a gradient of the plan."""

    frames: Tensor
    tokens: Tensor
    cost: Tensor
    grad: Tensor


def cosine_cost(frames: Tensor, tokens: Tensor) -> Tensor:
    """(B, T, U) cosine distances."""
    normal = F.normalize(frames, dim=2), F.normalize(tokens, dim=2)
    return 1 - normal[0] @ normal[1].transpose(1, 2)


def make_batch(size: Size, device: str, seed: int) -> Batch:
    """Random vectors, as many frames and tokens in each utterance."""
    B, T, U, d = size
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(B, T, d, generator=generator).to(device).requires_grad_()
    tokens = torch.randn(B, U, d, generator=generator).to(device).requires_grad_()
    cost = cosine_cost(frames, tokens).detach().requires_grad_()
    return Batch(frames, tokens, cost, torch.rand(B, T, U, generator=generator).to(device))


def ways(batch: Batch) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""

    def cost() -> Any:
        distances = cosine_cost(batch.frames, batch.tokens)
        return torch.autograd.grad(distances, (batch.frames, batch.tokens), batch.grad)

    def plan() -> Any:
        with torch.no_grad():
            return _plan(batch.cost, "none")

    def gradient(kind: str) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(_plan(batch.cost, kind), batch.cost, batch.grad)

    found: dict[str, Callable[[], Any]] = {
        COST: cost, PLAN: plan, IMPLICIT: gradient("implicit"), UNROLLED: gradient("unrolled"),
    }  # fmt: skip
    if ot := optional("ot"):
        found[POT] = lambda: _pot(ot, batch.cost)
    return found


def _plan(cost: Tensor, gradient: Any) -> Tensor:
    return unbalanced_transport_plan(
        cost, **STRENGTHS, max_iter=ITERATIONS, gradient=gradient, validate=False
    ).plan


def _pot(ot: Any, cost: Tensor, iterations: int = ITERATIONS) -> list[Any]:
    """Plans of one utterance after the other; without gradients."""
    strengths = STRENGTHS["reg_m_frames"], STRENGTHS["reg_m_tokens"]
    T, U = cost.shape[1:]
    a, b = torch.full((T,), 1 / T).numpy(), torch.full((U,), 1 / U).numpy()
    return [
        ot.unbalanced.sinkhorn_unbalanced(
            a, b, utterance, STRENGTHS["reg"], strengths, stopThr=0.0, numItermax=iterations
        )
        for utterance in cost.detach().cpu().numpy()
    ]


def check(batch: Batch) -> None:
    """Stop where two ways disagree about plan or gradient."""
    found = [
        unbalanced_transport_plan(batch.cost, **STRENGTHS, max_iter=500, gradient=kind).plan
        for kind in ("implicit", "unrolled")
    ]
    grads = [torch.autograd.grad(plan, batch.cost, batch.grad)[0] for plan in found]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-2, atol=1e-5)
    if ot := optional("ot"):
        for plan, expected in zip(found[0], _pot(ot, batch.cost[:1], 2000), strict=False):
            torch.testing.assert_close(
                plan.detach().cpu(), torch.as_tensor(expected).to(plan.dtype), rtol=1e-2, atol=1e-6
            )


def peak_memory(size: Size, name: str, device: str, seed: int) -> float:
    """Peak of what plan and gradient take in a fresh process, as a multiple of one (B, T, U) tensor."""
    # Imports and first-time set-up do not count.
    ways(make_batch((2, 20, 4, 8), device, seed))[name]()
    batch = make_batch(size, device, seed)
    work = ways(batch)[name]
    return peak_over(batch.cost, work)


def clock_of(device: str) -> Callable[[], float] | None:
    """What measures: the processor's time of this process, or the wall's where a GPU works."""
    return time.process_time if device == "cpu" else None


def null_steps(size: Size, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a step of OTTC's loss without a null capacity and with one."""
    problem = make_problem(size, options.device, torch.float32, options.seed)
    ways = {"without": ottc_step(problem, "auto"), "with": null_step(problem)}

    steps = 1 if size[2] > 1000 else 10  # so that one measurement takes milliseconds

    def several(step: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                step()

        return run

    taking_turns = {name: several(step) for name, step in ways.items()}
    found = timed(taking_turns, STEP_ROUNDS, clock_of(options.device))
    return {name: milliseconds / steps for name, milliseconds in found.items()}


def measure(size: Size, options: argparse.Namespace) -> Row:
    """All ways at one size."""
    batch = make_batch(size, options.device, options.seed)
    check(batch)
    memory = {}
    for name in (IMPLICIT, UNROLLED):
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            memory[name] = fresh.apply(peak_memory, (size, name, options.device, options.seed))
    return Row(size, timed(ways(batch), options.rounds, clock_of(options.device)), memory)


def markdown(about: dict[str, Any], rows: list[Row], steps: dict[Size, dict[str, float]]) -> str:
    """The report as a document."""
    pot = f" | {POT}: plans alone, ms" if POT in rows[0].milliseconds else ""
    lines = [
        "# Benchmarks of unbalanced transport",
        "",
        "Generated by `benchmarks/bench_unbalanced.py`; do not edit. A batch has B utterances of T frames",
        f"and U tokens, vectors of size d, and {ITERATIONS} steps are made. *Cost* is the cosine distance of",
        "all frames and tokens with its own gradient, which any loss on it pays. The last columns have the",
        "peak memory of plan and gradient, in (B, T, U) tensors of float32. On a CPU, time is the process's.",
        "",
        *provenance_lines(about, f"{about['rounds']} rounds"),
        f"* tensors on: {about['device']}",
        "",
        "| B, T, U, d | cost, ms | plan, ms | plan and implicit gradient, ms | over the cost "
        f"| plan and unrolled gradient, ms{pot} | memory, implicit | memory, unrolled |",
    ]
    lines.append("|---" * (lines[-1].count("|") - 1) + "|")
    for row in rows:
        times = row.milliseconds
        cells = [
            ", ".join(map(str, row.size)),
            *(f"{times[n]:.1f}" for n in (COST, PLAN, IMPLICIT)),
        ]
        cells += [f"{times[IMPLICIT] / times[COST]:.2f}", f"{times[UNROLLED]:.1f}"]
        cells += [f"{times[POT]:.1f}"] if pot else []
        cells += [f"{row.peak_memory_over_cost[name]:.1f}" for name in (IMPLICIT, UNROLLED)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [] if pot else ["", "Not installed: POT."]
    lines += [
        "",
        "## OTTC's step with a null capacity",
        "",
        f"Forward and backward, {STEP_ROUNDS} rounds.",
        "",
        "| B, T, V, U | without, ms | with, ms | ratio |",
        "|---|---|---|---|",
    ]
    for size, times in steps.items():
        cells = [", ".join(map(str, size)), f"{times['without']:.2f}", f"{times['with']:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{times['with'] / times['without']:.2f}"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, and write what was asked for."""
    options = parse_options(
        __doc__, SIZES, turns="each way", letters="B,T,U,d", dtypes=("float32",)
    )
    about = {**environment(options, PACKAGES), "device": options.device}
    rows = [measure(size, options) for size in options.size]
    steps = {size: null_steps(size, options) for size in LOSS_SIZES}
    figures = {
        "environment": about,
        "sizes": [vars(row) for row in rows],
        "null_capacity": [{"size": size, **times} for size, times in steps.items()],
    }
    publish(markdown(about, rows, steps), figures, options)


if __name__ == "__main__":
    main()
