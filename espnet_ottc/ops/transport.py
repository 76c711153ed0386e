"""The 1-D optimal transport plan between weighted frames and weighted labels.

With A(t) = Σ_{t'≤t} α_t' and B(u) = Σ_{u'≤u} β_u' the plan is γ(t,u) = |[A(t−1), A(t)) ∩ [B(u−1), B(u))|
(the unique monotone coupling; OTTC, arXiv 2502.01588, Eqs. 2-5 and Section 4.2).  It has at most T+U−1
entries, found by merging the two sorted lists of breakpoints: linear in T+U.
docs/mathematics/loss.md has the derivation.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from espnet_ottc.ops.precision import device_of_sums
from espnet_ottc.ops.validation import (
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    raise_first,
    valid_mask,
    values_are_checked,
)
from espnet_ottc.ops.weights import check_label_weights, check_weights

# Breakpoints closer than this are one.  Far below the smallest label weight, far above the rounding
# of a double-precision running sum.
TIE = 2.0**-40

# Any number past 1 sorts behind every breakpoint of the unit interval.
_BEYOND = 2.0


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """A batch of sparse monotone transport plans; entry s of utterance b moves `mass[b, s]`.

    Attributes:
        frames: (B, S) int64, non-decreasing along s; 0 in the padding.
        labels: (B, S) int64, non-decreasing along s; 0 in the padding.
        mass: (B, S) floating point, ≥ 0, sums to 1 over the valid entries; 0 in the padding.
            A valid entry is exactly 0 in one case: where a frame and a label end at the same
            point, one entry between them carries the derivative of that tie.
        lengths: (B,) int64 valid entries, at most T_b + U_b − 1.
        num_frames: T, the padded number of frames.
        num_labels: U, the padded number of labels.
    """

    frames: Tensor
    labels: Tensor
    mass: Tensor
    lengths: Tensor
    num_frames: int
    num_labels: int

    def dense(self) -> Tensor:
        """The plan as a (B, T, U) tensor, for tests and plots: O(BTU) memory; differentiable."""
        flat = self.frames * self.num_labels + self.labels
        batch = self.mass.shape[0]
        cells = self.mass.new_zeros(batch, self.num_frames * self.num_labels)
        return cells.scatter_add(1, flat, self.mass).view(batch, self.num_frames, self.num_labels)


class Segments(NamedTuple):
    """All T_b + U_b − 1 pieces between neighbouring breakpoints, those without mass included.

    The last axis has S = max(T + U − 1, 0) entries.  Where frame and label end together the frame's
    breakpoint comes first.
    """

    frames: Tensor  # (B, S) int64
    labels: Tensor  # (B, S) int64
    mass: Tensor  # (B, S) float64; 0 beyond the valid entries
    frame_rank: Tensor  # (B, T-1) piece that ends at A(t)
    label_rank: Tensor  # (B, U-1) piece that ends at B(u)
    frame_inner: Tensor  # (B, T-1) bool: A(t) is a breakpoint inside the utterance
    label_inner: Tensor  # (B, U-1) bool


def transport_plan(
    alpha: Tensor,
    beta: Tensor,
    frame_lengths: Tensor | None = None,
    label_lengths: Tensor | None = None,
    *,
    validate: bool | None = None,
) -> TransportPlan:
    """The optimal transport plan γ between frame weights α and label weights β, sparse.

    The sums are accumulated in double precision (on the CPU for a device without float64) and normalised
    to end at exactly 1, so that the plan's marginals are the weights to float32 rounding at any length.
    Frames of weight 0 are dropped: they appear in no entry and get no gradient.

    Args:
        alpha: (B, T) floating point, ≥ 0, sums to 1 over the valid frames.
        beta: (B, U) floating point, > 0, sums to 1 over the valid labels.
        frame_lengths: (B,) integers in [0, T]; None means T everywhere.
        label_lengths: (B,) integers in [0, U]; None means U everywhere.
        validate: read and check the values; None does so on the CPU only (no GPU synchronisation).
            Unchecked, lengths are clamped to the tensors.

    Returns:
        The plan, differentiable in `alpha` and `beta`, its mass in their wider dtype.  At a tie the
        derivative is the one-sided one with the frame's end before the label's.  An utterance without
        labels has an empty plan.

    Raises:
        TypeError: an argument that is not a tensor of the right kind.
        ValueError: wrong shapes; lengths beyond the tensors; negative, zero (beta) or non-finite weights;
            weights that do not sum to 1; labels without frames.  It names the utterance.

    Source: OTTC (arXiv 2502.01588), Eqs. 2-5.  The residual updates of its printed Algorithm 1 are wrong;
    this is the definition.
    """
    check_floating("alpha", alpha, 2)
    check_floating("beta", beta, 2)
    batch, T = alpha.shape
    U = beta.shape[1]
    check_shape("beta", beta, (batch, U), "(B, U)")
    frame_lengths = _lengths("frame_lengths", frame_lengths, alpha)
    label_lengths = _lengths("label_lengths", label_lengths, beta)
    if values_are_checked(validate, alpha):
        check_lengths("frame_lengths", frame_lengths, batch, T)
        check_lengths("label_lengths", label_lengths, batch, U)
        check_weights("alpha", alpha, frame_lengths, zeros_allowed=True)
        check_label_weights(beta, label_lengths, name="beta")
        check_feasible(frame_lengths, label_lengths)
    dtype = torch.promote_types(alpha.dtype, beta.dtype)
    device, place = alpha.device, device_of_sums(alpha.device)
    alpha, beta = alpha.to(place), beta.to(place)
    frame_lengths, label_lengths = (
        frame_lengths.to(place).clamp(0, T),
        label_lengths.to(place).clamp(0, U),
    )
    # A dropped frame takes no part, in the gradient either.
    alpha = alpha.masked_fill(alpha == 0, 0.0)
    A = cumulative_weights(alpha, frame_lengths)
    B = cumulative_weights(beta, label_lengths)
    A = join_ties(A, B)
    pieces = segments(A, B, frame_lengths, label_lengths)
    present = _present(pieces, A, frame_lengths, label_lengths)
    count = pieces.mass.shape[1]
    position = torch.where(present, present.long().cumsum(1) - 1, count)

    def compact(values: Tensor) -> Tensor:
        padded = values.new_zeros(batch, count + 1).scatter(1, position, values)
        return padded[:, :count].to(device)

    return TransportPlan(
        frames=compact(pieces.frames),
        labels=compact(pieces.labels),
        mass=compact(pieces.mass.to(dtype)),
        lengths=present.sum(1).to(device),
        num_frames=T,
        num_labels=U,
    )


def frame_weights(frame_logits: Tensor, lengths: Tensor) -> Tensor:
    """α = softmax of the frame scores over the valid frames (Eq. 11); 0 in the padding.

    Args:
        frame_logits: (B, T) floating point; −inf drops a frame.
        lengths: (B,) valid frames.

    Returns:
        (B, T), at least float32; NaN in an utterance whose scores hold NaN, +inf or nothing but −inf.
    """
    valid = valid_mask(lengths, frame_logits.shape[1])
    wide = frame_logits.to(torch.promote_types(frame_logits.dtype, torch.float32))
    return torch.where(valid, wide.masked_fill(~valid, -torch.inf).softmax(1), 0.0)


def check_feasible(frame_lengths: Tensor, label_lengths: Tensor) -> None:
    """Raise ValueError for an utterance that has labels but no frames (reads the values)."""
    raise_first(
        (frame_lengths == 0) & (label_lengths > 0),
        lambda b: (
            f"labels need at least one frame; got {int(label_lengths[b])} labels and no frame"
        ),
    )


def cumulative_weights(weights: Tensor, lengths: Tensor) -> Tensor:
    """(B, N) float64 running sums of (B, N) weights, ending at exactly 1; 1 in the padding."""
    count = weights.shape[1]
    valid = valid_mask(lengths, count)
    sums = torch.where(valid, weights, 0.0).double().cumsum(1)
    # A parallel scan adds in another order at every position, so its sums can step back by a rounding.
    sums = sums + (sums.detach().cummax(1).values - sums.detach())
    total = sums[:, -1:] if count else sums
    inner = valid_mask(lengths - 1, count)
    return torch.where(inner, sums / torch.where(lengths[:, None] > 0, total, 1.0), 1.0)


def join_ties(A: Tensor, B: Tensor) -> Tensor:
    """A with every entry that lies within `TIE` of an entry of B set to it; the gradient stays A's."""
    if not B.shape[1] or not A.shape[1]:
        return A
    values, targets = A.detach().contiguous(), B.detach().contiguous()
    above = torch.searchsorted(targets, values).clamp(max=B.shape[1] - 1)
    below = (above - 1).clamp(min=0)
    for index in (below, above):
        near = targets.gather(1, index)
        values = torch.where((near - values).abs() <= TIE, near, values)
    return A + (values - A.detach()) if A.requires_grad else values


