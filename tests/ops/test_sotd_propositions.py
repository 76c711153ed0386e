"""The paper's Propositions 1-4: what holds, as properties, and where the printed claims fail.

docs/mathematics/sotd.md has the statements and their proofs.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_plan
from torch import Tensor

from espnet_ottc.ops.sotd import sotd

Alignment = set[tuple[int, int]]

seeded = settings(max_examples=150)
orders = st.integers(1, 3)
# Few values, so that equal elements and ties are common.
few_values = st.lists(st.integers(0, 2), min_size=1, max_size=6)
positive_weights = st.lists(st.integers(1, 9), min_size=6, max_size=6)


def sequence(values: Sequence[float]) -> Tensor:
    """One sequence of scalars as a batch (1, n, 1) in double precision."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1)


def normalised(weights: Sequence[int], length: int) -> Tensor:
    """The family beta_1, beta_2, ...: the first weights, normalised: (1, length)."""
    head = torch.tensor(weights[:length], dtype=torch.float64)
    return (head / head.sum())[None]


def distance(
    x: Sequence[float], y: Sequence[float], r: int = 1, weights: Sequence[int] = (1,) * 6
) -> float:
    beta = normalised(weights, min(len(x), len(y)))
    return sotd(sequence(x), sequence(y), r=r, label_weights=beta).item()


def aggregated(values: Sequence[float]) -> list[float]:
    """The operator 𝒜: without consecutive duplicates."""
    return [value for value, _ in groupby(values)]


def is_subsequence(part: Sequence[float], whole: Sequence[float]) -> bool:
    remaining = iter(whole)
    return all(value in remaining for value in part)


# Proposition 1: every monotone alignment is the support of a plan.


@st.composite
def monotone_alignments(draw: st.DrawFn) -> tuple[int, int, Alignment]:
    """Pairs that never cross, with every label aligned; frames may be dropped."""
    T, U = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    t = u = 0
    cells = [(0, 0)]
    while (t, u) != (T - 1, U - 1):
        steps = [(dt, du) for dt, du in ((1, 0), (0, 1), (1, 1)) if t + dt < T and u + du < U]
        dt, du = draw(st.sampled_from(steps))
        t, u = t + dt, u + du
        cells.append((t, u))
    alignment = set(cells)
    for cell in draw(st.permutations(cells)):
        others = [other for other in alignment if other[1] == cell[1] and other != cell]
        if others and draw(st.booleans()):
            alignment.remove(cell)
    return T, U, alignment


def alpha_of_alignment(alignment: Alignment, beta: Sequence[Fraction], T: int) -> list[Fraction]:
    """Each label's mass in equal shares to its frames."""
    alpha = [Fraction(0)] * T
    for u, weight in enumerate(beta):
        frames = [t for t, label in alignment if label == u]
        for t in frames:
            alpha[t] += weight / len(frames)
    return alpha


@seeded
@given(monotone_alignments(), st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_every_monotone_alignment_is_the_support_of_a_plan(
    drawn: tuple[int, int, Alignment], weights: list[int]
) -> None:
    T, U, alignment = drawn
    beta = [Fraction(weight, sum(weights[:U])) for weight in weights[:U]]
    plan = reference_plan(alpha_of_alignment(alignment, beta, T), beta)
    assert {(t, u) for t in range(T) for u in range(U) if plan[t, u] > 0} == alignment


@seeded
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=7).filter(any),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_every_plan_is_a_monotone_alignment_of_all_labels(
    frame_weights: list[int], label_weights: list[int]
) -> None:
    alpha = [Fraction(weight, sum(frame_weights)) for weight in frame_weights]
    beta = [Fraction(weight, sum(label_weights)) for weight in label_weights]
    plan = reference_plan(alpha, beta)
    assert plan.sum(0).tolist() == beta
    assert plan.sum(1).tolist() == alpha
    support = [(t, u) for t, row in enumerate(plan) for u, mass in enumerate(row) if mass > 0]
    assert {u for _, u in support} == set(range(len(beta)))
    assert all(u <= v for t, u in support for s, v in support if t < s)


