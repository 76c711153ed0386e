"""The sequence optimal transport distance (SOTD), minimised exactly over the frame weights.

OTTC, arXiv 2502.01588, Eq. 7.  docs/mathematics/sotd.md proves the recursion used here and says which of the
paper's propositions about SOTD hold.
"""

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_ottc.ops.validation import (
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    raise_first,
    valid_mask,
    values_are_checked,
)
from espnet_ottc.ops.weights import check_label_weights, uniform_label_weights

Cost = Callable[[Tensor, Tensor], Tensor]


@overload
def sotd(
    x: Tensor,
    y: Tensor,
    cost: str | Cost = ...,
    r: int = ...,
    label_weights: Tensor | None = ...,
    *,
    x_lengths: Tensor | None = ...,
    y_lengths: Tensor | None = ...,
    return_alpha: Literal[False] = ...,
    validate: bool | None = ...,
) -> Tensor: ...


@overload
def sotd(
    x: Tensor,
    y: Tensor,
    cost: str | Cost = ...,
    r: int = ...,
    label_weights: Tensor | None = ...,
    *,
    x_lengths: Tensor | None = ...,
    y_lengths: Tensor | None = ...,
    return_alpha: Literal[True],
    validate: bool | None = ...,
) -> tuple[Tensor, Tensor]: ...


