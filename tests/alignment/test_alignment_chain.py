"""From posteriors to scores: planted word times come back through aligner, files and metrics."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.metrics import AlignmentScores, compare_spans
from espnet_ottc.alignment.spans import FrameGrid, Span, words_from_tokens

TOKENS = ["<blank>", "<space>", *"ABCDEFGH"]
SHIFT = 0.04


def _planted(seed: int) -> tuple[list[Span], list[int], Tensor, Tensor, Tensor]:
    """Words at times off the frame grid, their labels, and what an ideal model would see.

    Each frame's posterior is the share of the frame that each label covers.  Frame weights are
    drawn at random; a label weighs what the frames weigh that it covers.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = [1]
    for _ in range(5):
        word = torch.randperm(8, generator=generator)[:3] + 2
        labels += [*word.tolist(), 1]
    lengths = 0.06 + 0.15 * torch.rand(len(labels), generator=generator, dtype=torch.float64)
    edges = torch.cat([torch.zeros(1), lengths.cumsum(0)])
    T = int(edges[-1] / SHIFT)
    frames = SHIFT * torch.arange(T + 1, dtype=torch.float64)
    shared = (
        torch.minimum(frames[1:, None], edges[None, 1:])
        - torch.maximum(frames[:-1, None], edges[None, :-1])
    ).clamp(min=0)
    posteriors = torch.zeros(T, len(TOKENS), dtype=torch.float64)
    posteriors.index_add_(1, torch.tensor(labels), shared / SHIFT)
    log_probs = (posteriors + 1e-4).log().log_softmax(-1)
    edges[-1] = T * SHIFT
    alpha = torch.rand(T, generator=generator, dtype=torch.float64) + 0.1
    alpha /= alpha.sum()
    beta = alpha @ (shared / SHIFT)
    tokens = [
        Span(TOKENS[label], float(edges[u]), float(edges[u + 1])) for u, label in enumerate(labels)
    ]
    return words_from_tokens(tokens, "char"), labels, log_probs, alpha, beta


def _scores(folder: Path, name: str, **options: bool) -> AlignmentScores:
    compared = []
    for seed in range(8):
        reference, labels, log_probs, alpha, beta = _planted(seed)
        batch = AlignmentBatch(
            ["utt"],
            log_probs[None],
            torch.tensor([len(log_probs)]),
            torch.tensor([labels]),
            torch.tensor([len(labels)]),
            alpha[None],
            beta[None],
        )
        alignment = make_aligner(name, options).align(batch).alignments["utt"]
        spans = alignment.spans(TOKENS, FrameGrid(SHIFT), duration=len(log_probs) * SHIFT)
        formats.write_ctm(folder / "hyp.ctm", {"utt": words_from_tokens(spans, "char")})
        compared.append(compare_spans(reference, formats.read_ctm(folder / "hyp.ctm")["utt"]))
    return AlignmentScores.of(compared)


def test_the_plan_gives_back_planted_times_inside_the_frames(tmp_path: Path) -> None:
    row = _scores(tmp_path, "transport").as_row()
    assert (row["matched_words"], row["reference_words"]) == (40, 40)
    # The CTM holds microseconds.
    assert row["boundary_mae_ms"] == pytest.approx(0, abs=1e-3)
    assert row["strict_f1_20ms"] == 100


def test_crossing_posteriors_are_nearer_than_frame_edges(tmp_path: Path) -> None:
    sharp = _scores(tmp_path, "viterbi", subframe=True).as_row()
    hard = _scores(tmp_path, "viterbi", subframe=False).as_row()
    assert (hard["within_20ms"], sharp["within_20ms"]) == (100, 100)
    # A frame edge is a quarter of a frame off on average.
    assert float(hard["boundary_mae_ms"] or 0) == pytest.approx(10, abs=2)
    assert float(sharp["boundary_mae_ms"] or 0) < 0.8 * float(hard["boundary_mae_ms"] or 0)
