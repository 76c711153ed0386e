"""Label sequences of a padded batch: separating blanks, boundary labels, and collapsing.

A plan gives mass to every label and to nothing else.  So a gap between two equal labels, and the
silence around an utterance, have to be labels themselves.  `insert_blanks` separates equal neighbours
(paper, section 4.2.1, note after Eq. 9) and `add_boundary_labels` gives leading and trailing
silence a label.  `collapse` removes repeats and blanks again.

Everything is vectorised over the batch, and output widths follow from shapes alone, so that
nothing waits for a GPU.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.validation import (
    check_integer,
    check_lengths,
    check_shape,
    valid_mask,
    values_are_checked,
)


def insert_blanks(
    targets: Tensor, lengths: Tensor, blank: int = 0, *, validate: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Put a blank between each two equal neighbouring labels.

    `hello` becomes `helφlo`, so that collapsing repeats gives both l's back.  A pair of blanks is
    left as it is, since no blank could separate it; sequences that were separated before come
    back unchanged.

    Args:
        targets: (B, U) label ids of any integer dtype; what stands beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence, 0 <= U_b <= U.
        blank: id of the blank.
        validate: check the values of `lengths`; None does so on the CPU only, where reading a
            value is free.  Unchecked, they are clamped to that range.

    Returns:
        targets: (B, max(2U - 1, 0)) of the dtype given, padded with `blank`.
        lengths: (B,) int64, at most 2U_b - 1.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, or a length outside [0, U].
    """
    lengths = _checked_lengths("targets", targets, lengths, validate)
    width = targets.shape[1]
    valid = valid_mask(lengths, width)
    repeats = torch.zeros_like(valid)
    repeats[:, 1:] = (targets[:, 1:] == targets[:, :-1]) & (targets[:, 1:] != blank) & valid[:, 1:]
    shift = repeats.cumsum(1)
    positions = torch.arange(width, device=targets.device) + shift
    # The positions that no label takes keep the fill value, which is the blank that separates.
    separated = _place(targets, positions, valid, width=max(2 * width - 1, 0), fill=blank)
    return separated, lengths + repeats.sum(1)


def add_boundary_labels(
    targets: Tensor, lengths: Tensor, boundary_label: int, *, validate: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Make each sequence start and end with the boundary label, without ever doubling it.

    With characters the boundary label is the word separator: `the cat` becomes `␣the cat␣`.  An
    end that carries the label already is left alone.  An empty sequence becomes a single boundary
    label: an utterance without words is one stretch of silence.

    Args:
        targets: (B, U) label ids of any integer dtype; what stands beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence, 0 <= U_b <= U.
        boundary_label: id of the label.
        validate: check the values of `lengths`; None does so on the CPU only.

    Returns:
        targets: (B, U + 2) of the dtype given, padded with `boundary_label`.
        lengths: (B,) int64, 1 <= length <= U_b + 2.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, or a length outside [0, U].
    """
    lengths = _checked_lengths("targets", targets, lengths, validate)
    width = targets.shape[1]
    valid = valid_mask(lengths, width)
    positions = torch.arange(width, device=targets.device)
    is_boundary = (targets == boundary_label) & valid
    starts = (is_boundary & (positions == 0)).any(1)
    ends = (is_boundary & (positions == lengths[:, None] - 1)).any(1)
    prepended = (~starts).long()
    appended = (~ends & (lengths > 0)).long()
    positions = positions + prepended[:, None]
    # As above: the ends that no label takes keep the fill value.
    bounded = _place(targets, positions, valid, width=width + 2, fill=boundary_label)
    return bounded, lengths + prepended + appended


def leave_out(targets: Tensor, lengths: Tensor, label: int, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Label sequences without one label: (B, U) padded with `fill`, and their (B,) lengths.

    Args:
        targets: (B, U) label ids of any integer dtype; what stands beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence, clamped to [0, U].
        label: id of the label.
        fill: what the rest becomes.
    """
    kept = valid_mask(lengths, targets.shape[1]) & (targets != label)
    return compact(targets, kept, fill), kept.sum(1)


def add_pauses(
    targets: Tensor, lengths: Tensor, null: int, *, boundary: int | None, unaligned: int | None
) -> tuple[Tensor, Tensor]:
    """Label sequences with the null label where nobody may speak; for the search of a flat start.

    It stands at both ends, unless a boundary label does, and in the place of each unaligned label.  A
    search that has to give all frames to other labels would teach them silence.

    Args:
        targets: (B, U) label ids of any integer dtype, without boundary labels at their ends; what stands
            beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence, 0 <= U_b <= U.
        null: id of the null label, which is the blank.
        boundary: id of the boundary label, or None.
        unaligned: id of a label of texts that gets no frames of its own, or None.

    Returns:
        As `insert_blanks` of the sequences with their ends.

    Raises:
        TypeError, ValueError: as `add_boundary_labels`.
    """
    if unaligned is not None:
        targets = torch.where(targets == unaligned, null, targets)
    ends = null if boundary is None else boundary
    return insert_blanks(*add_boundary_labels(targets, lengths, ends), null)


def collapse(
    labels: Tensor, lengths: Tensor, blank: int = 0, *, validate: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Remove consecutive duplicates, then blanks: the inverse of repeating and `insert_blanks`.

    The first step is the aggregation operator 𝒜 of the paper's Proposition 4; both together are
    CTC's mapping from paths to label sequences (paper, section 4.4).

    Args:
        labels: (B, N) label ids of any integer dtype; what stands beyond `lengths` is ignored.
        lengths: (B,) labels of each sequence, 0 <= N_b <= N.
        blank: id of the blank.
        validate: check the values of `lengths`; None does so on the CPU only.

    Returns:
        labels: (B, N) of the dtype given, padded with `blank`.
        lengths: (B,) int64, at most N_b.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, or a length outside [0, N].
    """
    lengths = _checked_lengths("labels", labels, lengths, validate)
    kept = run_starts(labels, lengths) & (labels != blank)
    return compact(labels, kept, blank), kept.sum(1)


def run_starts(labels: Tensor, lengths: Tensor) -> Tensor:
    """True where a run of equal labels starts: (B, N) bool from (B, N) labels, (B,) lengths."""
    starts = valid_mask(lengths, labels.shape[1])
    starts[:, 1:] &= labels[:, 1:] != labels[:, :-1]
    return starts


def compact(values: Tensor, kept: Tensor, fill: int) -> Tensor:
    """Move the kept values of each row (B, N) to its front, in order; the rest becomes `fill`."""
    return _place(values, kept.cumsum(1) - 1, kept, width=values.shape[1], fill=fill)


def _place(labels: Tensor, positions: Tensor, kept: Tensor, *, width: int, fill: int) -> Tensor:
    """Write the kept labels to their positions in a (B, width) tensor of `fill`."""
    # Labels that are not kept go to one more column, which is cut off: no count is ever read.
    placed = labels.new_full((labels.shape[0], width + 1), fill)
    placed.scatter_(1, torch.where(kept, positions, width), labels)
    return placed[:, :width]


def _checked_lengths(name: str, labels: Tensor, lengths: Tensor, validate: bool | None) -> Tensor:
    """(B,) int64; lengths that are not checked are clamped to the labels."""
    check_integer(name, labels, 2)
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (labels.shape[0],), "(B,)")
    if values_are_checked(validate, lengths):
        check_lengths("lengths", lengths, *labels.shape)
    return lengths.long().clamp(0, labels.shape[1])
