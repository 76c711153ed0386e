"""Every public function that takes lengths, behind one signature, for tests of what holds for all of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from espnet_ottc import ottc_loss, sotd, transport_plan
from espnet_ottc.ops.boundaries import boundaries, labels_at_centres
from espnet_ottc.ops.flat_start import flat_start_loss, searched_plan
from espnet_ottc.ops.label_decoding import best_path
from espnet_ottc.ops.label_weights import EstimatedLabelWeights, run_length_label_weights
from espnet_ottc.ops.regularizers import kl_to_uniform, roughness
from espnet_ottc.ops.targets import add_boundary_labels, collapse, insert_blanks
from espnet_ottc.ops.transport import frame_weights
from espnet_ottc.ops.unbalanced import transport_value, unbalanced_transport_plan
from espnet_ottc.ops.weights import uniform_label_weights

B, T, U, V = 2, 7, 4, 5
_generator = torch.Generator().manual_seed(0)
LOGITS = torch.randn(B, T, V, generator=_generator)
FRAME_LOGITS = torch.randn(B, T, generator=_generator)
TARGETS = torch.tensor([[1, 2, 3, 1], [4, 1, 2, 2]])
LABEL_WEIGHTS = torch.rand(B, U, generator=_generator)

# Of (frame_lengths, label_lengths), both (B,); nothing checks their values where that can be chosen.
Function = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def _loss(backend: str) -> Function:
    def losses_and_gradients(frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        weights = torch.where(torch.arange(U) < labels[:, None], LABEL_WEIGHTS, 0.0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
        leaves = [t.clone().requires_grad_() for t in (LOGITS, FRAME_LOGITS, weights)]
        losses = ottc_loss(
            leaves[0], leaves[1], TARGETS, frames, labels, leaves[2],
            reduction="none", validate=False, backend=backend,
        )  # fmt: skip
        return (losses.detach(), *torch.autograd.grad(losses.sum(), leaves))

    return losses_and_gradients


def _weights(frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return frame_weights(FRAME_LOGITS, frames), uniform_label_weights(labels, U)


def _plan(frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    plan = transport_plan(*_weights(frames, labels), frames, labels, validate=False)
    return plan.frames, plan.labels, plan.mass, plan.lengths


def _sotd(frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return (sotd(LOGITS, LOGITS[:, :U], x_lengths=frames, y_lengths=labels, validate=False),)


def _flat_start(frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return (flat_start_loss(LOGITS, FRAME_LOGITS, TARGETS, frames, labels),)


def _unbalanced(frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    cost = LOGITS[:, :, :U].abs().requires_grad_()
    found = unbalanced_transport_plan(cost, None, None, frames, labels, validate=False)
    values = transport_value(found, cost)
    (grad,) = torch.autograd.grad(found.plan.square().sum() + values.sum(), cost)
    return found.plan.detach(), values.detach(), grad


# Those that do not check the values of lengths, or can be told not to.
UNCHECKED: dict[str, Function] = {
    "ottc_loss eager": _loss("eager"),
    "ottc_loss cpu": _loss("cpu"),
    "ottc_loss triton": _loss("triton"),
    "transport_plan": _plan,
    "boundaries": lambda t, u: boundaries(*_weights(t, u), t, u),
    "labels_at_centres": lambda t, u: (labels_at_centres(*_weights(t, u), t, u),),
    "frame_weights": lambda t, u: (frame_weights(FRAME_LOGITS, t),),
    "uniform_label_weights": lambda t, u: (uniform_label_weights(u, U),),
    "flat_start_loss": _flat_start,
    "unbalanced_transport_plan": _unbalanced,
    "searched_plan": lambda t, u: tuple(searched_plan(LOGITS.log_softmax(2), TARGETS, t, u)),
    "sotd": _sotd,
    "kl_to_uniform": lambda t, u: (kl_to_uniform(FRAME_LOGITS, t),),
    "roughness": lambda t, u: (roughness(FRAME_LOGITS, t),),
    "insert_blanks": lambda t, u: insert_blanks(TARGETS, u, validate=False),
    "add_boundary_labels": lambda t, u: add_boundary_labels(TARGETS, u, 4, validate=False),
    "collapse": lambda t, u: collapse(TARGETS, u, validate=False),
    "run_length_label_weights": lambda t, u: run_length_label_weights(TARGETS, u, validate=False),
    "EstimatedLabelWeights": lambda t, u: (EstimatedLabelWeights(V)(TARGETS, u),),
}


def _best_path(frames: Tensor, _labels: Tensor) -> tuple[Tensor, ...]:
    alpha = frame_weights(FRAME_LOGITS, frames)
    return tuple(best_path(LOGITS.log_softmax(2), alpha, frames))


FUNCTIONS: dict[str, Function] = {**UNCHECKED, "best_path": _best_path}
