"""Second derivatives: right, or an error where the first is written by hand; losses that may be infinite."""

import pytest
import torch
from torch import Tensor

from espnet_ottc import OTTCLoss, ottc_loss, sotd, transport_plan
from espnet_ottc.ops.regularizers import kl_to_uniform, roughness

BACKENDS = ["eager", "cpu", "triton"]
LENGTHS = torch.tensor([5, 4]), torch.tensor([3, 2])
TARGETS = torch.tensor([[1, 2, 3], [2, 1, 0]])


def leaves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    shapes = torch.randn(2, 5, 4, generator=generator), torch.randn(2, 5, generator=generator)
    return [tensor.requires_grad_() for tensor in (*shapes, weights)]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["logits", "frame_logits", "label_weights"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_penalty_on_the_loss_is_an_error(backend: str, place: int) -> None:
    inputs = leaves()
    loss = ottc_loss(*inputs[:2], TARGETS, *LENGTHS, inputs[2], backend=backend)
    (grad,) = torch.autograd.grad(loss, inputs[place], create_graph=True)
    with pytest.raises(RuntimeError, match="ottc_loss has no second derivative"):
        (loss + grad.square().sum()).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_create_graph_alone_changes_no_gradient(backend: str) -> None:
    inputs = leaves()
    loss = ottc_loss(*inputs[:2], TARGETS, *LENGTHS, inputs[2], backend=backend)
    plain = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert all(map(torch.equal, plain, torch.autograd.grad(loss, inputs, create_graph=True)))


def test_the_plan_has_right_second_derivatives() -> None:
    beta = torch.tensor([[0.25, 0.35, 0.4]], dtype=torch.float64)
    scores = torch.tensor([[0.1, 0.5, -0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda w: transport_plan(w.softmax(1), beta, validate=False).mass, scores
    )


def test_sotd_has_right_second_derivatives() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = (
        torch.randn(1, n, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (4, 2)
    )
    assert torch.autograd.gradgradcheck(lambda a, b: sotd(a, b, r=2), (x, y))


@pytest.mark.parametrize("penalty", [kl_to_uniform, roughness])
def test_penalties_have_right_second_derivatives(penalty: object) -> None:
    scores = torch.tensor([[0.1, 0.5, -0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    assert callable(penalty)
    assert torch.autograd.gradgradcheck(lambda w: penalty(w, torch.tensor([3])), scores)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_infinity_drops_an_impossible_utterance_from_loss_and_gradients(backend: str) -> None:
    inputs = leaves()
    with torch.no_grad():
        inputs[0][1, :, 2] = -torch.inf
    options = {"backend": backend, "reduction": "none"}
    assert ottc_loss(*inputs[:2], TARGETS, *LENGTHS, inputs[2], **options)[1] == torch.inf
    losses = ottc_loss(*inputs[:2], TARGETS, *LENGTHS, inputs[2], zero_infinity=True, **options)
    assert losses[1] == 0
    assert losses[0] > 0
    for grad in torch.autograd.grad(losses.sum(), inputs):
        assert bool((grad[1] == 0).all())
        assert bool(grad[0].isfinite().all())
    module = OTTCLoss(zero_infinity=True, backend=backend, reduction="sum")
    torch.testing.assert_close(module(*inputs[:2], TARGETS, *LENGTHS, inputs[2]), losses.sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_infinity_leaves_nan(backend: str) -> None:
    inputs = leaves()
    with torch.no_grad():
        inputs[0][0, 0, 0] = torch.nan
    losses = ottc_loss(
        *inputs[:2], TARGETS, *LENGTHS, backend=backend, reduction="none", validate=False, zero_infinity=True
    )  # fmt: skip
    assert losses.isnan().tolist() == [True, False]
