"""The OTTC loss as operators of PyTorch: `espnet_ottc::ottc_forward` and `espnet_ottc::ottc_backward`.

An operator is one node of a compiled or exported program; its fake kernel gives shapes without values.  Both
call, on every device, the implementation that `espnet_ottc.ops.kernels.choose` names.

Where nothing is traced, `ottc_losses` reaches them through a `torch.autograd.Function` of the same formulas,
since `torch.func` sees no gradient that is registered for an operator, and small batches would pay for it.
docs/decisions/0011-operators.md has the measurements.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import NO_NULL_CAPACITY, NullCapacity, OTTCInputs, Slopes, choose
from espnet_ottc.ops.precision import dtype_of_sums
from espnet_ottc.ops.transport import check_feasible
from espnet_ottc.ops.validation import check_lengths, check_targets, raise_first, valid_mask
from espnet_ottc.ops.weights import check_label_weights

_below_autograd = torch._C._AutoDispatchBelowAutograd
_PLAIN = (Tensor, torch.nn.Parameter)
_INPUTS = len(OTTCInputs._fields)
# Where those inputs stand that have a gradient.
_LOGITS, _FRAME_LOGITS, _LABEL_WEIGHTS = (
    OTTCInputs._fields.index(name) for name in ("logits", "frame_logits", "label_weights")
)


def ottc_losses(
    inputs: OTTCInputs, backend: str, checked: bool, null: NullCapacity = NO_NULL_CAPACITY
) -> Tensor:
    """Per-utterance losses (B,) with their gradient, from inputs of right kinds and shapes.

    Args:
        inputs: on one device.
        backend: one of `espnet_ottc.ops.kernels.BACKENDS`.
        checked: whether to check values, by the rules of `ottc_loss`.
        null: the place for mass that matches nothing.

    Raises:
        ValueError, ImportError: as `choose`; with `checked`, values that break the rules.
        RuntimeError: a second derivative is asked for.
    """
    arguments = _wishing((*inputs, backend, checked, *null, False, False))
    traced = torch.compiler.is_compiling()
    losses: Tensor
    losses, _ = ottc_forward(*arguments) if traced else _Losses.apply(*arguments)
    return losses


def _forward(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None,
    backend: str,
    checked: bool,
    null_capacity: float,
    null_weight: float,
    null: int,
    frame_slopes: bool,
    label_slopes: bool,
) -> tuple[Tensor, Tensor]:
    """Losses (B,) and the state (B, K) of `OTTCForward`.

    Args:
        logits, frame_logits, targets, logit_lengths, target_lengths, label_weights: see `OTTCInputs`.
        backend: see `choose`.
        checked: whether to check values.
        null_capacity, null_weight, null: see `NullCapacity`.
        frame_slopes: see `Slopes`.
        label_slopes: see `Slopes`.
    """
    inputs = OTTCInputs(logits, frame_logits, targets, logit_lengths, target_lengths, label_weights)
    slopes = Slopes(frame_slopes, label_slopes)
    capacity = NullCapacity(null_capacity, null_weight, null)
    losses, state, normalizer = choose(backend, logits).forward(inputs, slopes, capacity)
    if checked and normalizer is not None:
        _check_values(inputs, normalizer)
    return losses, state


def _fake_forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    inputs, (backend, *_) = OTTCInputs(*arguments[:_INPUTS]), arguments[_INPUTS:]
    logits = inputs.logits
    B, device = logits.shape[0], logits.device
    columns = choose(backend, logits).state_columns(inputs, Slopes(*arguments[-2:]))
    return (
        logits.new_empty(B, dtype=torch.promote_types(logits.dtype, torch.float32)),
        logits.new_empty(B, columns, dtype=dtype_of_sums(device)),
    )


def _backward(
    grad_losses: Tensor,
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None,
    state: Tensor,
    backend: str,
    null_capacity: float,
    null_weight: float,
    null: int,
    frame_slopes: bool,
    label_slopes: bool,
    logits_wanted: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `OTTCGradients`.

    Args:
        grad_losses: (B,) gradient of the losses.
        logits, frame_logits, targets, logit_lengths, target_lengths, label_weights: see `OTTCInputs`.
        state: from `ottc_forward`.
        backend: as there.
        null_capacity, null_weight, null: as there.
        frame_slopes: as there.
        label_slopes: as there.
        logits_wanted: whether to compute the gradient of the logits.
    """
    inputs = OTTCInputs(logits, frame_logits, targets, logit_lengths, target_lengths, label_weights)
    slopes = Slopes(frame_slopes, label_slopes)
    capacity = NullCapacity(null_capacity, null_weight, null)
    implementation = choose(backend, logits)
    return implementation.backward(inputs, state, slopes, grad_losses, logits_wanted, capacity)