def test_the_printed_halving_drops_a_frame_of_a_label_that_spans_three() -> None:
    # Appendix A.2.2: each step takes half of the shared label's whole weight from the last frame
    # and gives the new one the rest; the second step takes away what the first had given.
    half = Fraction(1, 2)
    alpha = [Fraction(1)]
    for _ in range(2):
        alpha[-1] -= half
        alpha.append(half)
    assert alpha == [half, 0, half]
    assert reference_plan(alpha, [Fraction(1)])[1, 0] == 0
    in_equal_shares = alpha_of_alignment({(0, 0), (1, 0), (2, 0)}, [Fraction(1)], 3)
    assert in_equal_shares == [Fraction(1, 3)] * 3


# Proposition 2: the minimum exists, and need not be unique.


@seeded
@given(few_values, few_values, positive_weights, orders, st.data())
def test_no_alpha_is_better_than_the_one_returned(
    x: list[int], y: list[int], weights: list[int], r: int, data: st.DataObject
) -> None:
    p, q = max(len(x), len(y)), min(len(x), len(y))
    beta = normalised(weights, q)
    least, alpha = sotd(sequence(x), sequence(y), r=r, label_weights=beta, return_alpha=True)
    drawn = data.draw(st.lists(st.integers(0, 5), min_size=p, max_size=p).filter(any))
    costs = np.abs(np.subtract.outer(x, y)) ** r
    costs = costs if len(x) >= len(y) else costs.T

    def objective(weights: list[float]) -> float:
        return float((reference_plan(weights, beta[0].tolist()) * costs).sum())

    assert objective(alpha[0].tolist()) == pytest.approx(least.item() ** r, abs=1e-9)
    assert objective([weight / sum(drawn) for weight in drawn]) >= least.item() ** r - 1e-9


@pytest.mark.parametrize("alpha", [[1.0, 0.0], [0.0, 1.0], [0.3, 0.7]])
def test_equal_neighbours_share_their_mass_in_any_way(alpha: list[float]) -> None:
    assert distance([1, 1], [3]) == 2.0
    assert (reference_plan(alpha, [1.0]) * 2.0).sum() == pytest.approx(2.0)


# Proposition 3: which axioms of a pseudo-metric hold.


@seeded
@given(few_values, few_values, positive_weights, orders)
def test_distance_is_not_negative(x: list[int], y: list[int], weights: list[int], r: int) -> None:
    assert distance(x, y, r, weights) >= 0


@seeded
@given(few_values, positive_weights, orders)
def test_distance_of_a_sequence_to_itself_is_zero(x: list[int], weights: list[int], r: int) -> None:
    assert distance(x, x, r, weights) == 0


@seeded
@given(few_values, few_values, positive_weights, orders)
def test_distance_is_symmetric_between_different_lengths(
    x: list[int], y: list[int], weights: list[int], r: int
) -> None:
    if len(x) != len(y):
        assert distance(x, y, r, weights) == distance(y, x, r, weights)


def test_symmetry_as_printed_fails_between_equal_lengths() -> None:
    a, b = 0, 1
    assert distance([a, b], [a, a]) == 0.0
    assert distance([a, a], [a, b]) == 0.5


def test_triangle_inequality_as_printed_fails_by_any_factor_through_a_long_sequence() -> None:
    a, b = 0, 1
    assert distance([b], [a, b]) == 0.0
    assert distance([a, b], [a]) == 0.0
    assert distance([b], [a]) == 1.0


def test_triangle_inequality_as_printed_fails_by_any_factor_through_a_short_sequence() -> None:
    a, b, c = 0, 1, 2
    assert distance([a, b], [a]) == 0.0
    assert distance([a], [a, c]) == 0.0
    assert distance([a, b], [a, c]) == 0.5


def test_triangle_inequality_as_printed_fails_even_from_long_to_short() -> None:
    a, b, c = 0, 10, 1
    assert distance([c, b], [a, b]) == 0.5
    assert distance([a, b], [a]) == 0.0
    assert distance([c, b], [a]) == 1.0


def by_length(*sequences: list[int]) -> list[list[int]]:
    return sorted(sequences, key=len, reverse=True)


