"""The loss under what PyTorch offers: compiling, exporting, torch.func, fake tensors, several processes."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from espnet_ottc import OTTCLoss, ottc_loss
from espnet_ottc.ops import operators
from espnet_ottc.ops.kernels import NullCapacity, OTTCInputs

BACKENDS = ["eager", "cpu", "triton"]
B, T, V, U = 3, 9, 6, 4
LENGTHS = torch.tensor([9, 6, 4]), torch.tensor([4, 3, 0])
TARGETS = torch.tensor([[1, 2, 3, 1], [2, 1, 5, 0], [0, 0, 0, 0]])
NULL = NullCapacity(0.9, 2.0, 3)


def leaves(*, weighted: bool = True, seed: int = 0, copies: int = 0) -> list[Tensor]:
    """Logits, frame scores and label weights that need gradients; `copies` of each along a first axis."""
    generator = torch.Generator().manual_seed(seed)
    front = (copies,) if copies else ()
    logits = torch.randn(*front, B, T, V, generator=generator)
    scores = torch.randn(*front, B, T, generator=generator)
    weights = torch.rand(*front, B, U, generator=generator) + 0.1
    weights = weights * (torch.arange(U) < LENGTHS[1][:, None])
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)
    tensors = [logits, scores, weights] if weighted else [logits, scores]
    return [tensor.requires_grad_() for tensor in tensors]


def value(logits: Tensor, scores: Tensor, weights: Tensor | None = None, **options: Any) -> Tensor:
    """The mean loss."""
    return ottc_loss(logits, scores, TARGETS, *LENGTHS, weights, **options)


def with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    result = function(*inputs)
    return [result.detach(), *torch.autograd.grad(result, inputs)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    """Equal to the last bit: the same kernel runs."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class Model(nn.Module):
    """Two heads on given frames, and the loss."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.labels, self.frames = nn.Linear(5, V), nn.Linear(5, 1)
        self.loss = OTTCLoss(**options)
        # PyTorch 2.6 exports no tensors but a model's.
        for name, tensor in zip("yts", (TARGETS, *LENGTHS), strict=True):
            self.register_buffer(name, tensor)

    def forward(self, hidden: Tensor) -> Tensor:
        """The mean loss."""
        scores = self.labels(hidden), self.frames(hidden).squeeze(-1)
        loss: Tensor = self.loss(*scores, self.y, self.t, self.s)
        return loss


def model_and_input() -> tuple[Model, Tensor]:
    torch.manual_seed(0)
    return Model(), torch.randn(B, T, 5)


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


# Its own look at gradients, from PyTorch 2.15 on.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(
    ("backend", "weighted"),
    [
        ("eager", False),
        ("eager", True),
        ("cpu", False),
        ("cpu", True),
        pytest.param("triton", False, marks=pytest.mark.slow),  # the interpreter is slow
        pytest.param("triton", True, marks=pytest.mark.slow),
    ],
)
def test_operators_pass_opcheck(backend: str, weighted: bool) -> None:
    inputs = leaves(weighted=weighted)
    logits, scores, weights = (*inputs, None)[:3]
    arguments = (logits, scores, TARGETS, *LENGTHS, weights)
    forward = (*arguments, backend, backend != "triton", *NULL, True, weighted)
    assert set(torch.library.opcheck(operators.ottc_forward, forward).values()) == {"SUCCESS"}
    with torch.no_grad():
        losses, state = operators.ottc_forward(*forward)
    detached = [t if t is None else t.detach() for t in arguments]
    backward = (torch.ones_like(losses), *detached, state, backend, *NULL, True, weighted, True)
    assert set(torch.library.opcheck(operators.ottc_backward, backward).values()) == {"SUCCESS"}


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_fake_kernels_give_the_shapes_of_what_is_wanted(
    backend: str, wanted: tuple[bool, bool]
) -> None:
    logits, scores, weights = (tensor.detach() for tensor in leaves())
    arguments = (logits, scores, TARGETS, *LENGTHS, weights, backend, False, *NULL, *wanted)
    names = ("test_schema", "test_faketensor")
    result = torch.library.opcheck(operators.ottc_forward, arguments, test_utils=names)
    assert set(result.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_loss_has_no_graph_break_and_the_same_values(backend: str) -> None:
    torch._dynamo.reset()
    options = {"backend": backend, "scale": "labels", "zero_infinity": True}
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        inputs = leaves(seed=seed)
        found = with_gradients(lambda *x: compiled(*x, **options), inputs)
        assert_same(found, with_gradients(lambda *x: value(*x, **options), inputs))


def test_a_compiled_loss_still_checks_values() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    logits, scores = leaves(weighted=False)
    with torch.no_grad():
        logits[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="utterance 1: logits must not hold NaN"):
        compiled(logits, scores)


def test_a_compiled_loss_takes_any_sizes_in_one_program() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(ottc_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for length, labels in ((7, 3), (12, 5), (30, 2)):
        logits = torch.randn(2, length, 6, requires_grad=True)
        arguments = (torch.randn(2, length), torch.ones(2, labels, dtype=torch.int64))
        arguments += (torch.tensor([length, length - 2]), torch.tensor([labels, 1]))
        with torch._dynamo.config.patch(error_on_recompile=length == 30):
            found = with_gradients(lambda x: compiled(x, *arguments), [logits])  # noqa: B023
        assert_same(found, with_gradients(lambda x: ottc_loss(x, *arguments), [logits]))  # noqa: B023


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from within the compiler
def test_the_default_compiler_gives_the_same_values() -> None:
    torch._dynamo.reset()
    model, hidden = model_and_input()
    expected = with_gradients(lambda *_: model(hidden), list(model.parameters()))
    compiled = torch.compile(model, fullgraph=True)
    found = with_gradients(lambda *_: compiled(hidden), list(model.parameters()))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_model_can_be_trained(strict: bool) -> None:
    model, hidden = model_and_input()
    expected = with_gradients(lambda *_: model(hidden), list(model.parameters()))
    exported = torch.export.export(model, (hidden,), strict=strict)
    targets = [node.target for node in exported.graph.nodes]
    assert operators.ottc_forward in targets
    again = exported.module()
    found = with_gradients(lambda *_: again(hidden), list(again.parameters()))
    torch.testing.assert_close(found, expected)


def test_an_exported_model_takes_other_lengths() -> None:
    class Whole(nn.Module):
        def forward(self, logits: Tensor, scores: Tensor, targets: Tensor, t: Tensor) -> Tensor:
            return ottc_loss(logits, scores, targets, t, t // 3, reduction="none")

    def batch(frames: int) -> tuple[Tensor, ...]:
        shape = (2, frames)
        targets = torch.ones(2, frames // 3, dtype=torch.int64)
        return torch.randn(*shape, 4), torch.randn(shape), targets, torch.full((2,), frames)

    frames, labels = torch.export.Dim("frames", min=4), torch.export.Dim("labels", min=2)
    dynamic = ({1: frames}, {1: frames}, {1: labels}, None)
    exported = torch.export.export(Whole(), batch(9), dynamic_shapes=dynamic)
    arguments = batch(30)
    assert_same([exported.module()(*arguments)], [Whole()(*arguments)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_func_grad_agrees_with_autograd(backend: str) -> None:
    inputs = leaves()
    found = torch.func.grad(lambda *x: value(*x, backend=backend), argnums=(0, 1, 2))(*inputs)
    expected = with_gradients(lambda *x: value(*x, backend=backend), inputs)[1:]
    assert_same(list(found), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_of_models_equals_a_loop(backend: str) -> None:
    many = leaves(copies=2)
    gradient = torch.func.grad_and_value(lambda *x: value(*x, backend=backend), argnums=(0, 1, 2))
    found, losses = torch.vmap(gradient)(*many)
    for i in range(2):
        one = [tensor[i].detach().requires_grad_() for tensor in many]
        expected = with_gradients(lambda *x: value(*x, backend=backend), one)
        torch.testing.assert_close([losses[i], *(grad[i] for grad in found)], expected)


def test_vmap_batches_along_any_axis_and_shares_what_is_not_batched() -> None:
    logits, scores = (tensor.detach() for tensor in leaves(weighted=False, copies=2))
    shared = scores[0]
    found = torch.vmap(value, in_dims=(2, None))(logits.movedim(0, 2), shared)
    expected = torch.stack([value(one, shared) for one in logits])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("outer", ["autograd", "torch.func"])
def test_the_gradient_of_a_vmapped_loss_has_all_its_parts(outer: str) -> None:
    many = leaves(copies=2)

    def total(*inputs: Tensor) -> Tensor:
        return torch.vmap(value)(*inputs).sum()

    expected = [torch.autograd.grad(sum(map(value, *many)), many)]
    if outer == "autograd":
        found = torch.autograd.grad(total(*many), many)
    else:
        found = torch.func.grad(total, argnums=(0, 1, 2))(*many)
    torch.testing.assert_close(list(found), list(expected[0]))


def test_two_transforms_of_torch_func_give_an_error_instead_of_a_second_derivative() -> None:
    logits, scores = (tensor.detach() for tensor in leaves(weighted=False))

    def penalty(x: Tensor) -> Tensor:
        return torch.func.grad(value)(x, scores).square().sum()

    with pytest.raises(RuntimeError, match="ottc_loss has no second derivative"):
        torch.func.grad(penalty)(logits)


def test_fake_tensors_go_forward_and_backward() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    real = [tensor.detach() for tensor in leaves()]
    with FakeTensorMode() as mode:
        inputs = [mode.from_tensor(tensor).requires_grad_() for tensor in real]
        lengths = [mode.from_tensor(tensor) for tensor in (TARGETS, *LENGTHS)]
        loss = ottc_loss(*inputs[:2], *lengths, inputs[2])
        loss.backward()
    assert loss.shape == ()
    assert [x.grad.shape for x in inputs if x.grad is not None] == [x.shape for x in inputs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fake_tensors_of_a_gpu_that_is_not_there_have_the_right_device(dtype: torch.dtype) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        logits = torch.empty(B, T, V, device="cuda", dtype=dtype)
        frame_logits = torch.empty(B, T, device="cuda", dtype=dtype)
        lengths = [torch.empty(*x.shape, dtype=x.dtype, device="cuda") for x in (TARGETS, *LENGTHS)]
        arguments = (logits, frame_logits, *lengths, None)
        losses, state = operators.ottc_forward(*arguments, "auto", False, *NULL, True, False)
        options = ("auto", *NULL, True, False, True)
        grads = operators.ottc_backward(losses, *arguments, state, *options)
    assert {tensor.device.type for tensor in (losses, state, *grads)} == {"cuda"}
    assert grads[0].shape == logits.shape
    assert grads[0].dtype == dtype


def test_meta_tensors_go_forward_and_backward() -> None:
    inputs = [tensor.detach().to("meta").requires_grad_() for tensor in leaves()]
    lengths = [tensor.to("meta") for tensor in (TARGETS, *LENGTHS)]
    loss = ottc_loss(*inputs[:2], *lengths, inputs[2])
    loss.backward()
    assert loss.device.type == "meta"
    assert [None if x.grad is None else x.grad.shape for x in inputs] == [x.shape for x in inputs]


def test_activation_checkpointing_changes_nothing() -> None:
    inputs = leaves()
    expected = with_gradients(value, inputs)
    for reentrant in (False, True):
        loss = checkpoint(value, *inputs, use_reentrant=reentrant)
        loss.backward()
        assert_same([loss.detach(), *(x.grad for x in inputs if x.grad is not None)], expected)
        for tensor in inputs:
            tensor.grad = None


def test_autocast_gives_a_float32_loss_of_half_precision_scores() -> None:
    model, hidden = model_and_input()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.labels(hidden).dtype == torch.bfloat16
        loss = model(hidden)
    loss.backward()
    assert loss.dtype == torch.float32
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    torch.testing.assert_close(loss, model(hidden), rtol=2e-2, atol=2e-2)


def run_process(rank: int, folder: str, wrap: str) -> None:
    """One of two processes, each with half of the batch; the first leaves the gradients in the folder."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    model, _ = model_and_input()
    torch.manual_seed(10 + rank)
    hidden = torch.randn(B, T, 5)
    wrapped: Any = model
    if wrap != "fsdp":
        wrapped = nn.parallel.DistributedDataParallel(model)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    with torch.autocast("cpu", torch.bfloat16, enabled=wrap == "ddp in bfloat16"):
        wrapped(hidden).backward()
    grads = gradients(model)
    if wrap == "fsdp":
        grads = [grad.full_tensor() for grad in grads]  # type: ignore[attr-defined]
    if rank == 0:
        torch.save(grads, Path(folder) / "gradients.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "wrap",
    [
        "ddp",
        "ddp in bfloat16",
        pytest.param(
            "fsdp",
            marks=pytest.mark.skipif(
                not hasattr(torch.cpu.Stream, "record_event"),
                reason="PyTorch 2.6 shards no model on the CPU",
            ),
        ),
    ],
)
def test_two_processes_train_as_one(wrap: str, tmp_path: Path) -> None:
    mp.spawn(run_process, (str(tmp_path), wrap), nprocs=2)
    model, _ = model_and_input()
    for rank in range(2):
        torch.manual_seed(10 + rank)
        with torch.autocast("cpu", torch.bfloat16, enabled=wrap == "ddp in bfloat16"):
            (model(torch.randn(B, T, 5)) / 2).backward()
    found = torch.load(tmp_path / "gradients.pt")
    torch.testing.assert_close(found, gradients(model))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays_the_loss_for_other_lengths() -> None:
    inputs = [tensor.detach().cuda().requires_grad_() for tensor in leaves(weighted=False)]
    targets, frames, labels = (tensor.cuda() for tensor in (TARGETS, *LENGTHS))

    def step() -> list[Tensor]:
        loss = ottc_loss(*inputs, targets, frames, labels)
        return [loss, *torch.autograd.grad(loss, inputs)]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    frames.copy_(torch.tensor([7, 9, 5]))
    labels.copy_(torch.tensor([2, 4, 1]))
    graph.replay()
    torch.testing.assert_close(found, step())


def test_a_copied_module_keeps_its_options() -> None:
    module = copy.deepcopy(OTTCLoss(reduction="sum", scale="frames"))
    inputs = leaves(weighted=False)
    expected = value(*inputs, reduction="sum", scale="frames")
    torch.testing.assert_close(module(*inputs, TARGETS, *LENGTHS), expected)


def test_inputs_of_an_operator_are_those_of_the_implementations() -> None:
    schema = operators.ottc_forward._schema  # type: ignore[attr-defined]
    names = [argument.name for argument in schema.arguments]
    assert tuple(names[: len(OTTCInputs._fields)]) == OTTCInputs._fields
