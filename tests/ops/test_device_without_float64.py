"""The numerics on a device that has no float64: sums are made on the CPU, results come back."""

from collections.abc import Callable, Iterator

import pytest
import torch
from fake_device import FakeDevice, from_fake, to_fake
from torch import Tensor

from espnet_ottc import ottc_loss, transport_plan
from espnet_ottc.ops import kernels, precision
from espnet_ottc.ops.boundaries import boundaries, labels_at_centres
from espnet_ottc.ops.flat_start import flat_start_loss
from espnet_ottc.ops.label_decoding import best_path
from espnet_ottc.ops.prefix_scores import PrefixScores
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks
from espnet_ottc.ops.weights import check_label_weights, uniform_label_weights

LENGTHS = torch.tensor([6, 4]), torch.tensor([3, 2])
TARGETS = torch.tensor([[1, 2, 2], [3, 0, 0]])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pretended device."""
    monkeypatch.setattr(precision, "_WITHOUT_FLOAT64", {"meta"})
    with FakeDevice():
        yield


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    draws = torch.randn(2, 6, 5, generator=generator), torch.randn(2, 6, generator=generator)
    return [*(tensor.requires_grad_() for tensor in (*draws, weights)), TARGETS, *LENGTHS]


def test_apples_gpus_are_such_devices() -> None:
    assert not precision.has_float64(torch.device("mps"))
    assert precision.has_float64(torch.device("cpu"))
    assert precision.device_of_sums(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.usefixtures("device")
def test_the_pretended_device_refuses_float64_and_the_cpus_tensors() -> None:
    tensor = to_fake(torch.zeros(2))
    with pytest.raises(TypeError, match="no float64"):
        tensor.double()
    with pytest.raises(TypeError, match="no float64"):
        torch.zeros(2, dtype=torch.float64, device=tensor.device)
    with pytest.raises(RuntimeError, match="two devices"):
        tensor + torch.zeros(2)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_those_of_the_cpu(dtype: torch.dtype, weighted: bool) -> None:
    def step(tensors: list[Tensor]) -> list[Tensor]:
        logits, scores, weights, targets, frames, labels = tensors
        wanted = [logits, scores, *([weights] if weighted else [])]
        loss = ottc_loss(
            logits.to(dtype), scores, targets, frames, labels, weights if weighted else None,
            scale="frames", validate=True, backend="eager",
        )  # fmt: skip
        return [loss, *torch.autograd.grad(loss, wanted)]

    expected = step(inputs())
    found = step([to_fake(tensor) for tensor in inputs()])
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(from_fake(value), wanted.detach())


def _plan(tensors: list[Tensor]) -> list[Tensor]:
    _, scores, weights, _, frames, labels = tensors
    plan = transport_plan(
        scores[:, :3].softmax(1), weights, frames.clamp(max=3), labels, validate=False
    )
    return [plan.frames, plan.labels, plan.mass, plan.lengths]


def _best_path(tensors: list[Tensor]) -> list[Tensor]:
    logits, scores, *_ = tensors
    lengths = tensors[4]
    alpha = scores.masked_fill(
        torch.arange(6, device=scores.device) >= lengths[:, None], -torch.inf
    )
    return list(best_path(logits.log_softmax(2), alpha.softmax(1), lengths))


def _prefix(tensors: list[Tensor]) -> list[Tensor]:
    logits, scores, *_ = tensors
    search = PrefixScores(logits[0].log_softmax(1), scores[0].softmax(0))
    return [search.next_scores(search.extend(search.start(), 2))]


FUNCTIONS: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {
    "transport_plan": _plan,
    "boundaries": lambda t: list(boundaries(t[1].softmax(1), t[2], t[4], t[5])),
    "labels_at_centres": lambda t: [labels_at_centres(t[1].softmax(1), t[2], t[4], t[5])],
    "flat_start_loss": lambda t: [flat_start_loss(t[0], t[1], t[3], t[4], t[5])],
    "best_path": _best_path,
    "PrefixScores": _prefix,
    "uniform_label_weights": lambda t: [uniform_label_weights(t[5], 3)],
    "insert_blanks": lambda t: list(insert_blanks(t[3], t[5])),
    "add_boundary_labels": lambda t: list(add_boundary_labels(t[3], t[5], 4)),
}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_those_of_the_cpu(name: str) -> None:
    expected = FUNCTIONS[name](inputs())
    found = FUNCTIONS[name]([to_fake(tensor) for tensor in inputs()])
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(from_fake(value), wanted.detach(), check_dtype=False)


@pytest.mark.usefixtures("device")
def test_weights_are_checked_there() -> None:
    with pytest.raises(ValueError, match="must sum to 1"):
        check_label_weights(to_fake(torch.ones(1, 2)), to_fake(torch.tensor([2])))


def test_auto_takes_plain_pytorch_there() -> None:
    logits = torch.zeros(1, 1, 1, device="meta")
    assert kernels.choose("auto", logits).__name__.endswith("eager")  # type: ignore[attr-defined]
