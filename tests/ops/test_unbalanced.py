"""Unbalanced transport against POT, its gradients, and what holds of every plan."""

import math
import warnings
from typing import Any

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from espnet_ottc.ops.unbalanced import (
    UnbalancedPlan,
    barycentric,
    transport_value,
    unbalanced_transport_plan,
)

INF = math.inf
FRAMES, TOKENS = torch.tensor([60, 47, 33]), torch.tensor([8, 6, 3])
STRENGTHS = [(0.5, 1.0), (1.0, 0.5), (10.0, 10.0), (0.05, 0.05), (0.1, INF), (INF, 0.1)]
CONVERGED: dict[str, Any] = {"max_iter": 5000, "tol": 1e-13}


def random_cost(
    frames: Tensor = FRAMES, tokens: Tensor = TOKENS, *, seed: int = 0, d: int = 6
) -> Tensor:
    """(B, T, U) float64 cosine distances of random vectors, NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    T, U = int(frames.max()), int(tokens.max())
    x = torch.randn(len(frames), T, d, generator=generator, dtype=torch.float64)
    y = torch.randn(len(frames), U, d, generator=generator, dtype=torch.float64)
    cost = 1 - torch.nn.functional.normalize(x, dim=2) @ torch.nn.functional.normalize(
        y, dim=2
    ).transpose(1, 2)
    padding = (torch.arange(T) >= frames[:, None])[:, :, None] | (
        torch.arange(U) >= tokens[:, None]
    )[:, None, :]
    return cost.masked_fill(padding, torch.nan)


def random_weights(lengths: Tensor, seed: int) -> Tensor:
    """(B, N) float64 weights of sum 1, NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    weights = 0.2 + torch.rand(
        len(lengths), int(lengths.max()), generator=generator, dtype=torch.float64
    )
    valid = torch.arange(int(lengths.max())) < lengths[:, None]
    weights = torch.where(valid, weights, 0.0)
    return torch.where(valid, weights / weights.sum(1, keepdim=True), torch.nan)


def plan_of(cost: Tensor, **options: Any) -> UnbalancedPlan:
    return unbalanced_transport_plan(
        cost, None, None, FRAMES, TOKENS, **{"reg_m_tokens": INF, **options}
    )


def by_pot(solver: str, cost: Tensor, w: Tensor, v: Tensor, strengths: tuple[float, float]) -> Any:
    a, b, M = w.numpy(), v.numpy(), cost.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # POT says that a limit of steps was reached
        if solver == "sinkhorn":
            return ot.sinkhorn(a, b, M, 0.05, stopThr=1e-14, numItermax=20000)
        if solver == "mm":
            return ot.unbalanced.mm_unbalanced(
                a, b, M, strengths, c=a[:, None] * b, reg=0.05, stopThr=1e-16, numItermax=60000
            )
        return ot.unbalanced.sinkhorn_unbalanced(
            a, b, M, 0.05, strengths, reg_type=solver, stopThr=1e-15, numItermax=20000
        )


def assert_equal_to_pot(found: UnbalancedPlan, solver: str, strengths: tuple[float, float]) -> None:
    cost = random_cost()
    for b, (T, U) in enumerate(zip(FRAMES.tolist(), TOKENS.tolist(), strict=True)):
        w, v = found.frame_weights[b, :T], found.token_weights[b, :U]
        expected = by_pot(solver, cost[b, :T, :U], w, v, strengths)
        difference = np.abs(found.plan[b, :T, :U].numpy() - expected).max()
        assert difference <= 1e-8 * expected.max()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strengths", STRENGTHS)
@pytest.mark.parametrize(("reference", "solver"), [("product", "kl"), ("ones", "entropy")])
def test_a_batch_of_plans_is_that_of_pot(
    reference: Any, solver: str, strengths: tuple[float, float], weighted: bool
) -> None:
    w, v = (random_weights(FRAMES, 1), random_weights(TOKENS, 2)) if weighted else (None, None)
    found = unbalanced_transport_plan(
        random_cost(), w, v, FRAMES, TOKENS, reg_m_frames=strengths[0], reg_m_tokens=strengths[1],
        reference=reference, **CONVERGED,
    )  # fmt: skip
    assert_equal_to_pot(found, solver, strengths)


@pytest.mark.parametrize("strengths", [s for s in STRENGTHS if INF not in s])
def test_another_algorithm_finds_the_same_plan(strengths: tuple[float, float]) -> None:
    found = plan_of(
        random_cost(), reg_m_frames=strengths[0], reg_m_tokens=strengths[1], **CONVERGED
    )
    assert_equal_to_pot(found, "mm", strengths)


