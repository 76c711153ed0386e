"""The OTTC loss: cross-entropy along one transport plan between frames and labels.

L = −Σ_{t,u} γ(t,u) · log p(y_u | frame t), with α = softmax(frame_logits) over the valid frames, γ the
plan of `espnet_ottc.ops.transport`, and p = softmax(logits) (OTTC, arXiv 2502.01588, Eqs. 11-12).  One
operator with a hand-written gradient (`espnet_ottc.ops.operators`), derived in docs/mathematics/loss.md.
"""

from typing import Literal, get_args, overload

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import BACKENDS, NullCapacity, OTTCInputs
from espnet_ottc.ops.operators import ottc_losses
from espnet_ottc.ops.transport import TransportPlan, frame_weights, transport_plan
from espnet_ottc.ops.validation import (
    check_device,
    check_floating,
    check_labels,
    check_shape,
    values_are_checked,
)
from espnet_ottc.ops.weights import uniform_label_weights

Reduction = Literal["mean", "sum", "none"]
Scale = Literal["utterance", "labels", "frames"]
# Not asked for in the call: PyTorch 2.6 cannot compile that.
_REDUCTIONS, _SCALES = get_args(Reduction), get_args(Scale)


@overload
def ottc_loss(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None = ...,
    *,
    reduction: Reduction = ...,
    scale: Scale = ...,
    zero_infinity: bool = ...,
    null_capacity: float = ...,
    null_weight: float = ...,
    null: int = ...,
    return_plan: Literal[False] = ...,
    validate: bool | None = ...,
    backend: str = ...,
) -> Tensor: ...


@overload
def ottc_loss(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None = ...,
    *,
    reduction: Reduction = ...,
    scale: Scale = ...,
    zero_infinity: bool = ...,
    null_capacity: float = ...,
    null_weight: float = ...,
    null: int = ...,
    return_plan: Literal[True],
    validate: bool | None = ...,
    backend: str = ...,
) -> tuple[Tensor, TransportPlan]: ...


def ottc_loss(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
    scale: Scale = "utterance",
    zero_infinity: bool = False,
    null_capacity: float = 0.0,
    null_weight: float = 1.0,
    null: int = 0,
    return_plan: bool = False,
    validate: bool | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, TransportPlan]:
    """Optimal Temporal Transport Classification loss: L_b = −Σ_{t,u} γ_b(t,u) · log p_b(y_u | t).

    Memory: forward keeps O(B(T+U)) numbers, backward makes the gradient of the logits and no other
    tensor of their size.  Targets are used as given; `espnet_ottc.ops.targets` inserts blanks between
    repeated labels and boundary labels.

    Args:
        logits: (B, T, V) unnormalised scores of the labels; float64, float32, bfloat16 or float16.  −inf
            means probability 0.
        frame_logits: (B, T) unnormalised scores of the frames, α = softmax over the valid ones; −inf
            drops a frame.  Where it needs no gradient none is computed.
        targets: (B, U) integers in [0, V), padded.
        logit_lengths: (B,) integers in [0, T], valid frames.
        target_lengths: (B,) integers in [0, U], valid labels.
        label_weights: (B, U) β, > 0, sums to 1 over the valid labels; None is uniform, 1/U_b.
        reduction: "mean" over the B utterances, "sum", or "none" for (B,) losses.
        scale: "utterance" (total mass 1: nats per unit of mass), "labels" (times U_b) or "frames"
            (times T_b: nats per utterance, the scale of CTC).
        zero_infinity: an infinite loss counts 0 and has no gradient, as in `torch.nn.functional.ctc_loss`;
            NaN stays NaN.
        null_capacity: θ in [0, 1].  Above 0 each frame has the capacity θ/T_b, and what the plan leaves of
            it, r_t = max(θ/T_b − α_t, 0), teaches the null label: L_b gains ω Σ_t r_t (−log p(null|t)).
            r_t passes no gradient on to α.  0 has no such term.
        null_weight: ω ≥ 0, the weight of that term.
        null: id of the null label, in [0, V); by default the blank.
        return_plan: give the plan that was used as well, without gradient.
        validate: check the values of all inputs; None does so on the CPU only, so that nothing waits
            for a GPU.  Unchecked, lengths are clamped to the tensors, and NaN, +inf or an unknown label
            id make the loss of their utterance NaN.
        backend: "auto", "eager" (plain PyTorch), "cpu" (C, float32) or "triton" (CUDA).

    Returns:
        The loss, a scalar or (B,), in the dtype of the logits, float32 for half precision; or (loss, plan).
        An empty target costs 0 and has no gradient, whatever the number of frames.  Labels without frames
        are an error, or +inf without gradient where values are not checked.  U_b > T_b is allowed: frames
        then serve several labels (no greedy decoding could return them).  A label of probability 0 on a
        frame with weight costs +inf, and its utterance's gradients hold NaN or infinities: see
        `zero_infinity`.  The gradient cannot be differentiated again.

    Raises:
        TypeError: an argument that is not a tensor of the right kind.
        ValueError: wrong shapes, devices or options; with validation, values that break the rules above.
            The message names the argument, the rule, what came, and the utterance.
        ImportError: a kernel asked for by name that cannot be loaded.
        RuntimeError: a second derivative, such as that of a gradient penalty, is asked for.

    Source: OTTC (arXiv 2502.01588), Eqs. 11-12; the null label is this package's own (docs/unbalanced.md).
    """
    _check_options(reduction, scale)
    inputs = _check_inputs(
        logits, frame_logits, targets, logit_lengths, target_lengths, label_weights
    )
    checked = values_are_checked(validate, logits, by_operator=True)
    capacity = check_null(null_capacity, null_weight, null, logits.shape[2])
    losses = ottc_losses(inputs, backend, checked, capacity)
    if zero_infinity:
        # The factor 0 that this gives to an infinite loss keeps its slopes out of all gradients.
        losses = losses.masked_fill(losses == torch.inf, 0.0)
    if scale != "utterance":
        counts = inputs.target_lengths if scale == "labels" else inputs.logit_lengths
        losses = losses * counts.clamp(min=1)
    if reduction != "none":
        losses = losses.mean() if reduction == "mean" else losses.sum()
    return (losses, _plan(inputs)) if return_plan else losses


