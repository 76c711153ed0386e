"""sotd: the exact minimum against independent solvers, its gradient, padding, and its errors."""

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
import torch
from reference import reference_plan, tolerance
from scipy.optimize import linprog
from torch import Tensor

from espnet_ottc.ops.sotd import sotd

COSTS = ["euclidean", "squared_euclidean", "cosine", "cross_entropy"]


def reference_cost(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """C(x_i, y_j) for all i, j of one pair of sequences."""
    if name == "cosine":
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None]
        return 1 - x @ y.T / norms
    if name == "cross_entropy":
        return -np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True)) @ y.T
    distance = np.sqrt(((x[:, None] - y[None]) ** 2).sum(2))
    return distance if name == "euclidean" else distance**2


def brute_force(costs: np.ndarray, beta: np.ndarray, r: int) -> float:
    """S_r from C (n, m), over all monotone assignments of the shorter sequence to the longer."""
    C = costs if costs.shape[0] >= costs.shape[1] else costs.T
    p, q = C.shape
    totals = [
        sum(beta[j] * C[i, j] ** r for j, i in enumerate(assignment))
        for assignment in combinations_with_replacement(range(p), q)
    ]
    return min(totals) ** (1 / r)


def staircases(p: int, q: int) -> Iterator[list[tuple[int, int]]]:
    """All lattice paths from (0, 0) to (p-1, q-1): every monotone support lies on one of them."""
    for rises in combinations(range(p + q - 2), p - 1):
        cells = [(0, 0)]
        for step in range(p + q - 2):
            i, j = cells[-1]
            cells.append((i + 1, j) if step in rises else (i, j + 1))
        yield cells


def linear_programmes(costs: np.ndarray, beta: np.ndarray, r: int) -> float:
    """S_r over all plans: for each staircase, the cheapest plan on it with column sums beta."""
    C = costs if costs.shape[0] >= costs.shape[1] else costs.T
    p, q = C.shape
    best = np.inf
    for cells in staircases(p, q):
        sums = np.array([[float(cell[1] == j) for cell in cells] for j in range(q)])
        solution = linprog([C[cell] ** r for cell in cells], A_eq=sums, b_eq=beta)
        assert solution.success
        best = min(best, solution.fun)
    return float(best ** (1 / r))


def random_beta(generator: torch.Generator, batch: int, q: int) -> Tensor:
    weights = torch.rand((batch, q), generator=generator, dtype=torch.float64) + 0.1
    return weights / weights.sum(1, keepdim=True)


def random_pair(
    cost: str, n: int, m: int, batch: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((batch, n, 3), generator=generator, dtype=torch.float64)
    y = torch.randn((batch, m, 3), generator=generator, dtype=torch.float64)
    return x, y.softmax(2) if cost == "cross_entropy" else y, generator


# The minimum.


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(5, 3), (3, 5), (4, 4), (1, 4), (4, 1), (1, 1)])
def test_distance_is_the_least_over_all_monotone_assignments(
    cost: str, r: int, n: int, m: int
) -> None:
    x, y, generator = random_pair(cost, n, m)
    beta = random_beta(generator, 3, min(n, m))
    got = sotd(x, y, cost, r, beta)
    for b in range(3):
        costs = reference_cost(cost, x[b].numpy(), y[b].numpy())
        assert got[b].item() == pytest.approx(brute_force(costs, beta[b].numpy(), r), rel=1e-9)


@pytest.mark.parametrize("r", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(4, 3), (3, 4), (3, 3), (5, 2)])
def test_no_plan_is_cheaper_by_linear_programming(r: int, n: int, m: int) -> None:
    x, y, generator = random_pair("euclidean", n, m, batch=2, seed=1)
    beta = random_beta(generator, 2, min(n, m))
    got = sotd(x, y, "euclidean", r, beta)
    for b in range(2):
        costs = reference_cost("euclidean", x[b].numpy(), y[b].numpy())
        assert got[b].item() == pytest.approx(
            linear_programmes(costs, beta[b].numpy(), r), rel=1e-7
        )


