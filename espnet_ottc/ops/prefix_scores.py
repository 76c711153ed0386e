"""How well a hypothesis that has only begun can still end under the transport, for a beam search."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.ops.label_decoding import best_path, candidate_sizes, equal_pieces
from espnet_ottc.ops.precision import LOG_ZERO, brought_back, device_of_sums
from espnet_ottc.ops.validation import check_floating, check_shape

# Numbers of labels that stay possible on either side of the best one.
_SIZES = 8


@dataclass(frozen=True)
class Prefix:
    """The beginning of a hypothesis.

    Attributes:
        score: of the best label sequence that begins so, nats.
        sums: (K,) float64, nats of its labels for each possible number of labels.
        used: number of its labels, with the boundary label before it and blanks between repeats.
        last: its last label; -1 where there is none.
    """

    score: float
    sums: Tensor
    used: int
    last: int

    @property
    def possible(self) -> bool:
        """Whether any label sequence begins so."""
        return self.score > LOG_ZERO / 2


class PrefixScores:
    """T · max_{U, y} Σ_{t,u} γ(t,u) log p(y_u|t) over the targets y that begin with a prefix, for β_u = 1/U.

    Such a score is what CTC's prefix probability is to CTC, with the maximum in place of the sum, since OTTC
    has one alignment for each text.  That of a complete text is the negative loss.  Any number U within eight
    of `best_path`'s is possible.  The best completion of every position is known beforehand, O(U·V) for each
    U, after which a step of a search costs O(V) for each U.

    Args:
        log_probs: (T, V) float, log-probabilities of labels, T ≥ 1, V ≥ 2.
        alpha: (T,) float ≥ 0, frame weights that sum to 1.
        blank: id of the blank, which stands between equal neighbours and nowhere else.
        boundary: id of the label at both ends of each target, or None.  Prefixes are without it there.
        unused: ids that are no labels, such as that of the end of a sentence.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, no frame, fewer than two labels.

    Source: OTTC (arXiv 2502.01588), Eq. 12.
    """

    @torch.no_grad()
    def __init__(
        self,
        log_probs: Tensor,
        alpha: Tensor,
        *,
        blank: int = 0,
        boundary: int | None = None,
        unused: Sequence[int] = (),
    ) -> None:
        check_floating("log_probs", log_probs, 2)
        check_floating("alpha", alpha, 1)
        check_shape("alpha", alpha, (len(log_probs),), "(T,)")
        if len(log_probs) == 0:
            raise ValueError("log_probs must have a frame, got none")
        self._blank, self._boundary, self._device = blank, boundary, log_probs.device
        place = device_of_sums(self._device)
        log_probs, alpha = log_probs.to(place), alpha.to(place)
        lengths = torch.tensor([len(log_probs)], device=log_probs.device)
        path = best_path(log_probs[None], alpha[None], lengths, blank=blank, boundary=boundary)
        tried, best = candidate_sizes(log_probs), int(path.lengths[0])
        sizes = range(max(tried[0], best - _SIZES), min(tried[-1], best + _SIZES) + 1)
        self._sizes = torch.tensor(sizes, device=log_probs.device)
        pieces = len(log_probs) * equal_pieces(log_probs, alpha, self._sizes)
        K, self._most, V = pieces.shape
        self._forbidden = [blank, *unused]
        # Two positions more than labels, so that what follows the last one is looked up like all else.
        self._pieces = torch.cat([pieces, pieces.new_zeros(K, 2, V)], dim=1)
        beyond = torch.arange(self._most + 2, device=pieces.device) >= self._sizes[:, None]
        self._pieces[beyond] = LOG_ZERO
        # Of the best labels after the first so many, the last of which is v.
        self._rest = pieces.new_full((K, self._most + 3, V), LOG_ZERO)
        for used in reversed(range(self._most + 1)):
            self._rest[:, used] = self._best_rest(used)

    @torch.no_grad()
    def start(self) -> Prefix:
        """The empty prefix."""
        zero = self._pieces.new_zeros(len(self._sizes))
        if self._boundary is not None:
            return self._prefix(zero + self._pieces[:, 0, self._boundary], 1, self._boundary)
        nothing = Prefix(0.0, zero, 0, -1)
        return Prefix(float(self.next_scores(nothing).max()), zero, 0, -1)

    @torch.no_grad()
    def next_scores(self, prefix: Prefix) -> Tensor:
        """(V,) score of the prefix with each label appended; -1e10 or less where that cannot be.

        float64 on the device of `log_probs`; float32 where that has no float64.
        """
        return brought_back(self._next_scores(prefix), self._device)

    def _next_scores(self, prefix: Prefix) -> Tensor:
        if prefix.used > self._most:
            return self._pieces.new_full((self._pieces.shape[2],), LOG_ZERO)
        scores = self._pieces[:, prefix.used] + self._rest[:, prefix.used + 1]
        if prefix.last >= 0:
            scores[:, prefix.last] = self._repeats(prefix.used)[:, prefix.last]
        scores[:, self._forbidden] = LOG_ZERO
        return (prefix.sums[:, None] + scores).amax(0)

    @torch.no_grad()
    def final_score(self, prefix: Prefix) -> float:
        """Score of the prefix as a complete text, the negative loss; -1e10 or less where it is none."""
        if prefix.last < 0 or prefix.used > self._most:
            return LOG_ZERO
        return float((prefix.sums + self._ends(prefix.used)[:, prefix.last]).amax())

    @torch.no_grad()
    def extend(self, prefix: Prefix, label: int) -> Prefix:
        """The prefix with a label appended."""
        if prefix.used > self._most:
            return prefix
        sums, used = prefix.sums, prefix.used
        if label in self._forbidden or label == prefix.last == self._boundary:
            sums = sums + LOG_ZERO
        elif label == prefix.last:
            sums = sums + self._pieces[:, used, self._blank]
            used += 1
        return self._prefix(sums + self._pieces[:, used, label], used + 1, label)

    def _prefix(self, sums: Tensor, used: int, last: int) -> Prefix:
        return Prefix(float((sums + self._rest[:, used, last]).amax()), sums, used, last)

    def _best_rest(self, used: int) -> Tensor:
        """(K, V) from the ones of more labels."""
        following = self._pieces[:, used] + self._rest[:, used + 1]
        following[:, self._forbidden] = LOG_ZERO
        two, who = following.topk(2, dim=1)
        names = torch.arange(following.shape[1], device=following.device)
        other = torch.where(names == who[:, :1], two[:, 1:], two[:, :1])
        return torch.stack([other, self._repeats(used), self._ends(used)]).amax(0)

    def _repeats(self, used: int) -> Tensor:
        """(K, V) score of what follows if it begins with the last label once more."""
        scores = self._pieces[:, used, self._blank, None] + self._pieces[:, used + 1]
        scores = scores + self._rest[:, used + 2]
        if self._boundary is not None:
            # A text never has two in a row.
            scores[:, self._boundary] = LOG_ZERO
        return scores

    def _ends(self, used: int) -> Tensor:
        """(K, V) score of what follows if no label of the text does."""
        scores = torch.full_like(self._pieces[:, 0], LOG_ZERO)
        if self._boundary is None:
            scores[self._sizes == used] = 0.0
            return scores
        closing = self._sizes == used + 1
        scores[closing] = self._pieces[closing, used, self._boundary, None]
        scores[:, self._boundary] = LOG_ZERO
        # The target of an empty text is one boundary label.
        if used == 1:
            scores[self._sizes == 1, self._boundary] = 0.0
        return scores