def sotd(
    x: Tensor,
    y: Tensor,
    cost: str | Cost = "euclidean",
    r: int = 1,
    label_weights: Tensor | None = None,
    *,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    return_alpha: bool = False,
    validate: bool | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Distance of two sequences of vectors under the best monotone alignment of their elements.

        S_r(x, y) = min_alpha ( sum_ij gamma(alpha, beta)_ij C(x_i, y_j)^r )^(1/r)

    where gamma is the monotone transport plan, beta weighs the shorter sequence and alpha the
    longer (paper, Eq. 7: p = max(n, m), q = min(n, m)).  Of equally long sequences x carries
    alpha.  The minimum puts each element of the shorter sequence on one element of the longer, in
    order: with i over the longer and j over the shorter,

        D_j(i) = beta_j C(i, j)^r + min_{i' <= i} D_{j-1}(i'),    S_r^r = min_i D_q(i)

    in O(nm) evaluations of C, O(B max(n, m) (d + min(n, m))) memory, and no (B, n, m, d) tensor.

    Differentiable in x, y and label_weights with the alignment held at the minimum (where the
    minimum is not unique: a subgradient of one of them).  The gradient of a distance of zero is
    zero.

    Args:
        x: (B, n, d) floating point, padded; what stands beyond `x_lengths` is ignored.
        y: (B, m, d) floating point, likewise.
        cost: C >= 0, always of x's element first and y's second, whichever is the longer:
            "euclidean", "squared_euclidean", "cosine" (1 - cos, in [0, 2]), "cross_entropy"
            (x unnormalised logits, y probabilities over the d classes; nats), or a callable that
            takes two tensors (..., d) of equal shape and returns (...).
        r: order, an integer >= 1.
        label_weights: (B, min(n, m)) beta, > 0 and of sum 1 over the valid elements of each pair's
            shorter sequence; None for uniform.
        x_lengths: (B,) elements of each x, 1 <= n_b <= n; None: all n.
        y_lengths: (B,) elements of each y, 1 <= m_b <= m; None: all m.
        return_alpha: also return the minimising alpha.
        validate: check the values of lengths, label weights and costs; None does so on the CPU
            only, where reading a value is free.

    Returns:
        (B,) distances in the dtype of x and y (half precision is computed in float32), and with
        `return_alpha` also (B, max(n, m)): the mass that each element of the longer sequence
        takes, zero in the padding.  Where values are not validated, an empty sequence gives NaN, and
        lengths are clamped to the tensors.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, an unknown cost, r < 1, an empty sequence,
            a length beyond the tensor, label weights off the simplex, or a negative cost.
    """
    C = _resolve_cost(cost)
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise ValueError(f"r must be an integer of at least 1, got {r!r}")
    x_lengths, y_lengths = _check_sequences(x, y, x_lengths, y_lengths, validate)
    dtype = torch.promote_types(x.dtype, y.dtype)
    working = torch.promote_types(dtype, torch.float32)
    validated = values_are_checked(validate, x)
    p, q = torch.maximum(x_lengths, y_lengths), torch.minimum(x_lengths, y_lengths)
    shortest = min(x.shape[1], y.shape[1])
    beta = _resolve_label_weights(label_weights, q, shortest, working, validated)
    pairs = _Pairs(x.to(working), y.to(working), x_lengths < y_lengths)
    with torch.no_grad():
        assignment = _assign(pairs, C, r, beta, p, q, validated=validated)
    distance = _distance(pairs, C, r, beta, assignment, q).to(dtype)
    if not return_alpha:
        return distance
    alpha = beta.new_zeros(x.shape[0], pairs.long_length).scatter_add(1, assignment, beta)
    return distance, alpha.to(dtype)


def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    # Its gradient at zero is zero; that of sqrt(sum of squares) would be NaN.
    distance: Tensor = torch.linalg.vector_norm(x - y, dim=-1)
    return distance


def _squared_euclidean(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum(-1)


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    # Rounding can carry a cosine past 1, and a cost must not be negative.
    return (1 - F.cosine_similarity(x, y, dim=-1)).clamp(min=0)


def _cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    log_p = x.log_softmax(-1)
    # 0 log 0 = 0.
    log_p = log_p.masked_fill((y == 0) & log_p.isneginf(), 0.0)
    return -(y * log_p).sum(-1)


_COSTS: dict[str, Cost] = {
    "euclidean": _euclidean,
    "squared_euclidean": _squared_euclidean,
    "cosine": _cosine,
    "cross_entropy": _cross_entropy,
}


class _Pairs:
    """The padded batch seen as pairs of a longer and a shorter sequence.

    Args:
        x: (B, n, d).
        y: (B, m, d).
        swapped: (B,) bool, where y is the longer.
    """

    def __init__(self, x: Tensor, y: Tensor, swapped: Tensor) -> None:
        self.swapped = swapped[:, None, None]
        self.long_length = max(x.shape[1], y.shape[1])
        self.short_length = min(x.shape[1], y.shape[1])
        # Whichever is the shorter of a pair fits the narrower tensor, so only the longer is padded.
        wide_x, wide_y = _widen(x, self.long_length), _widen(y, self.long_length)
        self.long = torch.where(self.swapped, wide_y, wide_x)
        narrow_x, narrow_y = x[:, : self.short_length], y[:, : self.short_length]
        self.short = torch.where(self.swapped, narrow_x, narrow_y)

    def cost(self, C: Cost, long: Tensor, short: Tensor) -> Tensor:
        """C of (B, N, d) elements of the longer and of the shorter sequences, x's first: (B, N)."""
        costs = C(torch.where(self.swapped, short, long), torch.where(self.swapped, long, short))
        if not isinstance(costs, Tensor) or costs.shape != long.shape[:2]:
            got = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
            raise ValueError(
                f"cost must return one value for each pair of vectors, shape "
                f"{tuple(long.shape[:2])} for inputs {tuple(long.shape)}; got {got}"
            )
        return costs


def _assign(
    pairs: _Pairs, C: Cost, r: int, beta: Tensor, p: Tensor, q: Tensor, *, validated: bool
) -> Tensor:
    """For each element of the shorter sequences its element of the longer: (B, min(n, m)) int64."""
    valid = valid_mask(p, pairs.long_length)
    best = torch.where(valid, 0.0, float("inf")).to(beta.dtype)
    came_from: list[Tensor] = []
    for j in range(pairs.short_length):
        short = pairs.short[:, j : j + 1].expand_as(pairs.long)
        costs = pairs.cost(C, pairs.long, short)
        active = (j < q)[:, None]
        if validated:
            _check_costs(costs, valid & active)
        before, index = best.cummin(1)
        # Padding stays infinite, and a pair that has ended keeps its result.
        best = torch.where(valid & active, before + beta[:, j : j + 1] * costs**r, best)
        came_from.append(index.int())
    here = best.argmin(1, keepdim=True)
    assignment = [here]
    for j in range(pairs.short_length - 1, 0, -1):
        # Past a pair's end the pointers stay on its last minimum.
        here = came_from[j].gather(1, here).long()
        assignment.append(here)
    return torch.cat(assignment[::-1], 1)


def _distance(
    pairs: _Pairs, C: Cost, r: int, beta: Tensor, assignment: Tensor, q: Tensor
) -> Tensor:
    """S_r of given assignments (B, min(n, m)), differentiable: (B,)."""
    valid = valid_mask(q, pairs.short_length)
    # The padding reads genuine elements: zero times the gradient of a padded one could be NaN.
    positions = torch.arange(pairs.short_length, device=q.device).expand_as(assignment)
    positions = torch.where(valid, positions, 0)
    d = pairs.long.shape[2]
    long = pairs.long.gather(1, assignment[:, :, None].expand(-1, -1, d))
    short = pairs.short.gather(1, positions[:, :, None].expand(-1, -1, d))
    costs = pairs.cost(C, long, short)
    terms = torch.where(valid, beta * costs**r, 0.0)
    total = torch.where(q > 0, terms.sum(1), float("nan"))
    if r == 1:
        return total
    zero = total == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, total) ** (1 / r))


