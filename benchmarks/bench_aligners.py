"""Throughput and memory of CTC forced alignment by each package that is installed, in the same run.

    python benchmarks/bench_aligners.py                     # a table on the terminal
    python benchmarks/bench_aligners.py --markdown docs/benchmarks_aligners.md
    python benchmarks/bench_aligners.py --device cuda

The packages take turns, round after round, so that a busy moment of the machine hits all of them; the
figures are medians.  Only ratios within one run mean anything.  Every alignment is checked: both
packages must find paths of the same score.
"""

import argparse
import multiprocessing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from common import environment, optional, parse_options, peak_over, provenance_lines, publish, timed

from espnet_ottc.alignment.aligners import Aligner, AlignmentBatch, make_aligner

# The last is a batch of one, as `forced_align` takes them.
SIZES = (
    (16, 500, 32, 120),
    (16, 500, 500, 60),
    (16, 500, 5000, 60),
    (8, 1500, 32, 400),
    (1, 500, 32, 120),
)
PACKAGES = ("torch", "torchaudio", "k2")
ALIGNERS = {"torchaudio": "torchaudio_ctc", "k2": "k2_ctc"}
BASE = "torchaudio"


@dataclass(frozen=True)
class Row:
    """What was measured at one size; by package."""

    size: tuple[int, int, int, int]
    frames: int
    milliseconds: dict[str, float]
    peak_memory_over_log_probs: dict[str, float]

    def frames_per_second(self, name: str) -> float:
        """Valid frames aligned in a second."""
        return 1e3 * self.frames / self.milliseconds[name]

    def times_faster(self, name: str) -> float:
        """Throughput over torchaudio's."""
        return self.milliseconds[BASE] / self.milliseconds[name]


def make_batch(
    size: tuple[int, int, int, int], device: str, dtype: torch.dtype, seed: int
) -> AlignmentBatch:
    """Random utterances of 50 to 100 % of the full lengths.

    Each label has a run of frames that favour it, and the blank the rest, as a trained model has it.
    """
    B, T, V, U = size
    generator = torch.Generator().manual_seed(seed)
    shares = 0.5 + 0.5 * torch.rand(B, generator=generator)
    shares[0] = 1.0
    lengths, target_lengths = (T * shares).long(), (U * shares).long()
    # Never the blank, never repeated: T ≥ U frames are enough.
    steps = torch.randint(1, V - 1, (B, U), generator=generator)
    targets = steps.cumsum(1) % (V - 1) + 1
    logits = torch.randn(B, T, V, generator=generator)
    position = torch.arange(T)[None] * target_lengths[:, None] / lengths[:, None]
    label = position.long().clamp(max=U - 1)
    favoured = torch.where(position % 1 < 0.5, targets.gather(1, label), 0)
    logits.scatter_add_(2, favoured[:, :, None], torch.full((B, T, 1), 8.0))
    return AlignmentBatch(
        [f"utt{b}" for b in range(B)],
        logits.log_softmax(2).to(device, dtype),
        lengths.to(device),
        targets.to(device),
        target_lengths.to(device),
    )


def check_scores(batch: AlignmentBatch, aligners: dict[str, Aligner]) -> None:
    """Stop where two packages disagree about the best path's score."""
    totals: dict[str, list[float]] = {}
    for name, aligner in aligners.items():
        found = aligner.align(batch)
        totals[name] = []
        for b, utterance in enumerate(batch.utterance_ids):
            tokens = found.alignments[utterance].frame_tokens().to(batch.log_probs.device)
            emissions = batch.log_probs[b, : len(tokens)].gather(1, tokens[:, None])
            totals[name].append(float(emissions.double().sum()))
    for name, values in totals.items():
        torch.testing.assert_close(
            torch.tensor(values), torch.tensor(totals[BASE]), rtol=1e-5, atol=1e-3,
            msg=f"{name} and {BASE} find paths of different scores",
        )  # fmt: skip


def peak_memory(
    size: tuple[int, int, int, int], name: str, device: str, dtype: str, seed: int
) -> float:
    """Peak of what aligning one batch takes, as a multiple of the log-probabilities' own size.

    Run it in a fresh process.  On a GPU, k2 gets its memory from PyTorch, too.
    """
    aligner = make_aligner(ALIGNERS[name])
    # Imports and first-time set-up do not count.
    aligner.align(make_batch((2, 20, 8, 4), device, getattr(torch, dtype), seed))
    batch = make_batch(size, device, getattr(torch, dtype), seed)
    return peak_over(batch.log_probs, lambda: aligner.align(batch))


def measure(size: tuple[int, int, int, int], options: argparse.Namespace) -> Row:
    """All packages at one size."""
    batch = make_batch(size, options.device, getattr(torch, options.dtype), options.seed)
    aligners = {n: make_aligner(kind) for n, kind in ALIGNERS.items() if optional(n)}
    check_scores(batch, aligners)
    memory = {}
    for name in aligners:
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            arguments = (size, name, options.device, options.dtype, options.seed)
            memory[name] = fresh.apply(peak_memory, arguments)
    work = {name: partial(aligner.align, batch) for name, aligner in aligners.items()}
    times = timed(work, options.rounds)
    return Row(size, int(batch.lengths.sum()), times, memory)


def markdown(about: dict[str, Any], rows: list[Row]) -> str:
    """The report as a document."""
    names = list(rows[0].milliseconds)
    headings = [f"{name}, frames/s" for name in names]
    headings += [f"{name} over {BASE}" for name in names if name != BASE]
    headings += [f"{name}, peak memory over the log-probabilities'" for name in names]
    lines = [
        "# Benchmarks of CTC forced alignment",
        "",
        "Generated by `benchmarks/bench_aligners.py`; do not edit. Each package aligns the same batch. It",
        "has B utterances of 50 to 100 % of T frames and U labels, with V labels in the vocabulary. The",
        "table has the median throughput and its ratio to torchaudio's in the same run. torchaudio aligns",
        "one utterance after the other on the CPU. k2 aligns all together, where the posteriors lie.",
        "",
        *provenance_lines(about, f"{about['rounds']} rounds"),
        f"* posteriors on: {about['device']}",
        "",
        "| B, T, V, U | " + " | ".join(headings) + " |",
        "|---" * (len(headings) + 1) + "|",
    ]
    for row in rows:
        cells = [f"{row.frames_per_second(name):.3g}" for name in names]
        cells += [f"{row.times_faster(name):.2f}" for name in names if name != BASE]
        cells += [f"{row.peak_memory_over_log_probs[name]:.2f}" for name in names]
        lines.append("| " + " | ".join([", ".join(map(str, row.size)), *cells]) + " |")
    absent = [name for name in ALIGNERS if name not in names]
    lines += ["", f"Not installed: {', '.join(absent)}."] if absent else []
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, and write what was asked for."""
    options = parse_options(__doc__, SIZES, turns="each package")
    about = {**environment(options, PACKAGES), "device": options.device}
    rows = [measure(size, options) for size in options.size]
    figures = {"environment": about, "sizes": [vars(row) for row in rows]}
    publish(markdown(about, rows), figures, options)


if __name__ == "__main__":
    main()
