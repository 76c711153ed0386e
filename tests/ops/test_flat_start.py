"""The search of a flat start, against an enumeration of every alignment."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from espnet_ottc import OTTCHead
from espnet_ottc.ops.flat_start import flat_start_loss, flat_start_share, searched_plan

V = 5


def enumerated(log_probs: Tensor, labels: list[int], beta: list[float]) -> Tensor:
    """(T, U) masses: every way to cut the frames into U runs, weighted by its probability."""
    T, U = len(log_probs), len(labels)
    posterior = torch.zeros(T, U, dtype=torch.float64)
    for cuts in itertools.combinations(range(1, T), U - 1):
        path = [sum(t >= cut for cut in cuts) for t in range(T)]
        probability = math.exp(sum(float(log_probs[t, labels[u]]) for t, u in enumerate(path)))
        posterior[range(T), path] += probability
    return torch.tensor(beta, dtype=torch.float64) * posterior / posterior.sum(0)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(5, 7, V, generator=generator, dtype=torch.float64)
    frame_logits = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[1, 2, 1], [3, -1, -1], [4, 0, 4], [1, 1, 1], [9, 9, 9]])
    frames, labels = torch.tensor([7, 5, 3, 2, 0]), torch.tensor([3, 1, 3, 3, 0])
    for b, length in enumerate(frames.tolist()):
        logits[b, length:] = torch.nan
        frame_logits[b, length:] = torch.nan
    return logits.to(dtype), frame_logits.to(dtype), targets, frames, labels


@pytest.mark.parametrize("weighted", [False, True])
def test_the_plan_is_the_posterior_of_all_alignments_with_the_labels_weights(
    weighted: bool,
) -> None:
    logits, _, targets, frames, labels = batch()
    weights = torch.tensor([[0.5, 0.2, 0.3], [1, 0, 0], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0] * 3])
    log_probs = logits.log_softmax(2)
    plan = searched_plan(log_probs, targets, frames, labels, weights if weighted else None)
    assert plan.found.tolist() == [True, True, True, False, False]
    for b in range(3):
        T, U = int(frames[b]), int(labels[b])
        beta = weights[b, :U].tolist() if weighted else [1 / U] * U
        expected = enumerated(log_probs[b, :T], targets[b, :U].tolist(), beta)
        torch.testing.assert_close(plan.mass[b, :T, :U], expected, rtol=1e-6, atol=1e-9)
        assert plan.mass[b].sum().item() == pytest.approx(1)
    assert not plan.mass[3:].any()


def test_the_loss_is_the_cross_entropy_of_both_marginals() -> None:
    logits, frame_logits, targets, frames, labels = batch()
    losses = flat_start_loss(logits, frame_logits, targets, frames, labels)
    for b in range(3):
        T, U = int(frames[b]), int(labels[b])
        log_probs, ids = logits[b, :T].log_softmax(1), targets[b, :U].tolist()
        mass = enumerated(log_probs, ids, [1 / U] * U)
        log_alpha = frame_logits[b, :T].log_softmax(0)
        expected = -(mass * log_probs[:, ids]).sum()
        expected = expected + (mass.sum(1) * (mass.sum(1).log() - log_alpha)).sum()
        torch.testing.assert_close(losses[b], expected, rtol=1e-6, atol=1e-9)
    assert losses[3:].tolist() == [0, 0]


def test_the_gradient_is_that_of_a_fixed_plan_and_none_in_the_padding() -> None:
    logits, frame_logits, targets, frames, labels = batch()
    logits.requires_grad_()
    frame_logits.requires_grad_()
    loss = flat_start_loss(logits, frame_logits, targets, frames, labels).sum()
    loss.backward()
    assert logits.grad is not None
    assert frame_logits.grad is not None
    mass = searched_plan(logits.detach().log_softmax(2), targets, frames, labels).mass
    for b, (T, U) in enumerate(zip(frames.tolist(), labels.tolist(), strict=True)):
        wanted_frames, wanted = torch.zeros(7).double(), torch.zeros(7, V).double()
        if 0 < U <= T:
            alpha = frame_logits[b, :T].detach().softmax(0)
            wanted_frames[:T] = alpha - mass[b, :T].sum(1)
            wanted[:T] = mass[b, :T].sum(1, keepdim=True) * logits[b, :T].detach().softmax(1)
            wanted[:T].index_add_(1, targets[b, :U], -mass[b, :T, :U])
        torch.testing.assert_close(logits.grad[b], wanted)
        torch.testing.assert_close(frame_logits.grad[b], wanted_frames)


def test_where_the_posteriors_are_sure_it_is_the_alignment_and_costs_nothing() -> None:
    path = torch.tensor([[1, 1, 1, 2, 2, 3]])
    logits = 100 * torch.nn.functional.one_hot(path, V).double()
    frame_logits = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0.5, 0.5, 1.0]]).double().log()
    targets, frames, labels = torch.tensor([[1, 2, 3]]), torch.tensor([6]), torch.tensor([3])
    loss = flat_start_loss(logits, frame_logits, targets, frames, labels)
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert flat_start_loss(logits, frame_logits.flip(1), targets, frames, labels).item() > 0.1


def test_long_sequences_and_improbable_labels_stay_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.randn(1, 2000, V, generator=generator)
    targets = torch.randint(1, V, (1, 600), generator=generator)
    frames, labels = torch.tensor([2000]), torch.tensor([600])
    plan = searched_plan(logits.log_softmax(2), targets, frames, labels)
    assert plan.found.all()
    torch.testing.assert_close(plan.mass.sum(1), torch.full((1, 600), 1 / 600))
    assert flat_start_loss(logits, logits[..., 0], targets, frames, labels).isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    logits, frame_logits, targets, frames, labels = batch(torch.bfloat16)
    losses = flat_start_loss(logits, frame_logits, targets, frames, labels)
    assert losses.dtype == torch.float32
    wide = flat_start_loss(logits.float(), frame_logits.float(), targets, frames, labels)
    torch.testing.assert_close(losses, wide)


def test_the_search_is_an_operator() -> None:
    logits, _, targets, frames, labels = batch(torch.float32)
    ids = targets.clamp(0, V - 1)[:, None].expand(-1, 7, -1)
    scores = logits.nan_to_num().log_softmax(2).gather(2, ids)
    arguments = (scores, frames, labels)
    found = torch.library.opcheck(torch.ops.espnet_ottc.position_posterior.default, arguments)
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("weighted", [False, True])
def test_a_compiled_flat_start_has_no_graph_break_and_the_same_gradients(weighted: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(flat_start_loss, fullgraph=True, backend="aot_eager")
    logits, frame_logits, targets, frames, labels = batch(torch.float32)
    weights = torch.full((5, 3), 1 / 3) if weighted else None
    results = []
    for function in (flat_start_loss, compiled):
        leaves = logits.clone().requires_grad_(), frame_logits.clone().requires_grad_()
        losses = function(*leaves, targets, frames, labels, weights)
        results.append([losses, *torch.autograd.grad(losses.sum(), leaves)])
    torch.testing.assert_close(results[1], results[0])


def test_a_model_with_a_flat_start_is_compiled_as_a_whole() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    head = OTTCHead(4, V, dropout=0.0)
    head.flat_start = 0.5
    hidden = torch.randn(2, 7, 4)
    arguments = (hidden, torch.tensor([7, 5]), torch.tensor([[1, 2, 3], [4, -100, -100]]))
    expected = torch.autograd.grad(head.loss(*arguments), list(head.parameters()))
    loss = torch.compile(head.loss, fullgraph=True, backend="aot_eager")(*arguments)
    torch.testing.assert_close(torch.autograd.grad(loss, list(head.parameters())), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same() -> None:
    logits, frame_logits, *rest = batch(torch.float32)
    found = []
    for device in ("cpu", "cuda"):
        scores = logits.detach().to(device).requires_grad_()
        weights = frame_logits.detach().to(device).requires_grad_()
        losses = flat_start_loss(scores, weights, *(tensor.to(device) for tensor in rest))
        losses.sum().backward()
        assert losses.device.type == device
        assert scores.grad is not None
        assert weights.grad is not None
        found.append((losses.detach().cpu(), scores.grad.cpu(), weights.grad.cpu()))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("shape", [(2, 0, 0), (2, 4, 0), (0, 4, 3)])
def test_empty_batches_cost_nothing(shape: tuple[int, int, int]) -> None:
    B, T, U = shape
    targets = torch.zeros(B, U, dtype=torch.long)
    lengths = torch.full((B,), T), torch.zeros(B, dtype=torch.long)
    losses = flat_start_loss(torch.zeros(B, T, V), torch.zeros(B, T), targets, *lengths)
    assert losses.tolist() == [0.0] * B


def test_wrong_kinds_are_errors() -> None:
    logits, frame_logits, targets, frames, labels = batch()
    with pytest.raises(ValueError, match="frame_logits must have shape"):
        flat_start_loss(logits, frame_logits[:, 1:], targets, frames, labels)
    with pytest.raises(TypeError, match="targets must be of an integer dtype"):
        searched_plan(logits, targets.double(), frames, labels)
    with pytest.raises(ValueError, match="label_weights must have shape"):
        searched_plan(logits, targets, frames, labels, torch.ones(5, 2))


def test_its_share_of_the_loss_ends_by_equal_steps() -> None:
    shares = [flat_start_share(epoch, 6) for epoch in range(1, 10)]
    assert shares == pytest.approx([1] * 6 + [2 / 3, 1 / 3, 0])
    assert flat_start_share(1, 0) == 0