def _resolve_cost(cost: str | Cost) -> Cost:
    if callable(cost):
        return cost
    if cost not in _COSTS:
        raise ValueError(f"cost must be callable or one of {', '.join(_COSTS)}; got {cost!r}")
    return _COSTS[cost]


def _check_sequences(
    x: Tensor,
    y: Tensor,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    validate: bool | None,
) -> tuple[Tensor, Tensor]:
    """Check both batches and return their lengths, (B,) int64 each."""
    check_floating("x", x, 3)
    check_floating("y", y, 3)
    check_shape("y", y, (x.shape[0], y.shape[1], x.shape[2]), "(B, m, d) as x is (B, n, d)")
    return (
        _check_sequence_lengths("x", x, x_lengths, validate),
        _check_sequence_lengths("y", y, y_lengths, validate),
    )


def _check_sequence_lengths(
    name: str, sequence: Tensor, lengths: Tensor | None, validate: bool | None
) -> Tensor:
    batch, longest = sequence.shape[:2]
    if longest == 0 and batch > 0:
        raise ValueError(
            f"utterance 0: {name} must have an element, got shape {tuple(sequence.shape)}"
        )
    if lengths is None:
        return torch.full((batch,), longest, device=sequence.device)
    check_integer(f"{name}_lengths", lengths, 1)
    check_shape(f"{name}_lengths", lengths, (batch,), "(B,)")
    if values_are_checked(validate, lengths):
        check_lengths(f"{name}_lengths", lengths, batch, longest)
        raise_first(lengths == 0, lambda _: f"{name} must have an element, got length 0")
    return lengths.long().clamp(0, longest)


def _resolve_label_weights(
    label_weights: Tensor | None, q: Tensor, shortest: int, dtype: torch.dtype, validated: bool
) -> Tensor:
    """Beta of the shorter sequences, (B, min(n, m)) of `dtype`, zero in the padding."""
    if label_weights is None:
        return uniform_label_weights(q, shortest, dtype=dtype)
    check_floating("label_weights", label_weights, 2)
    check_shape("label_weights", label_weights, (q.shape[0], shortest), "(B, min(n, m))")
    if validated:
        check_label_weights(label_weights, q)
    return torch.where(valid_mask(q, shortest), label_weights.to(dtype), 0.0)


def _check_costs(costs: Tensor, valid: Tensor) -> None:
    bad = (costs < 0) & valid

    def message(b: int) -> str:
        return f"cost must not be negative, got {float(costs[b][bad[b]][0])}"

    raise_first(bad.any(1), message)


def _widen(sequence: Tensor, length: int) -> Tensor:
    """Pad (B, N, d) on the right to (B, length, d)."""
    return F.pad(sequence, (0, 0, 0, length - sequence.shape[1]))