class OTTCLoss(torch.nn.Module):
    """`ottc_loss` as a module; the options are its arguments of the same names.

    Args:
        reduction: "mean", "sum" or "none".
        scale: "utterance", "labels" or "frames".
        validate: check values; None does so on the CPU only.
        backend: "auto", "eager", "cpu" or "triton".
        zero_infinity: count an infinite loss as 0.
        null_capacity: what frames can explain, of the place for mass that matches nothing.
        null_weight: its weight.
        null: its label.

    Raises:
        ValueError: an unknown option.
    """

    def __init__(
        self,
        reduction: Reduction = "mean",
        scale: Scale = "utterance",
        validate: bool | None = None,
        backend: str = "auto",
        zero_infinity: bool = False,
        *,
        null_capacity: float = 0.0,
        null_weight: float = 1.0,
        null: int = 0,
    ) -> None:
        super().__init__()
        _check_options(reduction, scale)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
        self.reduction: Reduction = reduction
        self.scale: Scale = scale
        self.validate = validate
        self.backend = backend
        self.zero_infinity = zero_infinity
        self.null = check_null(null_capacity, null_weight, null)

    def forward(
        self,
        logits: Tensor,
        frame_logits: Tensor,
        targets: Tensor,
        logit_lengths: Tensor,
        target_lengths: Tensor,
        label_weights: Tensor | None = None,
    ) -> Tensor:
        """The loss; shapes, errors and edge cases are those of `ottc_loss`."""
        return ottc_loss(
            logits,
            frame_logits,
            targets,
            logit_lengths,
            target_lengths,
            label_weights,
            reduction=self.reduction,
            scale=self.scale,
            zero_infinity=self.zero_infinity,
            null_capacity=self.null.capacity,
            null_weight=self.null.weight,
            null=self.null.label,
            validate=self.validate,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """The options, for `print(module)`."""
        null = self.null
        return (
            f"reduction={self.reduction!r}, scale={self.scale!r}, backend={self.backend!r}, "
            f"zero_infinity={self.zero_infinity!r}, null_capacity={null.capacity!r}, "
            f"null_weight={null.weight!r}, null={null.label!r}"
        )


def check_null(
    capacity: float, weight: float, label: int, vocabulary: int | None = None
) -> NullCapacity:
    """The place for mass that matches nothing, from the arguments of `ottc_loss`.

    Raises:
        ValueError: a capacity outside [0, 1], a weight below 0 or infinite, a label outside [0, V).
    """
    if not 0 <= capacity <= 1:
        raise ValueError(f"null_capacity must lie in [0, 1], got {capacity}")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"null_weight must be finite and >= 0, got {weight}")
    if label < 0 or (vocabulary is not None and label >= vocabulary):
        upper = "V" if vocabulary is None else f"V = {vocabulary}"
        raise ValueError(f"null must be a label id in [0, {upper}), got {label}")
    return NullCapacity(float(capacity), float(weight), label)


def _plan(inputs: OTTCInputs) -> TransportPlan:
    with torch.no_grad():
        lengths, label_lengths = inputs.logit_lengths, inputs.target_lengths
        U = inputs.targets.shape[1]
        alpha = frame_weights(inputs.frame_logits, lengths)
        beta = inputs.label_weights
        if beta is None:
            beta = uniform_label_weights(label_lengths, U, dtype=alpha.dtype)
        return transport_plan(alpha, beta, lengths, label_lengths, validate=False)


def _check_options(reduction: str, scale: str) -> None:
    for name, value, known in (
        ("reduction", reduction, _REDUCTIONS),
        ("scale", scale, _SCALES),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def _check_inputs(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None,
) -> OTTCInputs:
    """Kinds, shapes and devices, which cost nothing to check."""
    check_floating("logits", logits, 3)
    check_floating("frame_logits", frame_logits, 2)
    B, T, V = logits.shape
    if not B or not V:
        raise ValueError(f"logits must hold an utterance and a label; got shape {(B, T, V)}")
    check_shape("frame_logits", frame_logits, (B, T), "(B, T)")
    check_device("frame_logits", frame_logits, logits)
    check_labels(logits, targets, logit_lengths, target_lengths, label_weights)
    device = logits.device
    return OTTCInputs(
        logits,
        frame_logits,
        targets.to(torch.int64),
        logit_lengths.to(device, torch.int64),
        target_lengths.to(device, torch.int64),
        label_weights,
    )