@pytest.mark.parametrize(("n", "m"), [(7, 4), (4, 7), (5, 5)])
def test_returned_alpha_attains_the_distance_through_its_transport_plan(n: int, m: int) -> None:
    x, y, generator = random_pair("euclidean", n, m, seed=2)
    beta = random_beta(generator, 3, min(n, m))
    distance, alpha = sotd(x, y, r=2, label_weights=beta, return_alpha=True)
    assert alpha.shape == (3, max(n, m))
    for b in range(3):
        plan = reference_plan(alpha[b].tolist(), beta[b].tolist())
        costs = reference_cost("euclidean", x[b].numpy(), y[b].numpy())
        total = (plan * (costs if n >= m else costs.T) ** 2).sum()
        assert total**0.5 == pytest.approx(distance[b].item(), rel=1e-9)


def test_planted_assignment_is_recovered_among_many_elements() -> None:
    generator = torch.Generator().manual_seed(3)
    y = torch.randn((2, 40, 8), generator=generator)
    x = torch.randn((2, 300, 8), generator=generator)
    planted = torch.stack([torch.randperm(300, generator=generator)[:40].sort()[0] for _ in "ab"])
    x.scatter_(1, planted[:, :, None].expand(-1, -1, 8), y)
    distance, alpha = sotd(x, y, return_alpha=True)
    assert (distance == 0).all()
    expected = torch.zeros(2, 300).scatter(1, planted, 1 / 40)
    torch.testing.assert_close(alpha, expected)


def test_one_long_element_may_take_all_mass_and_the_others_none() -> None:
    x = torch.tensor([[[9.0], [0.0], [9.0]]])
    y = torch.tensor([[[0.0], [0.0]]])
    distance, alpha = sotd(x, y, return_alpha=True)
    assert distance.tolist() == [0.0]
    assert alpha.tolist() == [[0.0, 1.0, 0.0]]


def test_cost_is_always_taken_of_x_first() -> None:
    def one_way(x: Tensor, y: Tensor) -> Tensor:
        return (x - 2 * y).clamp(min=0).sum(-1)

    long = torch.tensor([[[4.0], [6.0], [5.0]]])
    short = torch.tensor([[[1.0]]])
    assert sotd(long, short, one_way).tolist() == [2.0]
    assert sotd(short, long, one_way).tolist() == [0.0]
    assert sotd(short, short * 0.25, one_way).tolist() == [0.5]


def test_equally_long_sequences_put_alpha_on_x() -> None:
    a_a, a_b = torch.tensor([[[0.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    assert sotd(a_b, a_a, return_alpha=True)[1].tolist() == [[1.0, 0.0]]
    assert sotd(a_a, a_b).tolist() == [0.5]


def test_cross_entropy_accepts_one_hot_labels_and_impossible_classes() -> None:
    logits = torch.tensor([[[0.0, 0.0, -torch.inf], [5.0, 0.0, -torch.inf]]], requires_grad=True)
    labels = torch.tensor([[[0.0, 1.0, 0.0]]])
    distance = sotd(logits, labels, "cross_entropy")
    assert distance.item() == pytest.approx(np.log(2))
    distance.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]


def test_cosine_of_parallel_vectors_is_zero_and_never_negative() -> None:
    x = torch.rand((64, 3, 5), generator=torch.Generator().manual_seed(4))
    distance = sotd(x, 3 * x, "cosine", 3)
    assert (distance >= 0).all()
    torch.testing.assert_close(distance, torch.zeros(64), atol=1e-2, rtol=0)


# Gradients.


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(5, 3), (3, 5), (3, 3)])
def test_gradient_equals_finite_differences(cost: str, r: int, n: int, m: int) -> None:
    x, y, generator = random_pair(cost, n, m, batch=2, seed=5)
    beta = random_beta(generator, 2, min(n, m))
    inputs = tuple(tensor.requires_grad_() for tensor in (x, y, beta))

    def distance(x: Tensor, y: Tensor, beta: Tensor) -> Tensor:
        # Finite differences leave the simplex, which is fine for a function linear in beta.
        return sotd(x, y, cost, r, beta, validate=False)

    assert torch.autograd.gradcheck(distance, inputs)


@pytest.mark.parametrize("cost", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_gradient_at_distance_zero_is_zero(cost: str, r: int) -> None:
    x = torch.tensor([[[1.0], [2.0], [2.0]]], requires_grad=True)
    y = torch.tensor([[[1.0], [2.0]]], requires_grad=True)
    distance = sotd(x, y, cost, r)
    distance.sum().backward()
    assert distance.tolist() == [0.0]
    assert x.grad is not None
    assert y.grad is not None
    assert not x.grad.any()
    assert not y.grad.any()


def test_gradient_descent_on_x_reaches_a_sequence_that_collapses_to_y() -> None:
    y = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]])
    noise = torch.randn((1, 6, 2), generator=torch.Generator().manual_seed(6))
    x = (y.repeat_interleave(2, 1) + 0.3 * noise).requires_grad_()
    optimiser = torch.optim.SGD([x], lr=0.2)
    for _ in range(80):
        optimiser.zero_grad()
        sotd(x, y, "squared_euclidean").sum().backward()
        optimiser.step()
    distance, alpha = sotd(x, y, return_alpha=True)
    assert distance.item() < 1e-2
    torch.testing.assert_close(x[0][alpha[0] > 0], y[0], atol=2e-2, rtol=0)


