"""The best monotone path through the label sequence over the model's frame posteriors.

Each label takes at least one frame and no optional blank stands between labels: the labels are
those that the model was trained with, one after the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.aligners.interface import (
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    mean_probabilities,
)
from espnet_ottc.ops.boundaries import NO_LABEL
from espnet_ottc.ops.label_paths import sequence_path
from espnet_ottc.ops.validation import valid_mask


@dataclass(frozen=True)
class ViterbiAligner:
    """max over monotone paths of Σ_t log p(y_{u(t)} | t), with u(t) rising by 0 or 1 from 0 to U−1.

    Attributes:
        subframe: move each boundary to where the posteriors of its two labels cross, at most half
            a frame.
        drop_threshold: frames with α_t · T_b below this (a share of the uniform weight) are left
            out of the path; 0 keeps all.  Needs `alpha`.

    Raises:
        ValueError: a negative or infinite threshold.
    """

    subframe: bool = True
    drop_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.drop_threshold < float("inf"):
            raise ValueError(f"drop_threshold must be finite and >= 0, got {self.drop_threshold}")

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align each utterance, on the batch's device.

        Infeasible, and reported: fewer frames than labels (dropped frames do not count), or no
        path of non-zero probability.  A label's score is its mean probability over its frames.

        Args:
            batch: blanks and boundary labels among its targets, as the model was trained.

        Returns:
            The alignments, and why others have none.

        Raises:
            ValueError: a `drop_threshold` without `alpha`.
        """
        used = self._used_frames(batch)
        log_probs = batch.log_probs.detach()
        frame_labels, best = viterbi_path(log_probs, used, batch.targets, batch.target_lengths)
        result = AlignmentResult()
        for b, name in enumerate(batch.utterance_ids):
            T, U = int(batch.lengths[b]), int(batch.target_lengths[b])
            count = int(used[b].sum())
            if count < U:
                result.infeasible[name] = (
                    f"{U} labels need at least as many frames, got {count} of {T}"
                )
            elif U and not bool(best[b] > -torch.inf):
                result.infeasible[name] = "every path has probability 0"
            else:
                result.alignments[name] = self._alignment(
                    name, log_probs[b, :T], batch.targets[b, :U], frame_labels[b, :T]
                )
        return result

    def _used_frames(self, batch: AlignmentBatch) -> Tensor:
        valid = valid_mask(batch.lengths, batch.log_probs.shape[1])
        if self.drop_threshold == 0:
            return valid
        if batch.alpha is None:
            raise ValueError(
                f"drop_threshold = {self.drop_threshold} needs frame weights: alpha is None"
            )
        return valid & (batch.alpha * batch.lengths[:, None] >= self.drop_threshold)

    def _alignment(
        self, name: str, log_probs: Tensor, targets: Tensor, frame_labels: Tensor
    ) -> TokenAlignment:
        if not len(targets):
            frame_labels = torch.full_like(frame_labels, NO_LABEL)
        frames = (frame_labels != NO_LABEL).nonzero()[:, 0]
        labels = frame_labels[frames]
        starts, ends = path_boundaries(frames, labels, len(targets))
        if self.subframe and len(targets) > 1:
            shift = crossing_shifts(log_probs, targets, starts, ends)
            starts[1:] += shift
            ends[:-1] += shift
        scores = mean_probabilities(log_probs, frames, labels, torch.ones_like(frames), targets)
        return TokenAlignment(
            utterance_id=name,
            targets=targets.long().cpu(),
            frame_labels=frame_labels.cpu(),
            starts=starts.cpu(),
            ends=ends.cpu(),
            scores=scores.cpu(),
        )


def viterbi_path(
    log_probs: Tensor, used: Tensor, targets: Tensor, target_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The best monotone path of each utterance; memory grows with the frames and labels, not their product.

    D(t,u) = log p(y_u | t) + max(D(t−1,u), D(t−1,u−1)) over the used frames; of two equal ways the
    one that stays is taken.  It is searched on the CPU (`espnet_ottc.ops.label_paths`).

    Args:
        log_probs: (B, T, V); −inf allowed, NaN at used frames not.
        used: (B, T) bool: frames that take part; false in the padding.
        targets: (B, U) token ids, anything in the padding.
        target_lengths: (B,) valid labels.

    Returns:
        frame_labels: (B, T) int64 label index of each frame, −1 where it is not used.  Meaningless
            for an utterance that has no path.
        best: (B,) float64 the path's log-probability; −inf without a path.
    """
    batch, T, _ = log_probs.shape
    frame_labels = torch.full((batch, T), NO_LABEL, dtype=torch.int64)
    best = torch.full((batch,), -torch.inf, dtype=torch.float64)
    for b, U in enumerate(target_lengths.tolist()):
        taken = used[b].cpu()
        frames = log_probs[b].detach().cpu()
        # A copy of a long recording's frames is worth avoiding.
        frames = frames if bool(taken.all()) else frames[taken]
        found = sequence_path(frames, targets[b, :U].long().cpu()) if U else None
        if found is not None:
            frame_labels[b, taken] = found[0]
            best[b] = found[1]
        elif not U:
            best[b] = 0.0 if not len(frames) else -torch.inf
    return frame_labels.to(log_probs.device), best.to(log_probs.device)


def path_boundaries(frames: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Starts and ends of the runs of a path: first frame to last frame + 1.

    Args:
        frames: (N,) int64 used frames, rising.
        labels: (N,) int64 their labels, from 0 to U−1 without a gap.
        count: U.

    Returns:
        (U,) starts and (U,) ends, float64 positions on the frame axis.
    """
    wanted = torch.arange(count, device=labels.device)
    first = torch.searchsorted(labels, wanted)
    last = torch.searchsorted(labels, wanted, right=True) - 1
    return frames[first].double(), frames[last].double() + 1


def crossing_shifts(log_probs: Tensor, targets: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """How far each inner boundary moves to where the posteriors of its two labels cross.

    With q(t) = p(y_{u+1}|t) / (p(y_u|t) + p(y_{u+1}|t)) at the centres of the last frame of u and
    the first frame of u+1, linear in between, the boundary is where q = 1/2.  Where q does not
    rise through 1/2 there, or dropped frames lie between the labels, it stays.

    Args:
        log_probs: (T, V) of one utterance.
        targets: (U,) token ids.
        starts: (U,) whole frames, as `path_boundaries` gives them.
        ends: (U,) likewise.

    Returns:
        (U−1,) float64 frames, in [−1/2, 1/2].
    """
    left, right = ends[:-1].long() - 1, starts[1:].long()
    q_left, q_right = (
        torch.sigmoid(
            log_probs[frame, targets[1:]].double() - log_probs[frame, targets[:-1]].double()
        )
        for frame in (left, right)
    )
    crosses = (q_left <= 0.5) & (q_right >= 0.5) & (q_right > q_left) & (right == left + 1)
    share = (0.5 - q_left) / torch.where(crosses, q_right - q_left, 1.0)
    return torch.where(crosses, share - 0.5, 0.0)