@seeded
@given(few_values, few_values, few_values, positive_weights, orders)
def test_triangle_inequality_holds_from_long_to_short_up_to_a_factor(
    one: list[int], two: list[int], three: list[int], weights: list[int], r: int
) -> None:
    x, y, z = by_length(one, two, three)
    beta_z = normalised(weights, len(z))
    yz, rho = sotd(sequence(y), sequence(z), r=r, label_weights=beta_z, return_alpha=True)
    K = (rho / normalised(weights, len(y))).max().item()
    bound = K ** (1 / r) * distance(x, y, r, weights) + yz.item()
    assert distance(x, z, r, weights) <= bound + 1e-9


@seeded
@given(few_values, few_values, few_values, orders)
def test_with_uniform_weights_the_factor_is_at_most_the_middle_length(
    one: list[int], two: list[int], three: list[int], r: int
) -> None:
    x, y, z = by_length(one, two, three)
    bound = len(y) ** (1 / r) * distance(x, y, r) + distance(y, z, r)
    assert distance(x, z, r) <= bound + 1e-9


@seeded
@given(few_values, st.integers(1, 6), st.data(), orders)
def test_triangle_inequality_is_exact_where_the_middle_weights_agree(
    x: list[int], m: int, data: st.DataObject, r: int
) -> None:
    # Strictly increasing y, and z close to it: each z_l takes its own y_l, so rho* = beta.
    m = min(m, len(x))
    y = list(range(m))
    z = [value + data.draw(st.sampled_from([-0.2, 0.0, 0.2])) for value in y]
    _, rho = sotd(sequence(y), sequence(z), r=r, return_alpha=True)
    assert torch.allclose(rho, torch.full_like(rho, 1 / m))
    assert distance(x, z, r) <= distance(x, y, r) + distance(y, z, r) + 1e-9


# Proposition 4: when the distance is zero.


@seeded
@given(few_values, few_values, positive_weights, orders)
def test_distance_is_zero_exactly_when_the_aggregated_shorter_is_a_subsequence_of_the_longer(
    x: list[int], y: list[int], weights: list[int], r: int
) -> None:
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    expected = is_subsequence(aggregated(shorter), longer)
    assert (distance(x, y, r, weights) == 0) == expected


@seeded
@given(few_values, few_values, positive_weights)
def test_distance_is_zero_exactly_when_the_pruned_aggregated_sequences_agree(
    one: list[int], two: list[int], weights: list[int]
) -> None:
    x, y = by_length(one, two)
    beta = normalised(weights, len(y))
    least, alpha = sotd(sequence(x), sequence(y), label_weights=beta, return_alpha=True)
    pruned = [value for value, mass in zip(x, alpha[0].tolist(), strict=True) if mass > 0]
    assert (least.item() == 0) == (aggregated(pruned) == aggregated(y))


@seeded
@given(monotone_alignments(), st.lists(st.integers(0, 2), min_size=11, max_size=11))
def test_every_alpha_of_cost_zero_prunes_to_the_aggregated_sequence(
    drawn: tuple[int, int, Alignment], values: list[int]
) -> None:
    T, U, alignment = drawn
    x, y = values[:T], [0] * U
    # Aligned elements are equal: one value for each stretch of pairs that share a frame or a label.
    before = (-1, -1)
    for t, u in sorted(alignment):
        y[u] = y[before[1]] if t == before[0] else x[before[0]] if u == before[1] else values[t + u]
        x[t] = y[u]
        before = (t, u)
    beta = [Fraction(1, U)] * U
    alpha = alpha_of_alignment(alignment, beta, T)
    plan = reference_plan(alpha, beta)
    assert all(x[t] == y[u] for t in range(T) for u in range(U) if plan[t, u] > 0)
    pruned = [value for value, mass in zip(x, alpha, strict=True) if mass > 0]
    assert aggregated(pruned) == aggregated(y)
    if T >= U:
        assert distance(x, y) == 0


@seeded
@given(few_values, few_values, positive_weights)
def test_zero_needs_neither_symmetry_nor_the_triangle_inequality_of_the_cost(
    one: list[int], two: list[int], weights: list[int]
) -> None:
    def separated(x: Tensor, y: Tensor) -> Tensor:
        difference = (x - y).squeeze(-1)
        return torch.where(difference > 0, 7 * difference**3, -difference)

    x, y = by_length(one, two)
    beta = normalised(weights, len(y))
    least = sotd(sequence(x), sequence(y), separated, label_weights=beta).item()
    assert (least == 0) == is_subsequence(aggregated(y), x)
