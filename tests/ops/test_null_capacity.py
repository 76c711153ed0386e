"""The place for mass that matches nothing in `ottc_loss`, against a loop over frames in float64."""

import math

import pytest
import torch
from torch import Tensor

from espnet_ottc import OTTCLoss, ottc_loss

BACKENDS = ["eager", "cpu", "triton"]
B, T, V, U = 4, 11, 7, 3
FRAMES, LABELS = torch.tensor([11, 8, 5, 9]), torch.tensor([3, 2, 1, 0])
TARGETS = torch.tensor([[1, 2, 5], [4, 0, -1], [6, -1, -1], [-1, -1, -1]])
NULL = {"null_capacity": 0.8, "null_weight": 1.7, "null": 3}


def inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and frame scores that need gradients, with NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, T, V, generator=generator, dtype=torch.float64)
    scores = 2 * torch.randn(B, T, generator=generator, dtype=torch.float64)
    for b, n in enumerate(FRAMES.tolist()):
        logits[b, n:], scores[b, n:] = math.nan, math.nan
    return logits.to(dtype).requires_grad_(), scores.to(dtype).requires_grad_()


def losses(logits: Tensor, scores: Tensor, backend: str = "auto", **null: float) -> Tensor:
    return ottc_loss(
        logits, scores, TARGETS, FRAMES, LABELS, reduction="none", backend=backend, **null
    )


def looped(logits: Tensor, scores: Tensor) -> tuple[list[float], Tensor]:
    """The term alone and its gradient in the logits, one frame after the other, from the definition."""
    values, grad = [], torch.zeros_like(logits)
    for b in range(B):
        value, n = 0.0, int(FRAMES[b])
        total = sum(math.exp(float(w)) for w in scores[b, :n])
        for t in range(n if LABELS[b] else 0):
            alpha = math.exp(float(scores[b, t])) / total
            unused = max(NULL["null_capacity"] / n - alpha, 0.0)
            row = [float(z) for z in logits[b, t]]
            sum_of = sum(map(math.exp, row))
            value += 1.7 * unused * (math.log(sum_of) - row[3])
            for v in range(V):
                grad[b, t, v] = 1.7 * unused * (math.exp(row[v]) / sum_of - (v == 3))
        values.append(value)
    return values, grad