def _fake_backward(_grad_losses: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, wanted = OTTCInputs(*arguments[:_INPUTS]), arguments[-3:]
    weights = inputs.label_weights
    places = (inputs.frame_logits, inputs.logits if weights is None else weights, inputs.logits)
    frame_logits, label_weights, logits = (
        like.new_empty(shape if is_wanted else (0,))
        for like, is_wanted, shape in zip(
            places,
            wanted,
            (inputs.frame_logits.shape, inputs.targets.shape, inputs.logits.shape),
            strict=True,
        )
    )
    return logits, frame_logits, label_weights


def _losses_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """`setup_context` of the losses."""
    tensors, (backend, _, *options) = inputs[:_INPUTS], inputs[_INPUTS:]
    state = output[1]
    ctx.options = backend, *options
    ctx.save_for_backward(*tensors, state)
    ctx.mark_non_differentiable(state)
    ctx.set_materialize_grads(False)


def _losses_backward(ctx: Any, grad_losses: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    """`backward` of the losses."""
    grads: list[Tensor | None] = [None] * (_INPUTS + len(ctx.options) + 1)
    if grad_losses is None:
        return tuple(grads)
    wanted = ctx.needs_input_grad
    # There is a graph under create_graph=True, and torch.func always asks for one.
    found = _Gradients.call(grad_losses, *ctx.saved_tensors, *ctx.options, wanted[_LOGITS])
    for place, grad in zip((_LOGITS, _FRAME_LOGITS, _LABEL_WEIGHTS), found, strict=True):
        grads[place] = grad if wanted[place] else None
    return tuple(grads)


def _refuse(_ctx: Any, *_: Any) -> NoReturn:
    """`backward` of the gradients.

    PyTorch would take them for constants otherwise, and a gradient penalty would silently do nothing.
    """
    raise RuntimeError(
        "ottc_loss has no second derivative, which a gradient penalty or a Hessian asks for: "
        "its gradient is written by hand and cannot be differentiated"
    )


def _wishing(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of `ottc_forward`, which shall compute the gradients that its tensors need."""
    *others, frame_slopes, label_slopes = arguments
    weights = others[_LABEL_WEIGHTS]
    return (
        *others,
        frame_slopes or others[_FRAME_LOGITS].requires_grad,
        label_slopes or (weights is not None and weights.requires_grad),
    )


def _unwatched(arguments: tuple[Any, ...]) -> bool:
    """Whether PyTorch's dispatcher has no part in a call: it costs as much as a small batch.

    No mode or trace listens, and all tensors are PyTorch's own and have values.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return False
    return not arguments[_LOGITS].is_meta and all(
        type(argument) in _PLAIN for argument in arguments if isinstance(argument, Tensor)
    )


def _batched(call: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for `torch.vmap`: a batch of N batches of B utterances is one of N·B."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        N = info.batch_size

        def folded(argument: Any, dim: int | None) -> Any:
            if not isinstance(argument, Tensor):
                return argument
            whole = argument.expand(N, *argument.shape) if dim is None else argument.movedim(dim, 0)
            return whole.flatten(0, 1)

        values = call(*map(folded, arguments, in_dims))
        return tuple(value.unflatten(0, (N, -1)) for value in values), (0,) * len(values)

    return rule


_LIBRARY = torch.library.Library("espnet_ottc", "FRAGMENT")


def _define(
    name: str,
    function: Callable[..., Any],
    fake: Callable[..., Any],
    rule: Callable[..., Any],
    differentiable: "type[_Function]",
) -> Callable[..., Any]:
    """An operator on every device.

    `torch.library.custom_op` does the same with more Python in each call, as `register_autograd` does.
    """
    schema = torch.library.infer_schema(function, mutates_args=())
    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
    full_name = f"espnet_ottc::{name}"
    torch.library.register_fake(full_name, fake, lib=_LIBRARY)
    torch.library.register_vmap(full_name, rule, lib=_LIBRARY)
    _LIBRARY.impl(name, differentiable.call, "Autograd")
    operator: Callable[..., Any] = getattr(torch.ops.espnet_ottc, name).default
    return operator


class _Function(torch.autograd.Function):
    """A function whose `apply` costs less where `torch.func` has no part."""

    @classmethod
    def call(cls, *arguments: Any) -> Any:
        """With a gradient where one is wanted; one costs more."""
        return (cls.apply if torch.is_grad_enabled() else cls.forward)(*arguments)

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        """As `torch.autograd.Function.apply`, which first asks Python for the signature of `forward`."""
        if torch._C._are_functorch_transforms_active():
            return super().apply(*arguments)  # type: ignore[no-untyped-call]
        return super(torch.autograd.Function, cls).apply(*arguments)  # type: ignore[misc]


class _Losses(_Function):
    """`ottc_forward` with its gradient."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        call = _forward if _unwatched(arguments) else ottc_forward
        with _below_autograd():
            losses, state = call(*arguments)
        return losses, state

    setup_context = staticmethod(_losses_setup)
    backward = staticmethod(_losses_backward)
    # Within a batch no tensor says that it needs a gradient; where the rule runs they do again.
    vmap = staticmethod(_batched(lambda *arguments: _Losses.apply(*_wishing(arguments))))


class _Gradients(_Function):
    """`ottc_backward` where its results may be differentiated, which is an error."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        call = _backward if _unwatched(arguments[1:]) else ottc_backward
        with _below_autograd():
            logits, frame_logits, label_weights = call(*arguments)
        return logits, frame_logits, label_weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    backward = staticmethod(_refuse)  # type: ignore[assignment]
    vmap = staticmethod(_batched(lambda *arguments: _Gradients.apply(*arguments)))


ottc_forward: Callable[..., Any] = _define(
    "ottc_forward",
    _forward,
    _fake_forward,
    _batched(lambda *arguments: ottc_forward(*_wishing(arguments))),
    _Losses,
)
ottc_backward: Callable[..., Any] = _define(
    "ottc_backward",
    _backward,
    _fake_backward,
    _batched(lambda *arguments: ottc_backward(*arguments)),
    _Gradients,
)


def _check_values(inputs: OTTCInputs, normalizer: Tensor) -> None:
    """The rules that need the values; raises ValueError naming the utterance."""
    B, T, V = inputs.logits.shape
    frames, labels = inputs.logit_lengths, inputs.target_lengths
    check_lengths("logit_lengths", frames, B, T)
    check_lengths("target_lengths", labels, B, inputs.targets.shape[1])
    check_feasible(frames, labels)
    check_targets("targets", inputs.targets, labels, V)
    if inputs.label_weights is not None:
        check_label_weights(inputs.label_weights, labels)
    valid = valid_mask(frames, T)
    bad = (~normalizer.isfinite() & valid).any(1)
    raise_first(bad, lambda b: "logits must not hold NaN, +inf or a frame of nothing but -inf")
    if T:
        largest = inputs.frame_logits.masked_fill(~valid, float("-inf")).amax(1)
        raise_first(
            ~largest.isfinite() & (frames > 0),
            lambda b: (
                "frame_logits must not hold NaN or +inf and need one finite score; "
                f"the largest is {float(largest[b])}"
            ),
        )
