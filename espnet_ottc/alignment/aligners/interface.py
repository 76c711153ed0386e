"""What every aligner takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.ops.boundaries import NO_LABEL
from espnet_ottc.ops.validation import (
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    check_targets,
    valid_mask,
)


@dataclass(frozen=True, eq=False)
class AlignmentBatch:
    """What a model says about a padded batch of utterances, and the label sequences to align.

    All tensors lie on one device.

    Attributes:
        utterance_ids: B names, all different.
        log_probs: (B, T, V) log-probabilities of the tokens.
        lengths: (B,) valid frames, absolute counts.
        targets: (B, U) token ids in [0, V), padded: blanks and boundary labels as the model was
            trained.
        target_lengths: (B,) valid labels, absolute counts.
        alpha: (B, T) frame weights, ≥ 0, sum 1 over the valid frames; None where the model has
            none.
        beta: (B, U) label weights, > 0, sum 1 over the valid labels; None is uniform.
        null: id of the label of frames that belong to none, for OTTC with a null capacity; None where every
            frame belongs to a label, or the search knows (CTC's blank).

    Raises:
        TypeError: a tensor of the wrong kind.
        ValueError: wrong shapes, lengths beyond the tensors, token ids out of range,
            log-probabilities that are NaN or +inf at a valid frame, ids that repeat.  It names the
            utterance, by its id or its place in the batch.
    """

    utterance_ids: Sequence[str]
    log_probs: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    alpha: Tensor | None = None
    beta: Tensor | None = None
    null: int | None = None

    def __post_init__(self) -> None:
        check_floating("log_probs", self.log_probs, 3)
        check_integer("targets", self.targets, 2)
        batch, T, V = self.log_probs.shape
        U = self.targets.shape[1]
        check_shape("targets", self.targets, (batch, U), "(B, U)")
        for name, lengths in (("lengths", self.lengths), ("target_lengths", self.target_lengths)):
            check_integer(name, lengths, 1)
            check_shape(name, lengths, (batch,), "(B,)")
        for name, weights, longest in (("alpha", self.alpha, T), ("beta", self.beta, U)):
            if weights is not None:
                check_floating(name, weights, 2)
                check_shape(
                    name, weights, (batch, longest), f"(B, {'T' if name == 'alpha' else 'U'})"
                )
        if len(self.utterance_ids) != batch or len(set(self.utterance_ids)) != batch:
            raise ValueError(
                f"utterance_ids must be {batch} different names, got {self.utterance_ids}"
            )
        check_lengths("lengths", self.lengths, batch, T)
        check_lengths("target_lengths", self.target_lengths, batch, U)
        check_targets("targets", self.targets, self.target_lengths, V)
        if self.null is not None and not 0 <= self.null < V:
            raise ValueError(f"null must be a token id in [0, {V}), got {self.null}")
        self._check_log_probs()

    def _check_log_probs(self) -> None:
        # -inf is a probability of 0 and allowed.
        wrong = (self.log_probs.isnan() | (self.log_probs == torch.inf)).any(2)
        wrong &= valid_mask(self.lengths, self.log_probs.shape[1])
        if bool(wrong.any()):
            b, t = (int(index) for index in wrong.nonzero()[0])
            raise ValueError(
                f"{self.utterance_ids[b]}: log_probs must not be NaN or +inf, but frame {t} is"
            )


@dataclass(frozen=True, eq=False)
class TokenAlignment:
    """The alignment of one utterance with its label sequence; everything on the CPU.

    Attributes:
        utterance_id: its name.
        targets: (U,) int64 token ids.
        frame_labels: (T,) int64 index u of each frame's label; −1 for a frame that belongs to none
            (a dropped frame, the null label, or CTC's blank).
        starts: (U,) float64 position of each label's start on the frame axis, in frames.
        ends: (U,) float64 position of its end.
        scores: (U,) float64 mean probability of the label over its time, in [0, 1].
    """

    utterance_id: str
    targets: Tensor
    frame_labels: Tensor
    starts: Tensor
    ends: Tensor
    scores: Tensor

    def frame_tokens(self, blank: int = 0) -> Tensor:
        """The token of each frame.

        Args:
            blank: token id for a frame that belongs to no label.

        Returns:
            (T,) int64 token ids.
        """
        if not len(self.targets):
            return torch.full_like(self.frame_labels, blank)
        tokens = self.targets[self.frame_labels.clamp(min=0)]
        return torch.where(self.frame_labels == NO_LABEL, blank, tokens)

    def spans(
        self, token_list: Sequence[str], grid: FrameGrid, duration: float | None = None
    ) -> list[Span]:
        """The labels as spans in seconds, one each, blanks and boundary labels included.

        Args:
            token_list: V symbols.
            grid: where the frames lie in time.
            duration: the utterance's length in seconds, to clip the end; None does not.
        """
        return [
            grid.span(token_list[token], start, end, score, duration=duration)
            for token, start, end, score in zip(
                self.targets.tolist(),
                self.starts.tolist(),
                self.ends.tolist(),
                self.scores.tolist(),
                strict=True,
            )
        ]


@dataclass(frozen=True)
class AlignmentResult:
    """The alignments of a batch.

    Attributes:
        alignments: by utterance id, in the batch's order.
        infeasible: utterance id -> why it has no alignment; these are left out of `alignments`.
    """

    alignments: dict[str, TokenAlignment] = field(default_factory=dict)
    infeasible: dict[str, str] = field(default_factory=dict)


class Aligner(Protocol):
    """Aligns label sequences with frames; its options are the fields of its dataclass."""

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align every utterance of the batch; what cannot be aligned is reported by id.

        Args:
            batch: utterances with their posteriors and targets.

        Returns:
            The alignments, and why others have none.

        Raises:
            ValueError: a batch that lacks what the aligner needs, or holds what it cannot align.
            ImportError: a package that the aligner needs is not installed.
        """
        ...


def mean_probabilities(
    log_probs: Tensor, frames: Tensor, labels: Tensor, weights: Tensor, targets: Tensor
) -> Tensor:
    """Σ_s weight_s · p(y_u | frame_s) / Σ_s weight_s over the entries s of each label u.

    Args:
        log_probs: (T, V) of one utterance.
        frames: (S,) int64 frame of each entry.
        labels: (S,) int64 label u of each entry.
        weights: (S,) ≥ 0.
        targets: (U,) token ids.

    Returns:
        (U,) float64; 0 for a label without weight.
    """
    probabilities = log_probs[frames, targets[labels]].double().exp()
    return mean_by_label(probabilities, labels, weights, len(targets))


def mean_by_label(probabilities: Tensor, labels: Tensor, weights: Tensor, count: int) -> Tensor:
    """Σ_s weight_s · probability_s / Σ_s weight_s over the entries s of each of `count` labels.

    Args:
        probabilities: (S,) float64.
        labels: (S,) int64 label u of each entry.
        weights: (S,) ≥ 0.
        count: U.

    Returns:
        (U,) float64; 0 for a label without weight.
    """
    weights = weights.double()
    sums = weights.new_zeros(2, count)
    sums[0].index_add_(0, labels, weights * probabilities)
    sums[1].index_add_(0, labels, weights)
    # Log-probabilities of half precision may exceed 0 by a rounding.
    return torch.where(sums[1] > 0, sums[0] / sums[1], 0.0).clamp(0.0, 1.0)
