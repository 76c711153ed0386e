"""CTC's best path in plain NumPy, one frame and one state after the other."""

from dataclasses import dataclass

import numpy as np
import torch

from espnet_ottc.alignment.aligners import AlignmentBatch, AlignmentResult, TokenAlignment


@dataclass(frozen=True)
class BestPath:
    """The label of each frame (−1 on blank), the path's score, and how many paths share it."""

    frame_labels: list[int]
    score: float
    paths: int


def best_path(log_probs: np.ndarray, targets: list[int], blank: int) -> BestPath:
    """Best of all paths through blank, y_0, blank, y_1, ..., blank; (T, V) log-probabilities.

    A frame stays in its state, moves to the next, or leaps over a blank between labels that differ.
    """
    T, states = len(log_probs), 2 * len(targets) + 1
    tokens = [blank if s % 2 == 0 else targets[s // 2] for s in range(states)]
    # Before the first frame: in front of the first blank; from there the first label is a leap away.
    scores = np.full((T + 1, states + 1), -np.inf)
    paths = np.zeros((T + 1, states + 1), int)
    back = np.zeros((T + 1, states + 1), int)
    scores[0, 0], paths[0, 0] = 0.0, 1
    for t in range(T):
        for s in range(states):
            leaps = s % 2 == 1 and (s == 1 or tokens[s] != tokens[s - 2])
            before = [s + 1, s, s - 1] if leaps else [s + 1, s]
            best = max(scores[t, p] for p in before)
            ties = [p for p in before if scores[t, p] == best]
            scores[t + 1, s + 1] = best + log_probs[t, tokens[s]]
            paths[t + 1, s + 1] = sum(paths[t, p] for p in ties)
            back[t + 1, s + 1] = ties[0]
    ends = [0] if T == 0 else [states, states - 1] if targets else [states]
    best = max(scores[T, p] for p in ends)
    ties = [p for p in ends if scores[T, p] == best]
    state, labels = ties[0], []
    for t in range(T, 0, -1):
        s = state - 1
        labels.append(s // 2 if s % 2 == 1 else -1)
        state = back[t, state]
    return BestPath(labels[::-1], float(best), int(sum(paths[T, p] for p in ties)))


@dataclass(frozen=True)
class ReferenceAligner:
    """The interface of an aligner round it."""

    blank: int = 0

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        result = AlignmentResult()
        for b, name in enumerate(batch.utterance_ids):
            T, targets = int(batch.lengths[b]), utterance_targets(batch, b)
            U = len(targets)
            if self.blank in targets:
                raise ValueError(f"{name}: CTC targets must not hold the blank {self.blank}")
            repeats = sum(targets[u] == targets[u - 1] for u in range(1, U))
            if U + repeats > T:
                result.infeasible[name] = (
                    f"{U} labels and {repeats} blanks between equal ones need as many frames, got {T}"
                )
                continue
            log_probs = batch.log_probs[b, :T].double().cpu().numpy()
            best = best_path(log_probs, targets, self.blank)
            if best.score == -np.inf:
                result.infeasible[name] = "every path has probability 0"
                continue
            frames = [[t for t in range(T) if best.frame_labels[t] == u] for u in range(U)]
            means = [np.exp(log_probs[f, y]).mean() for f, y in zip(frames, targets, strict=True)]
            result.alignments[name] = TokenAlignment(
                name,
                torch.tensor(targets, dtype=torch.int64),
                torch.tensor(best.frame_labels, dtype=torch.int64),
                torch.tensor([f[0] for f in frames], dtype=torch.float64),
                torch.tensor([f[-1] + 1 for f in frames], dtype=torch.float64),
                torch.tensor(np.minimum(means, 1.0), dtype=torch.float64),
            )
        return result


def utterance_targets(batch: AlignmentBatch, b: int) -> list[int]:
    """The valid labels of one utterance."""
    return batch.targets[b, : int(batch.target_lengths[b])].tolist()
