"""The best monotone path through the label sequence over the model's frame posteriors.

Each label takes at least one frame: the labels are those that the model was trained with, one after the
other.  Where the model has a null label, it may take frames between them and at both ends.
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

    With a null label in the batch, y is it on frames between two labels, and at the ends, wherever that is
    better.

    Attributes:
        subframe: move each boundary to where the posteriors of its two labels (one of which may be the null
            label) cross, at most half a frame.
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
        frame_labels, best = viterbi_path(
            log_probs, used, batch.targets, batch.target_lengths, batch.null
        )
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
                    name, log_probs[b, :T], batch.targets[b, :U], frame_labels[b, :T], batch.null
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
        self,
        name: str,
        log_probs: Tensor,
        targets: Tensor,
        frame_labels: Tensor,
        null: int | None,
    ) -> TokenAlignment:
        if not len(targets):
            frame_labels = torch.full_like(frame_labels, NO_LABEL)
        frames = (frame_labels != NO_LABEL).nonzero()[:, 0]
        labels = frame_labels[frames]
        starts, ends = path_boundaries(frames, labels, len(targets))
        if self.subframe and len(targets):
            starts, ends = _crossings(log_probs, targets, starts, ends, null)
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
    log_probs: Tensor,
    used: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    null: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The best monotone path of each utterance; memory grows with the frames and labels, not their product.

    D(t,u) = log p(y_u | t) + max(D(t−1,u), D(t−1,u−1)) over the used frames; of two equal ways the
    one that stays is taken.  It is searched on the CPU (`espnet_ottc.ops.label_paths`).

    Args:
        log_probs: (B, T, V); −inf allowed, NaN at used frames not.
        used: (B, T) bool: frames that take part; false in the padding.
        targets: (B, U) token ids, anything in the padding.
        target_lengths: (B,) valid labels.
        null: id of the label that frames between labels and at the ends may have; None: none.

    Returns:
        frame_labels: (B, T) int64 label index of each frame, −1 where it is not used or has the null label.
            Meaningless for an utterance that has no path.
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
        found = sequence_path(frames, targets[b, :U].long().cpu(), null=null) if U else None
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


def crossing_shifts(log_probs: Tensor, before: Tensor, after: Tensor, edges: Tensor) -> Tensor:
    """How far each edge between two runs of frames moves to where the posteriors of their labels cross.

    With q(t) = p(after|t) / (p(before|t) + p(after|t)) at the centres of the last frame of the one and the
    first frame of the other, linear in between, the edge is where q = 1/2.  Where q does not rise through 1/2
    there, it stays.

    Args:
        log_probs: (T, V) of one utterance.
        before: (N,) token id of the run that ends at each edge.
        after: (N,) of the run that begins there.
        edges: (N,) int64, the first frame of the run that begins, in [1, T).

    Returns:
        (N,) float64 frames, in [−1/2, 1/2].
    """
    q_left, q_right = (
        torch.sigmoid(log_probs[frame, after].double() - log_probs[frame, before].double())
        for frame in (edges - 1, edges)
    )
    crosses = (q_left <= 0.5) & (q_right >= 0.5) & (q_right > q_left)
    share = (0.5 - q_left) / torch.where(crosses, q_right - q_left, 1.0)
    return torch.where(crosses, share - 0.5, 0.0)


def _crossings(
    log_probs: Tensor, targets: Tensor, starts: Tensor, ends: Tensor, null: int | None
) -> tuple[Tensor, Tensor]:
    """Starts and ends of whole frames, moved to crossings.

    Without a null label an edge at dropped frames stays: no other label is beside it.
    """
    T = len(log_probs)
    touching = torch.zeros(len(targets) + 1, dtype=torch.bool, device=starts.device)
    touching[1:-1] = starts[1:] == ends[:-1]
    inner = touching[1:-1].nonzero()[:, 0]
    shift = crossing_shifts(log_probs, targets[inner], targets[inner + 1], starts[inner + 1].long())
    moved_starts, moved_ends = starts.clone(), ends.clone()
    moved_starts[inner + 1] += shift
    moved_ends[inner] += shift
    if null is None:
        return moved_starts, moved_ends
    silence = torch.full_like(targets, null)
    opens = (~touching[:-1] & (starts > 0)).nonzero()[:, 0]
    closes = (~touching[1:] & (ends < T)).nonzero()[:, 0]
    moved_starts[opens] += crossing_shifts(
        log_probs, silence[opens], targets[opens], starts[opens].long()
    )
    moved_ends[closes] += crossing_shifts(
        log_probs, targets[closes], silence[closes], ends[closes].long()
    )
    return moved_starts, moved_ends