def test_exact_on_both_sides_it_is_balanced_transport() -> None:
    found = plan_of(random_cost(), reg_m_frames=INF, **CONVERGED)
    assert_equal_to_pot(found, "sinkhorn", (INF, INF))


@pytest.mark.parametrize("strengths", [(0.5, 1.0), (0.1, INF)])
def test_float32_is_near_the_optimum(strengths: tuple[float, float]) -> None:
    options = {"reg_m_frames": strengths[0], "reg_m_tokens": strengths[1]}
    found = plan_of(random_cost().float(), max_iter=1000, tol=1e-5, **options)
    wanted = plan_of(random_cost(), **options, **CONVERGED)
    assert found.plan.dtype == torch.float32
    assert float((found.plan - wanted.plan).abs().sum((1, 2)).max()) <= 1e-5


@pytest.mark.parametrize("max_iter", [1, 3, 50])
@pytest.mark.parametrize("reg", [0.05, 0.005])
def test_every_token_has_its_full_mass_after_any_number_of_steps(max_iter: int, reg: float) -> None:
    lengths = torch.tensor([700, 350]), torch.tensor([90, 11])
    cost = random_cost(*lengths, seed=3).float()
    weights = random_weights(lengths[1], 4).float()
    found = unbalanced_transport_plan(
        cost, None, weights, *lengths, reg=reg, reg_m_frames=0.1, max_iter=max_iter
    )
    wanted = torch.nan_to_num(weights)
    assert float((found.token_mass - wanted).abs().max()) <= 1e-6
    assert float((found.token_mass / wanted - 1).nan_to_num().abs().max()) <= 1e-5


def test_exact_frames_have_their_full_mass() -> None:
    found = plan_of(random_cost().float(), reg_m_frames=INF, reg_m_tokens=0.1, max_iter=3)
    torch.testing.assert_close(found.frame_mass, found.frame_weights, rtol=1e-5, atol=1e-6)


def test_softly_bound_tokens_may_lose_their_mass() -> None:
    cost = random_cost().float()
    cost[0, :60, 0] = 2.0
    soft = plan_of(cost, reg_m_tokens=0.1)
    assert float(soft.token_mass[0, 0]) < 0.01 / 8
    assert float(plan_of(cost).token_mass[0, 0]) == pytest.approx(1 / 8, rel=1e-5)


@pytest.mark.parametrize("reference", ["product", "ones"])
@pytest.mark.parametrize("reg", [0.1, 0.05, 0.02, 0.01, 0.005])
def test_small_entropies_are_right_in_float32_with_a_token_that_no_frame_resembles(
    reg: float, reference: Any
) -> None:
    cost = random_cost(seed=5)
    for b in range(3):
        cost[b, : FRAMES[b], 1] = 2.0
    options = {"reg": reg, "reference": reference, "max_iter": 3000}
    for strengths in ((0.5, 1.0), (0.1, INF)):
        relaxed = {"reg_m_frames": strengths[0], "reg_m_tokens": strengths[1]}
        leaf = cost.float().requires_grad_()
        found = plan_of(leaf, tol=1e-6, **options, **relaxed)
        wanted = plan_of(cost, tol=1e-10, **options, **relaxed)
        assert float((found.plan.detach() - wanted.plan).abs().sum((1, 2)).max()) <= 5e-4
        (grad,) = torch.autograd.grad(found.plan.square().sum(), leaf)
        assert bool(grad.isfinite().all())


def test_a_cost_in_bfloat16_is_solved_in_float32() -> None:
    cost = random_cost()
    found = plan_of(cost.bfloat16())
    assert found.plan.dtype == torch.float32
    assert float((found.plan - plan_of(cost).plan).abs().sum((1, 2)).max()) <= 1e-2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = plan_of(cost.bfloat16())
    torch.testing.assert_close(inside.plan, found.plan, rtol=0, atol=0)


def leaves(seed: int) -> list[Tensor]:
    frames, tokens = torch.tensor([5, 4]), torch.tensor([3, 2])
    cost = random_cost(frames, tokens, seed=seed).nan_to_num(7.0)
    weights = random_weights(frames, seed), random_weights(tokens, seed + 1)
    return [t.requires_grad_() for t in (cost, *(w.nan_to_num(0.3) for w in weights))]


