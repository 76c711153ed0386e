"""Greedy decoding, and what a CTC-style search needs to know of boundary labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_ottc.ops.precision import LOG_ZERO
from espnet_ottc.ops.targets import collapse, compact
from espnet_ottc.ops.validation import valid_mask


def greedy_labels(
    frame_labels: Tensor,
    alpha: Tensor | None,
    lengths: Tensor,
    *,
    drop_threshold: float = 0.0,
    blank: int = 0,
    boundary: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Read the label sequence off each utterance's best label per frame.

    Frames of negligible weight are dropped; `spoken_labels` reads the others (a training target never
    holds two boundary labels in a row).

    Args:
        frame_labels: (B, T) best label of each frame.
        alpha: (B, T) frame weights that sum to 1 over the valid frames; None drops no frame.
        lengths: (B,) valid frames.
        drop_threshold: smallest weight of a frame that counts, as a share of 1/T_b.
        blank: id of the blank.
        boundary: id of the boundary label, or None.

    Returns:
        labels: (B, T), padded with the blank.
        lengths: (B,) int64.
    """
    kept = kept_frames(frame_labels, alpha, lengths, drop_threshold)
    return spoken_labels(
        compact(frame_labels, kept, blank), kept.sum(1), blank=blank, boundary=boundary
    )


def spoken_labels(
    labels: Tensor, lengths: Tensor, *, blank: int = 0, boundary: int | None = None
) -> tuple[Tensor, Tensor]:
    """What a sequence of labels, one per frame or as a target has them, says: (B, N) labels and (B,) lengths.

    Duplicates are collapsed, then blanks removed, then boundary labels stripped from both ends and merged
    where several follow each other.
    """
    labels, lengths = collapse(labels, lengths, blank)
    if boundary is None:
        return labels, lengths
    valid = valid_mask(lengths, labels.shape[1])
    other = valid & (labels != boundary)
    later = other.flip(1).cummax(1).values.flip(1)
    after_other = torch.zeros_like(other)
    after_other[:, 1:] = other[:, :-1]
    kept = other | (valid & later & after_other)
    return compact(labels, kept, blank), kept.sum(1)


def kept_frames(
    frame_labels: Tensor, alpha: Tensor | None, lengths: Tensor, drop_threshold: float
) -> Tensor:
    """(B, T) bool: valid frames that weigh at least `drop_threshold / T_b`."""
    valid = valid_mask(lengths, frame_labels.shape[1])
    if alpha is None:
        return valid
    return valid & (alpha * lengths[:, None] >= drop_threshold)


def silence_to_blank(log_probs: Tensor, kept: Tensor, blank: int, boundary: int) -> Tensor:
    """Give the boundary label's probability to the blank, before the first and after the last speech frame.

    A CTC-style search scores texts without boundary labels: there, leading and trailing silence is blank.
    Speech frames are those frames in use whose best label is neither.

    Args:
        log_probs: (B, T, V) log-probabilities.
        kept: (B, T) bool, frames in use.
        blank: id of the blank.
        boundary: id of the boundary label.

    Returns:
        (B, T, V) log-probabilities; frames between the first and the last speech frame are unchanged.
    """
    best = log_probs.argmax(2)
    speech = kept & (best != blank) & (best != boundary)
    begun = speech.cummax(1).values
    ended = ~speech.flip(1).cummax(1).values.flip(1)
    edge = ~begun | ended
    folded = log_probs.clone()
    folded[..., blank] = torch.logaddexp(log_probs[..., blank], log_probs[..., boundary])
    folded[..., boundary] = LOG_ZERO
    return torch.where(edge[..., None], folded, log_probs)


def stripped(labels: Sequence[int], boundary: int | None) -> list[int]:
    """A label sequence without boundary labels at its ends."""
    inner = [position for position, label in enumerate(labels) if label != boundary]
    return list(labels[inner[0] : inner[-1] + 1]) if inner else []
