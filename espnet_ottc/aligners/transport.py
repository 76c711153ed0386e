"""Spans from the transport plan: sub-frame boundaries at no cost.

With A = cumsum(α) as a function of the position on the frame axis (linear inside a frame) and
B = cumsum(β), label u takes the time in which A runs from B(u−1) to B(u) (OTTC, arXiv 2502.01588,
Section 4.2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.aligners.interface import (
    NO_LABEL,
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    mean_probabilities,
)
from espnet_ottc.transport import cumulative_weights, join_ties, transport_plan
from espnet_ottc.validation import valid_mask


@dataclass(frozen=True)
class TransportAligner:
    """Reads the alignment off the plan between the model's frame weights and the label weights."""

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align each utterance; frames of weight 0 belong to no label.

        A label's score is the mean probability of the label, weighted by the mass that the plan
        moves.

        Raises:
            ValueError: no `alpha`; weights that are negative, not finite or do not sum to 1.
        """
        if batch.alpha is None:
            raise ValueError("the transport aligner needs frame weights: alpha is None")
        beta = (
            uniform_weights(batch.target_lengths, batch.targets)
            if batch.beta is None
            else batch.beta
        )
        result = AlignmentResult()
        for b in ((batch.lengths == 0) & (batch.target_lengths > 0)).nonzero()[:, 0].tolist():
            result.infeasible[batch.utterance_ids[b]] = (
                f"{int(batch.target_lengths[b])} labels, no frame"
            )
        # An utterance without frames takes no part; the plan would refuse it.
        label_lengths = torch.where(batch.lengths > 0, batch.target_lengths, 0)
        frame_lengths = torch.where(label_lengths > 0, batch.lengths, 0)
        plan = transport_plan(batch.alpha, beta, frame_lengths, label_lengths, validate=True)
        starts, ends = boundaries(batch.alpha, beta, frame_lengths, label_lengths)
        frame_labels = labels_at_centres(batch.alpha, beta, frame_lengths, label_lengths)
        for b, name in enumerate(batch.utterance_ids):
            if name in result.infeasible:
                continue
            T, U, S = int(batch.lengths[b]), int(label_lengths[b]), int(plan.lengths[b])
            targets = batch.targets[b, :U]
            scores = mean_probabilities(
                batch.log_probs[b],
                plan.frames[b, :S],
                plan.labels[b, :S],
                plan.mass[b, :S],
                targets,
            )
            result.alignments[name] = TokenAlignment(
                utterance_id=name,
                targets=targets.long().cpu(),
                frame_labels=frame_labels[b, :T].cpu(),
                starts=starts[b, :U].cpu(),
                ends=ends[b, :U].cpu(),
                scores=scores.detach().cpu(),
            )
        return result


def boundaries(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Where each label starts and ends on the frame axis.

    start(u) = sup {p : A(p) ≤ B(u−1)} and end(u) = inf {p : A(p) ≥ B(u)}: frames of weight 0
    between two labels belong to neither.  O((T+U) log T).

    Args:
        alpha: (B, T) frame weights, ≥ 0, sum 1 over the valid frames.
        beta: (B, U) label weights, > 0, sum 1 over the valid labels.
        frame_lengths: (B,) valid frames.
        label_lengths: (B,) valid labels.

    Returns:
        (B, U) starts and (B, U) ends, float64, in frames; 0 in the padding.
    """
    A, B = _cumulative(alpha, beta, frame_lengths, label_lengths)
    if not A.shape[1] or not B.shape[1]:
        zeros = torch.zeros_like(B)
        return zeros, zeros.clone()
    before = torch.cat([torch.zeros_like(B[:, :1]), B[:, :-1]], 1)
    valid = valid_mask(label_lengths, B.shape[1])
    starts = torch.where(valid, _crossing(A, before, after=True), 0.0)
    ends = torch.where(valid, _crossing(A, B, after=False), 0.0)
    return starts, ends


def labels_at_centres(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> Tensor:
    """(B, T) int64: the label whose time holds the frame's centre; −1 where a frame has no weight.

    A centre that is a boundary goes to the later label.
    """
    A, B = _cumulative(alpha, beta, frame_lengths, label_lengths)
    if not A.shape[1] or not B.shape[1]:
        return torch.full(A.shape, NO_LABEL, device=A.device)
    before = torch.cat([torch.zeros_like(A[:, :1]), A[:, :-1]], 1)
    labels = torch.searchsorted(B, (before + A) / 2, right=True)
    has_weight = (before < A) & valid_mask(frame_lengths, A.shape[1]) & (label_lengths > 0)[:, None]
    return torch.where(has_weight, labels, NO_LABEL)


def uniform_weights(lengths: Tensor, targets: Tensor) -> Tensor:
    """(B, U) float64 weights 1/U_b over the valid labels, 0 in the padding."""
    valid = valid_mask(lengths, targets.shape[1])
    return torch.where(valid, 1.0 / lengths.clamp(min=1)[:, None].double(), 0.0)


def _cumulative(
    alpha: Tensor, beta: Tensor, frame_lengths: Tensor, label_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """A (B, T) and B (B, U), float64; breakpoints that differ by rounding alone are made one."""
    A = cumulative_weights(alpha.detach(), frame_lengths)
    B = cumulative_weights(beta.detach(), label_lengths)
    return join_ties(A, B), B


def _crossing(A: Tensor, levels: Tensor, *, after: bool) -> Tensor:
    """Where A reaches `levels` (B, U): the last such position if `after`, else the first."""
    frame = torch.searchsorted(A, levels, right=after).clamp(max=A.shape[1] - 1)
    upper = A.gather(1, frame)
    lower = torch.where(frame > 0, A.gather(1, (frame - 1).clamp(min=0)), 0.0)
    weight = upper - lower
    inside = torch.where(weight > 0, (levels - lower) / weight, 0.0)
    return frame + inside.clamp(0.0, 1.0)