def test_value_and_gradient_are_those_of_a_loop_over_frames() -> None:
    logits, scores = inputs(torch.float64)
    values, expected = looped(logits.detach(), scores.detach())
    assert sum(values) > 1
    plain, found = losses(logits, scores), losses(logits, scores, **NULL)
    difference = found - plain
    torch.testing.assert_close(difference.detach().tolist(), values, atol=1e-12, rtol=0)
    grad, frame_grad = torch.autograd.grad(difference.sum(), (logits, scores))
    torch.testing.assert_close(grad, expected, atol=1e-12, rtol=0)
    assert bool((frame_grad == 0).all()), (
        "the capacity that is not used passes no gradient to alpha"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_kernels_agree_with_the_reference(backend: str) -> None:
    factors = torch.tensor([0.7, 1.9, 0.0, 1.1])
    wide = inputs(torch.float64)
    expected = losses(*wide, backend="eager", **NULL)
    narrow = tuple(x.detach().float().requires_grad_() for x in wide)
    found = losses(*narrow, backend=backend, **NULL)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    grads = torch.autograd.grad((found * factors).sum(), narrow)
    wanted = torch.autograd.grad((expected * factors).sum(), wide)
    for one, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("off", [{"null_capacity": 0.0}, {"null_weight": 0.0}])
def test_without_capacity_or_weight_the_loss_is_the_same_to_the_last_bit(
    backend: str, off: dict[str, float]
) -> None:
    leaves = inputs()
    plain, found = losses(*leaves, backend), losses(*leaves, backend, **{**NULL, **off})
    assert torch.equal(plain, found)
    for one, other in zip(
        torch.autograd.grad(found.sum(), leaves),
        torch.autograd.grad(plain.sum(), leaves),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_and_texts_without_labels_have_no_share(backend: str) -> None:
    leaves = inputs()
    found = losses(*leaves, backend, **NULL)
    assert found[3].item() == 0
    grads = torch.autograd.grad(found.sum(), leaves)
    for grad in grads:
        assert bool((grad[3] == 0).all())
        for b, n in enumerate(FRAMES.tolist()):
            assert bool((grad[b, n:] == 0).all())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dropped_frame_teaches_the_null_label_with_its_whole_capacity(backend: str) -> None:
    logits, scores = inputs()
    with torch.no_grad():
        scores[0, 4] = -math.inf
    found = losses(logits, scores, backend, **NULL)
    (grad,) = torch.autograd.grad(found[0], logits)
    weight = NULL["null_weight"] * NULL["null_capacity"] / 11
    expected = weight * (logits[0, 4].softmax(0) - torch.eye(V)[3])
    torch.testing.assert_close(grad[0, 4], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_null_label_of_probability_0_costs_infinity_or_nothing(backend: str) -> None:
    logits, scores = inputs()
    with torch.no_grad():
        logits[0, :, 3] = -math.inf
    found = losses(logits, scores, backend, **NULL)
    assert found[0] == math.inf
    assert bool(found[1:].isfinite().all())
    clean = losses(logits, scores, backend, **NULL, zero_infinity=True)
    assert clean[0] == 0
    (grad,) = torch.autograd.grad(clean.sum(), logits)
    assert bool((grad[0] == 0).all())
    assert bool(grad[1, :8].isfinite().all())


def test_gradcheck_in_the_logits() -> None:
    logits, scores = inputs(torch.float64)
    with torch.no_grad():
        logits.nan_to_num_(0.0)
    assert torch.autograd.gradcheck(lambda z: losses(z, scores.detach(), **NULL), (logits,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_same_to_its_rounding(dtype: torch.dtype) -> None:
    logits, scores = inputs()
    expected = losses(logits, scores, **NULL)
    half = logits.detach().to(dtype).requires_grad_()
    found = losses(half, scores, **NULL)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
    (grad,), (wanted,) = (
        torch.autograd.grad(found.sum(), half),
        torch.autograd.grad(expected.sum(), logits),
    )
    torch.testing.assert_close(grad.float(), wanted, atol=2e-2, rtol=2e-2)


def test_vmap_and_compiling_give_the_same() -> None:
    torch._dynamo.reset()
    batches = [inputs(seed=seed) for seed in range(2)]
    stacked = [torch.stack(x).detach().nan_to_num(0.0) for x in zip(*batches, strict=True)]
    expected = torch.stack([losses(*one, **NULL) for one in zip(*stacked, strict=True)])
    mapped = torch.vmap(lambda z, w: losses(z, w, **NULL))(*stacked)
    torch.testing.assert_close(mapped, expected)
    grads = torch.func.grad(
        lambda z: torch.vmap(lambda x, w: losses(x, w, **NULL))(z, stacked[1]).sum()
    )
    one = stacked[0].clone().requires_grad_()
    torch.stack(
        [losses(z, w, **NULL) for z, w in zip(one, stacked[1], strict=True)]
    ).sum().backward()
    torch.testing.assert_close(grads(stacked[0]), one.grad)
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    leaves = inputs()
    found = compiled(*leaves, **NULL)
    assert torch.equal(found, losses(*leaves, **NULL))
    (grad,) = torch.autograd.grad(found.sum(), leaves[0])
    assert torch.equal(grad, torch.autograd.grad(losses(*leaves, **NULL).sum(), leaves[0])[0])


def test_the_scale_counts_for_the_term_too() -> None:
    leaves = inputs()
    unit = losses(*leaves, **NULL)
    scaled = losses(*leaves, **NULL, scale="frames")
    torch.testing.assert_close(scaled, unit * FRAMES)


def test_the_module_has_the_same_options() -> None:
    module = OTTCLoss("none", **NULL)
    assert "null_capacity=0.8, null_weight=1.7, null=3" in repr(module)
    leaves = inputs()
    assert torch.equal(module(*leaves, TARGETS, FRAMES, LABELS), losses(*leaves, **NULL))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"null_capacity": 1.5}, r"null_capacity must lie in \[0, 1\], got 1.5"),
        ({"null_capacity": math.nan}, "null_capacity must lie"),
        ({"null_weight": -1.0}, "null_weight must be finite and >= 0, got -1.0"),
        ({"null_weight": math.inf}, "null_weight must be finite"),
        ({"null": 7}, r"null must be a label id in \[0, V = 7\), got 7"),
        ({"null": -1}, r"null must be a label id .* got -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses(*inputs(), **{**NULL, **options})