# Batches, padding, dtypes.


def test_padded_batch_of_mixed_orientations_equals_the_loop() -> None:
    x, y, generator = random_pair("euclidean", 6, 5, batch=5, seed=7)
    x_lengths, y_lengths = torch.tensor([6, 2, 4, 1, 5]), torch.tensor([3, 5, 4, 1, 5])
    q = torch.minimum(x_lengths, y_lengths)
    beta = random_beta(generator, 5, 5) * (torch.arange(5) < q[:, None])
    beta = beta / beta.sum(1, keepdim=True)
    for b in range(5):
        x[b, x_lengths[b] :] = torch.nan
        y[b, y_lengths[b] :] = torch.inf
        beta[b, q[b] :] = torch.nan
    x.requires_grad_()
    y.requires_grad_()

    def distances(
        x: Tensor, y: Tensor, beta: Tensor, lengths: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        return sotd(x, y, r=2, label_weights=beta, return_alpha=True, **lengths)

    together, alpha = distances(x, y, beta, {"x_lengths": x_lengths, "y_lengths": y_lengths})
    gradients = torch.autograd.grad(together.sum(), (x, y))
    assert all(gradient.isfinite().all() for gradient in gradients)
    for b in range(5):
        n, m = int(x_lengths[b]), int(y_lengths[b])
        x_b = x[b : b + 1, :n].detach().requires_grad_()
        y_b = y[b : b + 1, :m].detach().requires_grad_()
        alone, alpha_b = distances(x_b, y_b, beta[b : b + 1, : min(n, m)], {})
        torch.testing.assert_close(together[b : b + 1], alone)
        torch.testing.assert_close(alpha[b, : max(n, m)], alpha_b[0])
        assert not alpha[b, max(n, m) :].any()
        for padded, single, length in zip(
            gradients, torch.autograd.grad(alone.sum(), (x_b, y_b)), (n, m), strict=True
        ):
            torch.testing.assert_close(padded[b, :length], single[0])
            assert not padded[b, length:].any()


def test_uniform_label_weights_are_the_default_for_each_utterance() -> None:
    x, y, _ = random_pair("euclidean", 5, 4, batch=2, seed=8)
    y_lengths = torch.tensor([4, 2])
    uniform = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        sotd(x, y, y_lengths=y_lengths), sotd(x, y, label_weights=uniform, y_lengths=y_lengths)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cost", COSTS)
def test_dtype_is_kept_and_half_precision_computed_in_single(dtype: torch.dtype, cost: str) -> None:
    x, y, _ = random_pair(cost, 6, 4, seed=9)
    x, y = x.to(dtype), y.to(dtype)
    distance, alpha = sotd(x, y, cost, 2, return_alpha=True)
    assert distance.dtype == alpha.dtype == dtype
    expected = sotd(x.double(), y.double(), cost, 2)
    close = {"rtol": tolerance(dtype), "atol": tolerance(dtype)}
    torch.testing.assert_close(distance.double(), expected, **close)
    if dtype.itemsize == 2:
        assert torch.equal(distance, sotd(x.float(), y.float(), cost, 2).to(dtype))


def test_no_value_is_read_outside_the_cpu() -> None:
    # Tensors on the meta device have shapes but no values: reading one raises.
    x = torch.zeros((2, 5, 3), device="meta", requires_grad=True)
    y = torch.zeros((2, 4, 3), device="meta")
    lengths = torch.tensor([4, 3], device="meta")
    distance, alpha = sotd(x, y, r=2, x_lengths=lengths, return_alpha=True)
    distance.sum().backward()
    assert distance.shape == (2,)
    assert alpha.shape == (2, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_is_kept_and_nothing_synchronises() -> None:
    x, y, _ = random_pair("euclidean", 6, 4, seed=10)
    lengths = torch.tensor([6, 3, 2])
    expected = sotd(x, y, x_lengths=lengths)
    arguments = (x.cuda().requires_grad_(), y.cuda())
    on_device = lengths.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        distance, alpha = sotd(*arguments, x_lengths=on_device, return_alpha=True)
        distance.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert distance.device.type == alpha.device.type == "cuda"
    torch.testing.assert_close(distance.detach().cpu(), expected)


def test_long_sequences_stay_exact_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(11)
    x = torch.randn((1, 20_000, 2), generator=generator)
    y = torch.randn((1, 30, 2), generator=generator)
    torch.testing.assert_close(sotd(x, y).double(), sotd(x.double(), y.double()))


def test_nan_in_a_valid_element_shows_in_its_own_utterance_alone() -> None:
    x, y, _ = random_pair("euclidean", 4, 3, seed=12)
    x[1, 2] = torch.nan
    assert sotd(x, y).isnan().tolist() == [False, True, False]


def test_an_empty_batch_gives_no_distances() -> None:
    distance, alpha = sotd(torch.zeros(0, 4, 2), torch.zeros(0, 3, 2), return_alpha=True)
    assert distance.shape == (0,)
    assert alpha.shape == (0, 4)


# Errors.


def test_empty_sequences_are_refused_and_named() -> None:
    x, y, _ = random_pair("euclidean", 4, 3)
    with pytest.raises(ValueError, match="utterance 1: x must have an element, got length 0"):
        sotd(x, y, x_lengths=torch.tensor([4, 0, 4]))
    with pytest.raises(ValueError, match="utterance 0: y must have an element"):
        sotd(x, y[:, :0])


def test_an_empty_sequence_gives_nan_where_values_are_not_checked() -> None:
    x, y, _ = random_pair("euclidean", 4, 3)
    distance = sotd(x, y, r=2, y_lengths=torch.tensor([3, 0, 3]), validate=False)
    assert distance.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("r", [0, -1, 1.5, True])
def test_an_order_that_is_no_positive_integer_is_refused(r: int) -> None:
    x, y, _ = random_pair("euclidean", 4, 3)
    with pytest.raises(ValueError, match="r must be an integer of at least 1"):
        sotd(x, y, r=r)


def test_wrong_shapes_costs_and_weights_are_refused() -> None:
    x, y, _ = random_pair("euclidean", 4, 3)
    with pytest.raises(ValueError, match="cost must be callable or one of euclidean"):
        sotd(x, y, "manhattan")
    with pytest.raises(ValueError, match="y must have shape"):
        sotd(x, y[:, :, :2])
    with pytest.raises(TypeError, match="x must be floating point"):
        sotd(x.long(), y)
    with pytest.raises(ValueError, match="label_weights must have shape"):
        sotd(x, y, label_weights=torch.full((3, 4), 0.25))
    with pytest.raises(ValueError, match="utterance 0: label_weights must sum to 1"):
        sotd(x, y, label_weights=torch.full((3, 3), 0.25))
    with pytest.raises(ValueError, match="utterance 2: x_lengths must lie in"):
        sotd(x, y, x_lengths=torch.tensor([4, 4, 5]))
    with pytest.raises(ValueError, match="cost must return one value for each pair"):
        sotd(x, y, lambda x, y: x - y)
    with pytest.raises(ValueError, match="utterance 0: cost must not be negative"):
        sotd(x, y, lambda x, y: -(x - y).abs().sum(-1))
