"""transport_plan: against the definition, two independent solvers, and its promises at any length."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_plan, tolerance
from scipy.optimize import linprog
from torch import Tensor

from espnet_ottc import TransportPlan, transport_plan

seeded = settings(max_examples=100)


def simplex(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).softmax(-1)


def entries(plan: TransportPlan, b: int = 0) -> list[tuple[int, int, float]]:
    n = int(plan.lengths[b])
    columns = (plan.frames[b, :n], plan.labels[b, :n], plan.mass[b, :n])
    return list(zip(*(column.tolist() for column in columns), strict=True))


@st.composite
def rational_weights(draw: st.DrawFn) -> tuple[list[Fraction], list[Fraction]]:
    """Weights on a coarse grid, so that ties, dropped frames and equal weights are common."""
    alpha = draw(st.lists(st.integers(0, 4), min_size=1, max_size=9).filter(any))
    beta = draw(st.lists(st.integers(1, 4), min_size=1, max_size=7))
    return (
        [Fraction(weight, sum(alpha)) for weight in alpha],
        [Fraction(weight, sum(beta)) for weight in beta],
    )


@given(rational_weights())
@seeded
def test_plan_is_the_overlap_of_the_cumulative_intervals(
    weights: tuple[list[Fraction], list[Fraction]],
) -> None:
    alpha, beta = weights
    plan = transport_plan(as_batch(alpha), as_batch(beta))
    expected = reference_plan(alpha, beta)
    torch.testing.assert_close(plan.dense()[0], torch.tensor(expected.astype(float)))
    # The support is exact, not only close: rounding invents no pair and loses none.
    assert {(t, u) for t, u, mass in entries(plan) if mass > 0} == set(
        zip(*(axis.tolist() for axis in expected.nonzero()), strict=True)
    )


@given(rational_weights())
@seeded
def test_entries_are_ordered_few_and_leave_out_dropped_frames(
    weights: tuple[list[Fraction], list[Fraction]],
) -> None:
    alpha, beta = weights
    plan = transport_plan(as_batch(alpha), as_batch(beta))
    found = entries(plan)
    assert len(found) <= len(alpha) + len(beta) - 1
    for (t, u, _), (next_t, next_u, _) in pairwise(found):
        assert (next_t - t, next_u - u) in {(0, 1), (1, 0)} or (next_t > t + 1 and next_u == u)
    assert {t for t, _, _ in found} == {t for t, weight in enumerate(alpha) if weight}
    # A tie has one entry without mass, never two.
    empty = [(t, u) for t, u, mass in found if mass == 0]
    assert len(set(empty)) == len(empty) == count_ties(alpha, beta)


def as_batch(weights: list[Fraction]) -> Tensor:
    return torch.tensor([[float(weight) for weight in weights]], dtype=torch.float64)


def count_ties(alpha: list[Fraction], beta: list[Fraction]) -> int:
    inner = [{sum(w[: k + 1], Fraction(0)) for k in range(len(w))} - {0, 1} for w in (alpha, beta)]
    return len(inner[0] & inner[1])


@pytest.mark.parametrize("seed", range(5))
def test_plan_equals_pot_emd_1d(seed: int) -> None:
    T, U = 17 + seed, 6
    alpha, beta = simplex(1, T, seed=seed), simplex(1, U, seed=seed + 100)
    expected = ot.emd_1d(np.arange(T) * 1.0, np.arange(U) * 1.0, alpha[0].numpy(), beta[0].numpy())
    np.testing.assert_allclose(transport_plan(alpha, beta).dense()[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_plan_is_the_cheapest_coupling_of_a_linear_programme(seed: int) -> None:
    T, U = 7, 4
    alpha, beta = simplex(1, T, seed=seed), simplex(1, U, seed=seed + 100)
    cost = (np.arange(T)[:, None] / T - np.arange(U)[None] / U) ** 2
    rows = np.kron(np.eye(T), np.ones(U))
    columns = np.kron(np.ones(T), np.eye(U))
    marginals = np.concatenate([alpha[0].numpy(), beta[0].numpy()])
    solution = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals)
    plan = transport_plan(alpha, beta).dense()[0].numpy()
    np.testing.assert_allclose(plan.ravel(), solution.x, atol=1e-9)


@pytest.mark.parametrize("uniform", [False, True])
def test_marginals_and_order_hold_for_an_hour_of_frames(uniform: bool) -> None:
    T, U = 180_000, 36_000
    alpha = simplex(1, T, seed=0, dtype=torch.float32)
    beta = simplex(1, U, seed=1, dtype=torch.float32)
    if uniform:
        alpha, beta = torch.full_like(alpha, 1 / T), torch.full_like(beta, 1 / U)
    plan = transport_plan(alpha, beta)
    mass = plan.mass.double()
    of_frames = torch.zeros(1, T, dtype=torch.float64).scatter_add(1, plan.frames, mass)
    of_labels = torch.zeros(1, U, dtype=torch.float64).scatter_add(1, plan.labels, mass)
    assert float((of_frames.cumsum(1) - alpha.double().cumsum(1)).abs().max()) < 1e-6
    assert float((of_labels.cumsum(1) - beta.double().cumsum(1)).abs().max()) < 1e-6
    assert abs(float(mass.sum()) - 1) < 1e-6
    assert bool((plan.frames.diff() >= 0).all() and (plan.labels.diff() >= 0).all())
    assert bool((plan.mass >= 0).all())
    if uniform:  # five frames a label, each label ending exactly with its fifth frame
        assert int((plan.mass > 0).sum()) == T


def test_padding_is_ignored_and_batch_equals_loop() -> None:
    T, U = 12, 5
    frame_lengths, label_lengths = torch.tensor([12, 7, 1, 4]), torch.tensor([5, 3, 4, 1])
    alpha, beta = torch.full((4, T), float("nan")), torch.full((4, U), float("nan"))
    for b, (t, u) in enumerate(zip(frame_lengths.tolist(), label_lengths.tolist(), strict=True)):
        alpha[b, :t] = simplex(t, seed=b, dtype=torch.float32)
        beta[b, :u] = simplex(u, seed=b + 10, dtype=torch.float32)
    plan = transport_plan(alpha, beta, frame_lengths, label_lengths)
    for b, (t, u) in enumerate(zip(frame_lengths.tolist(), label_lengths.tolist(), strict=True)):
        alone = transport_plan(alpha[b : b + 1, :t], beta[b : b + 1, :u])
        assert entries(plan, b) == entries(alone)
        n = int(plan.lengths[b])
        for padding in (plan.frames[b, n:], plan.labels[b, n:], plan.mass[b, n:]):
            assert bool((padding == 0).all())


def test_an_utterance_without_labels_has_an_empty_plan() -> None:
    plan = transport_plan(
        torch.tensor([[0.5, 0.5], [0.5, 0.5]]),
        torch.tensor([[1.0], [0.0]]),
        torch.tensor([2, 2]),
        torch.tensor([1, 0]),
    )
    assert plan.lengths.tolist() == [2, 0]
    assert plan.dense()[1].abs().sum() == 0


@pytest.mark.parametrize("U", [3, 6, 9])
def test_gradient_matches_finite_differences(U: int) -> None:
    torch.manual_seed(U)
    scores = [torch.randn(2, n, dtype=torch.float64) for n in (7, U)]
    weights = torch.randn(2, 7, U, dtype=torch.float64)
    inputs = [score.requires_grad_() for score in scores]

    def value(a: Tensor, b: Tensor) -> Tensor:
        return (transport_plan(a.softmax(1), b.softmax(1)).dense() * weights).sum()

    assert torch.autograd.gradcheck(value, inputs)


def test_gradient_at_a_tie_is_a_one_sided_derivative() -> None:
    cost = torch.tensor([[0.3, 2.0], [0.5, 0.1]], dtype=torch.float64)
    alpha = torch.tensor([[0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor([[0.5, 0.5]], dtype=torch.float64)

    def value(a: Tensor) -> Tensor:
        return (transport_plan(a, beta).dense()[0] * cost).sum()

    (grad,) = torch.autograd.grad(value(alpha), alpha)
    step = torch.tensor([[-1e-6, 1e-6]], dtype=torch.float64)  # frame 0 ends before label 0
    slope = ((value(alpha + step) - value(alpha)) / 1e-6).item()
    assert float((grad * step).sum() / 1e-6) == pytest.approx(slope, abs=1e-6)


def test_gradient_ignores_a_constant_added_to_every_cost() -> None:
    alpha = simplex(1, 6, seed=3).requires_grad_()
    (grad,) = torch.autograd.grad(transport_plan(alpha, simplex(1, 4, seed=4)).mass.sum(), alpha)
    assert float(grad.abs().max()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    alpha, beta = simplex(1, 8, seed=5).to(dtype), simplex(1, 3, seed=6).to(dtype)
    plan = transport_plan(alpha, beta)
    assert plan.mass.dtype == dtype
    assert plan.frames.dtype == plan.labels.dtype == torch.int64
    expected = torch.tensor(
        reference_plan(simplex(8, seed=5).tolist(), simplex(3, seed=6).tolist())
    )
    torch.testing.assert_close(
        plan.dense()[0].double(), expected, atol=tolerance(dtype), rtol=tolerance(dtype)
    )


HALVES, ONE = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0]])
BAD_VALUES = {
    "sum": ((HALVES * 0.9, ONE), "utterance 0: alpha must sum to 1 .* got 0.89"),
    "negative": ((torch.tensor([[1.5, -0.5]]), ONE), "alpha must be finite and not be negative"),
    "nan": ((torch.tensor([[float("nan"), 1.0]]), ONE), "alpha must be finite .* position 0"),
    "zero label": ((HALVES, torch.tensor([[1.0, 0.0]])), "beta must be finite and be at least"),
    "frames": ((HALVES, ONE, torch.tensor([3])), r"frame_lengths must lie in \[0, 2\].*got 3"),
    "labels": ((HALVES, ONE, None, torch.tensor([-1])), r"label_lengths must lie in \[0, 1\]"),
    "no frame": ((HALVES, ONE, torch.tensor([0])), "labels need at least one frame"),
    "batch": ((HALVES, torch.ones(2, 1)), r"beta must have shape \(B, U\) = \(1, 1\)"),
    "dims": ((HALVES[0], ONE), "alpha must have 2 dimensions"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_input_is_named(case: str) -> None:
    arguments, message = BAD_VALUES[case]
    with pytest.raises(ValueError, match=message):
        transport_plan(*arguments)


def test_integer_weights_are_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"alpha must be floating point, got torch\.int64"):
        transport_plan(torch.tensor([[1]]), ONE)