def segments(A: Tensor, B: Tensor, frame_lengths: Tensor, label_lengths: Tensor) -> Segments:
    """Merge the breakpoints of frames and labels.

    Args:
        A: (B, T) float64 cumulative frame weights, ties joined.
        B: (B, U) float64 cumulative label weights.
        frame_lengths: (B,) valid frames.
        label_lengths: (B,) valid labels.
    """
    batch, T = A.shape
    U = B.shape[1]
    frame_inner = valid_mask(frame_lengths - 1, T)[:, : max(T - 1, 0)]
    label_inner = valid_mask(label_lengths - 1, U)[:, : max(U - 1, 0)]
    ends_a = torch.where(frame_inner, A[:, : max(T - 1, 0)], _BEYOND)
    ends_b = torch.where(label_inner, B[:, : max(U - 1, 0)], _BEYOND)
    sorted_a, sorted_b = ends_a.detach(), ends_b.detach()
    rank_a = torch.searchsorted(sorted_b, sorted_a) + _positions(ends_a)
    rank_b = torch.searchsorted(sorted_a, sorted_b, right=True) + _positions(ends_b)
    inner = ends_a.shape[1] + ends_b.shape[1]
    ends = A.new_zeros(batch, inner).scatter(1, rank_a, ends_a).scatter(1, rank_b, ends_b)
    ends = torch.cat([A.new_zeros(batch, 1), ends.clamp(max=1.0), A.new_ones(batch, 1)], 1)
    is_label = torch.zeros(batch, inner + 1, dtype=torch.int64, device=A.device)
    is_label[:, 1:].scatter_(1, rank_b, 1)
    labels = is_label.cumsum(1)
    frames = _positions(labels) - labels
    pieces = T + U - 1 if T and U else 0
    possible = ((frame_lengths > 0) & (label_lengths > 0))[:, None]
    mass = torch.where(possible, ends.diff(dim=1), 0.0)[:, :pieces]
    # Behind the last breakpoint the counts run on; they stay inside the tensors, and have no mass.
    frames = torch.minimum(frames, (frame_lengths - 1).clamp(min=0)[:, None])[:, :pieces]
    labels = torch.minimum(labels, (label_lengths - 1).clamp(min=0)[:, None])[:, :pieces]
    return Segments(frames, labels, mass, rank_a, rank_b, frame_inner, label_inner)


def _present(pieces: Segments, A: Tensor, frame_lengths: Tensor, label_lengths: Tensor) -> Tensor:
    """(B, S) bool: false for pieces of dropped frames and beyond the last breakpoint."""
    count = pieces.mass.shape[1]
    if not count:
        return pieces.mass > 0
    ends = A.detach()
    has_weight = torch.cat([ends[:, :1] > 0, ends.diff(dim=1) > 0], 1)
    feasible = (frame_lengths > 0) & (label_lengths > 0)
    present = valid_mask(frame_lengths + label_lengths - 1, count) & feasible[:, None]
    return present & has_weight.gather(1, pieces.frames)


def _lengths(name: str, lengths: Tensor | None, padded: Tensor) -> Tensor:
    batch, longest = padded.shape
    if lengths is None:
        return torch.full((batch,), longest, dtype=torch.int64, device=padded.device)
    check_integer(name, lengths, 1)
    check_shape(name, lengths, (batch,), "(B,)")
    return lengths.to(device=padded.device, dtype=torch.int64)


def _positions(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device)
