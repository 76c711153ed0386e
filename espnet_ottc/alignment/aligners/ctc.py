"""What CTC's forced alignments share, whichever package finds the paths.

A CTC path has one token for each frame; with repeats joined and blanks removed it spells the targets
(Graves et al. 2006, Section 3.1).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from espnet_ottc.alignment.aligners.interface import (
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    mean_by_label,
)
from espnet_ottc.alignment.aligners.viterbi import path_boundaries
from espnet_ottc.ops.boundaries import NO_LABEL

FindPaths = Callable[[AlignmentBatch, Sequence[int]], Sequence[Tensor | None]]


def align_by_paths(batch: AlignmentBatch, blank: int, find_paths: FindPaths) -> AlignmentResult:
    """Align each utterance by its best CTC path.

    Infeasible, and reported: fewer frames than labels and blanks between equal labels; no path of
    non-zero probability.  A label's span is the run of its frames, its score its mean probability
    over them; frames on blank belong to no label.

    Args:
        batch: utterances with their targets.
        blank: CTC's blank id.
        find_paths: gives the best paths of those rows of the batch that it is called with, (T_b,)
            int64 token ids on the CPU each.  The rows have labels, and frames enough for them.  Where
            every path has probability 0 it may give any path, or None.

    Raises:
        ValueError: a blank outside the vocabulary, or one among the targets.
    """
    _check_blank(batch, blank)
    result = AlignmentResult()
    B, T, _ = batch.log_probs.shape
    lengths, label_lengths = batch.lengths.tolist(), batch.target_lengths.tolist()
    every_target = batch.targets.long().cpu()
    targets = [every_target[b, :U] for b, U in enumerate(label_lengths)]
    repeats = [int((labels[1:] == labels[:-1]).sum()) for labels in targets]
    fits = [label_lengths[b] + repeats[b] <= lengths[b] for b in range(B)]
    rows = [b for b in range(B) if fits[b] and label_lengths[b]]
    found = dict(zip(rows, find_paths(batch, rows) if rows else (), strict=True))
    paths = torch.full((B, T), blank)
    for b, path in found.items():
        if path is not None:
            paths[b, : lengths[b]] = path
    index = paths.to(batch.log_probs.device)[:, :, None]
    emissions = batch.log_probs.detach().gather(2, index)[:, :, 0].cpu()
    for b, name in enumerate(batch.utterance_ids):
        path, scores = paths[b, : lengths[b]], emissions[b, : lengths[b]]
        if not fits[b]:
            result.infeasible[name] = (
                f"{label_lengths[b]} labels and {repeats[b]} blanks between equal ones need as many "
                f"frames, got {lengths[b]}"
            )
        elif found.get(b, path) is None or bool(scores.isneginf().any()):
            result.infeasible[name] = "every path has probability 0"
        else:
            result.alignments[name] = _alignment(name, targets[b], path, scores, blank)
    return result


def label_indices(path: Tensor, blank: int) -> Tensor:
    """The index of each frame's label in a CTC path.

    Args:
        path: (T,) token ids.
        blank: CTC's blank id.

    Returns:
        (T,) int64 index u, which rises by one where a label opens; −1 on blank.
    """
    voiced = path != blank
    opens = voiced.clone()
    opens[1:] &= path[1:] != path[:-1]
    return torch.where(voiced, opens.long().cumsum(0) - 1, NO_LABEL)


def _check_blank(batch: AlignmentBatch, blank: int) -> None:
    V = batch.log_probs.shape[2]
    if not 0 <= blank < V:
        raise ValueError(f"blank must be a token id in [0, {V}), got {blank}")
    for b, name in enumerate(batch.utterance_ids):
        targets = batch.targets[b, : int(batch.target_lengths[b])]
        if bool((targets == blank).any()):
            raise ValueError(
                f"{name}: CTC targets must not hold the blank {blank}; got {targets.tolist()}"
            )


def _alignment(
    name: str, targets: Tensor, path: Tensor, emissions: Tensor, blank: int
) -> TokenAlignment:
    frame_labels = label_indices(path, blank)
    frames = (frame_labels != NO_LABEL).nonzero()[:, 0]
    labels = frame_labels[frames]
    starts, ends = path_boundaries(frames, labels, len(targets))
    probabilities = emissions[frames].double().exp()
    scores = mean_by_label(probabilities, labels, torch.ones_like(frames), len(targets))
    return TokenAlignment(name, targets, frame_labels, starts, ends, scores)
