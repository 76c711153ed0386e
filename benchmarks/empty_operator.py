"""An operator with the signature of the loss's that computes nothing: what PyTorch itself takes for a step.

Its plain step is the cheapest that PyTorch has, a `torch.autograd.Function` in Python; compiled it is an
operator with a registered gradient.  No code of the package runs in either.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from espnet_ottc.ops import operators
from espnet_ottc.ops.kernels import NO_NULL_CAPACITY

_LIBRARY = torch.library.Library("espnet_ottc_floor", "FRAGMENT")


def _forward(logits: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return logits.new_zeros(len(logits)), logits.new_empty(len(logits), 1)


def _backward(_: Tensor, logits: Tensor, scores: Tensor, *__: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(logits), torch.empty_like(scores), logits.new_empty(0)


for _name, _operator, _function in (
    ("forward", operators.ottc_forward, _forward),
    ("backward", operators.ottc_backward, _backward),
):
    _schema = str(_operator._schema)  # type: ignore[attr-defined]
    _LIBRARY.define(_name + _schema[_schema.index("(") :])
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"espnet_ottc_floor::{_name}", _function, lib=_LIBRARY)
_FORWARD = torch.ops.espnet_ottc_floor.forward.default
_BACKWARD = torch.ops.espnet_ottc_floor.backward.default
_TENSORS = 6  # the first arguments of both
# As the loss gives them: no label weights, the fastest kernel, checked, slopes of the frames alone.
_OPTIONS = (None, "auto", True, *NO_NULL_CAPACITY, True, False)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:_TENSORS], output[1])
    ctx.options = inputs[_TENSORS], *inputs[_TENSORS + 2 :]
    ctx.others = len(inputs) - 2
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _registered(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    logits, scores, _ = _BACKWARD(grad, *ctx.saved_tensors, *ctx.options, True)
    return logits, scores, *[None] * ctx.others


torch.library.register_autograd(
    "espnet_ottc_floor::forward", _registered, setup_context=_setup, lib=_LIBRARY
)


class _Function(torch.autograd.Function):
    setup_context = staticmethod(_setup)

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        return _forward(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        logits, scores, _ = _backward(grad, *ctx.saved_tensors)
        return logits, scores, *[None] * ctx.others


def nothing(*tensors: Tensor) -> Tensor:
    """Zero, with gradients of any values; where it is compiled, through the operator."""
    losses: Tensor
    call: Callable[..., tuple[Tensor, Tensor]]
    call = _FORWARD if torch.compiler.is_compiling() else _Function.apply
    losses, _ = call(*tensors, *_OPTIONS)
    return losses.mean()