@pytest.mark.parametrize("reference", ["product", "ones"])
@pytest.mark.parametrize("strengths", [(0.5, 1.0), (0.05, 0.3), (0.5, INF), (INF, 0.2)])
def test_the_implicit_gradient_is_that_of_finite_differences(
    strengths: tuple[float, float], reference: Any
) -> None:
    lengths = torch.tensor([5, 4]), torch.tensor([3, 2])

    def plan(cost: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return unbalanced_transport_plan(
            cost, w, v, *lengths, reg=0.3, reg_m_frames=strengths[0], reg_m_tokens=strengths[1],
            reference=reference, max_iter=3000, tol=1e-14,
        ).plan  # fmt: skip

    assert torch.autograd.gradcheck(plan, leaves(0), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("strengths", [(0.5, 1.0), (0.5, INF), (INF, INF)])
def test_the_implicit_gradient_is_that_of_the_steps(strengths: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(7)
    weights = torch.randn(3, 60, 8, generator=generator, dtype=torch.float64)
    grads = []
    for gradient in ("implicit", "unrolled"):
        cost = random_cost().requires_grad_()
        found = plan_of(
            cost, reg=0.1, reg_m_frames=strengths[0], reg_m_tokens=strengths[1],
            gradient=gradient, max_iter=600,
        )  # fmt: skip
        grads += torch.autograd.grad((found.plan * weights).sum(), cost)
    assert float((grads[0] - grads[1]).abs().max()) <= 1e-9 * max(1, float(grads[1].abs().max()))


def test_in_float32_the_implicit_gradient_is_near_that_of_float64() -> None:
    grads = []
    for cost in (random_cost(), random_cost().float()):
        leaf = cost.requires_grad_()
        grads += torch.autograd.grad(plan_of(leaf, max_iter=200).plan.square().sum(), leaf)
    torch.testing.assert_close(grads[1].double(), grads[0], rtol=1e-3, atol=1e-5)


def test_a_plan_without_gradient_has_none() -> None:
    found = plan_of(random_cost().requires_grad_(), gradient="none")
    assert not found.plan.requires_grad


def by_definition(found: UnbalancedPlan, cost: Tensor, b: int) -> float:
    """The problem's value, entry by entry."""
    T, U = int(FRAMES[b]), int(TOKENS[b])
    plan, C = found.plan[b, :T, :U].numpy(), cost[b, :T, :U].numpy()
    w, v = found.frame_weights[b, :T].numpy(), found.token_weights[b, :U].numpy()
    options = found.relaxation

    def kl(a: Any, c: Any) -> float:
        return float((a * np.log(a / c) - a + c).sum())

    entropy = (
        kl(plan, w[:, None] * v) if options.product else float((plan * (np.log(plan) - 1)).sum())
    )
    value = float((plan * C).sum()) + options.reg * entropy
    for mass, weights, reg_m in (
        (plan.sum(1), w, options.reg_m_frames),
        (plan.sum(0), v, options.reg_m_tokens),
    ):
        value += 0.0 if math.isinf(reg_m) else reg_m * kl(mass, weights)
    return value


@pytest.mark.parametrize("reference", ["product", "ones"])
@pytest.mark.parametrize("strengths", [*STRENGTHS, (INF, INF)])
def test_the_value_is_the_problems_and_its_gradient_is_the_plan(
    strengths: tuple[float, float], reference: Any
) -> None:
    cost = random_cost()
    options = {"reg_m_frames": strengths[0], "reg_m_tokens": strengths[1], "reference": reference}
    found = plan_of(cost, **options, **CONVERGED)
    leaf = cost.clone().requires_grad_()
    values = transport_value(found, leaf)
    for b in range(3):
        assert float(values[b].detach()) == pytest.approx(by_definition(found, cost, b), rel=1e-9)
    (grad,) = torch.autograd.grad(values.sum(), leaf)
    torch.testing.assert_close(grad, found.plan, rtol=0, atol=0)
    # ... and the plan is the optimum's derivative.
    step = 1e-5
    cost[0, 7, 3] += step
    up = transport_value(plan_of(cost, **options, **CONVERGED), cost)
    cost[0, 7, 3] -= 2 * step
    down = transport_value(plan_of(cost, **options, **CONVERGED), cost)
    slope = float(up[0] - down[0]) / (2 * step)
    assert slope == pytest.approx(float(found.plan[0, 7, 3]), abs=1e-6)


@pytest.mark.parametrize("reference", ["product", "ones"])
@pytest.mark.parametrize("strengths", [(0.5, 1.0), (0.1, INF), (INF, 0.1)])
def test_the_values_gradient_in_the_weights_is_that_of_the_optimum(
    strengths: tuple[float, float], reference: Any
) -> None:
    lengths = torch.tensor([5, 4]), torch.tensor([3, 2])

    def value(cost: Tensor, w: Tensor, v: Tensor) -> Tensor:
        found = unbalanced_transport_plan(
            cost, w, v, *lengths, reg=0.3, reg_m_frames=strengths[0], reg_m_tokens=strengths[1],
            reference=reference, gradient="none", max_iter=3000, tol=1e-14,
        )  # fmt: skip
        return transport_value(found, cost)

    assert torch.autograd.gradcheck(value, leaves(2), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
@pytest.mark.parametrize("filling", [math.nan, INF, 1e30])
def test_padding_changes_nothing_and_has_no_gradient(filling: float, gradient: Any) -> None:
    options = {"gradient": gradient, "reg_m_tokens": 1.0}
    alone = [
        unbalanced_transport_plan(random_cost()[b : b + 1, :T, :U], **options).plan[0]
        for b, (T, U) in enumerate(zip(FRAMES.tolist(), TOKENS.tolist(), strict=True))
    ]
    cost = random_cost()
    padding = cost.isnan()
    leaf = cost.masked_fill(padding, filling).requires_grad_()
    found = plan_of(leaf, **options)
    assert not bool(found.plan.detach()[padding].any())
    for b, plan in enumerate(alone):
        torch.testing.assert_close(found.plan[b, : len(plan), : plan.shape[1]], plan)
    values = transport_value(found, leaf)
    # A loss may bring anything back into the padding.
    back = torch.where(padding, torch.nan, 1.0)
    grads = torch.autograd.grad([found.plan, values], leaf, [back, torch.ones(3)])
    assert not bool(grads[0][padding].any())
    assert bool(grads[0].isfinite().all())


def test_permuted_batches_have_permuted_plans() -> None:
    order = torch.tensor([2, 0, 1])
    found = unbalanced_transport_plan(
        random_cost()[order], None, None, FRAMES[order], TOKENS[order]
    )
    torch.testing.assert_close(found.plan, plan_of(random_cost()).plan[order])


@pytest.mark.parametrize("gradient", ["implicit", "unrolled", "none"])
@pytest.mark.parametrize(
    "sizes",
    [((5, 3), (4, 0)), ((5, 0), (4, 0)), ((0, 0), (0, 0)), ((1, 1), (1, 3)), ((2, 6), (9, 1))],
)
def test_utterances_may_be_empty_single_or_have_more_tokens_than_frames(
    sizes: tuple[tuple[int, int], ...], gradient: Any
) -> None:
    frames, tokens = torch.tensor([s[0] for s in sizes]), torch.tensor([s[1] for s in sizes])
    cost = torch.rand(2, int(frames.max()), int(tokens.max())).requires_grad_()
    found = unbalanced_transport_plan(cost, None, None, frames, tokens, gradient=gradient)
    share = torch.where(tokens > 0, 1.0, 0.0)
    torch.testing.assert_close(found.token_mass.sum(1), share)
    values = transport_value(found, cost)
    assert not bool(values[tokens == 0].any())
    means = barycentric(found.plan, torch.ones(2, cost.shape[1], 4))
    assert means.shape == (2, cost.shape[2], 4)
    if gradient != "none":
        (grad,) = torch.autograd.grad(values.sum() + found.plan.sum(), cost)
        assert bool(grad.isfinite().all())


@pytest.mark.parametrize(("reference", "most"), [("product", 0.05), ("ones", INF)])
def test_with_the_product_the_total_mass_does_not_depend_on_the_length(
    reference: Any, most: float
) -> None:
    # One utterance said 1, 2, 4 and 8 times over, with as many tokens.
    base = random_cost(torch.tensor([60]), torch.tensor([6]), d=12)
    masses = []
    for times in (1, 2, 4, 8):
        found = unbalanced_transport_plan(
            base.repeat(1, times, times), reg_m_frames=0.1, reg_m_tokens=0.1, reference=reference,
            **CONVERGED,
        )  # fmt: skip
        masses.append(float(found.plan.sum()))
    change = max(masses) / min(masses) - 1
    assert change <= most
    assert most < INF or change > 0.3


def test_frames_that_resemble_no_token_give_little() -> None:
    cost = torch.full((1, 10, 2), 0.2)
    cost[:, 6:] = 1.5
    found = unbalanced_transport_plan(cost, reg_m_frames=0.1)
    assert float(found.frame_mass[0, 6:].sum()) < 1e-3
    balanced = unbalanced_transport_plan(cost, reg_m_frames=INF)
    assert float(balanced.frame_mass[0, 6:].sum()) == pytest.approx(0.4, abs=1e-4)


def test_a_frame_without_weight_takes_no_part() -> None:
    weights = torch.tensor([[0.5, 0.0, 0.5]], requires_grad=True)
    cost = torch.tensor([[[0.1, 0.9], [0.0, 0.0], [0.9, 0.1]]], requires_grad=True)
    found = unbalanced_transport_plan(cost, weights)
    assert not bool(found.plan[0, 1].any())
    values = transport_value(found, cost)
    for grad in torch.autograd.grad(found.plan.square().sum() + values.sum(), (weights, cost)):
        assert not bool(grad[0, 1].any())
        assert bool(grad.isfinite().all())


def test_the_means_of_frames_are_those_of_a_loop() -> None:
    found = plan_of(random_cost())
    values = torch.randn(3, 60, 4, dtype=torch.float64)
    values[1, 47:] = torch.nan
    means = barycentric(found.plan, values)
    for b in range(3):
        for u in range(int(TOKENS[b])):
            plan = found.plan[b, : FRAMES[b], u]
            expected = (plan[:, None] * values[b, : FRAMES[b]]).sum(0) / plan.sum()
            torch.testing.assert_close(means[b, u], expected)
    assert not bool(means[2, 3:].any())


def test_more_steps_come_nearer_and_the_residual_says_so() -> None:
    optimum = plan_of(random_cost(), reg_m_tokens=1.0, **CONVERGED).plan
    distances, residuals = [], []
    for max_iter in (3, 10, 50):
        found = plan_of(random_cost(), reg_m_tokens=1.0, max_iter=max_iter)
        assert found.iterations == max_iter
        distances.append(float((found.plan - optimum).abs().sum()))
        residuals.append(float(found.residual.max()))
    assert distances == sorted(distances, reverse=True)
    assert residuals == sorted(residuals, reverse=True)
    assert distances[-1] < 1e-3
    assert plan_of(random_cost(), max_iter=5000, tol=1e-4).iterations < 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg": 0.0}, "reg must be above 0 and finite, got 0"),
        ({"reg_m_frames": -1.0}, "reg_m_frames must be above 0"),
        ({"reg_m_tokens": math.nan}, "reg_m_tokens must be above 0"),
        ({"reference": "one"}, "reference must be product or ones, got 'one'"),
        ({"gradient": "some"}, "gradient must be implicit, unrolled or none, got 'some'"),
        ({"max_iter": 0}, "max_iter must be at least 1, got 0"),
        (
            {"cost": torch.full((1, 3, 2), INF)},
            "utterance 0: cost must be finite; got inf at frame 0",
        ),
        ({"cost": torch.zeros(3, 2)}, "cost must have 3 dimensions"),
        ({"frame_lengths": torch.tensor([4])}, r"utterance 0: frame_lengths must lie in \[0, 3\]"),
        ({"frame_lengths": torch.tensor([0])}, "utterance 0: labels need at least one frame"),
        ({"frame_weights": torch.zeros(1, 3)}, "utterance 0: frame_weights must have one above 0"),
        (
            {"frame_weights": torch.tensor([[1.0, -1.0, 1.0]])},
            "utterance 0: frame_weights must be finite and at least 0; got -1.0 at position 1",
        ),
        (
            {"token_weights": torch.tensor([[1.0, 0.0]])},
            "utterance 0: token_weights must be finite and above 0; got 0.0 at position 1",
        ),
        ({"token_weights": torch.ones(1, 3)}, r"token_weights must have shape \(B, U\) = \(1, 2\)"),
        (
            {"token_weights": torch.ones(1, 2), "reg_m_frames": INF},
            "exact on both sides, frame_weights and token_weights must have the same sum; got 1.0 and 2",
        ),
    ],
)
def test_what_cannot_be_is_an_error(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"cost": torch.zeros(1, 3, 2), **change}
    with pytest.raises(ValueError, match=message):
        unbalanced_transport_plan(**arguments)


def test_unequal_sums_are_fine_where_a_side_gives_way() -> None:
    found = unbalanced_transport_plan(torch.zeros(1, 3, 2), None, torch.ones(1, 2))
    torch.testing.assert_close(found.token_mass, torch.ones(1, 2))
