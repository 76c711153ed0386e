"""The losses that carry the states of a language model over to frames, along a transport plan.

With h_t a frame's projection and z_u a token's state, C(t,u) = 1 − cos(h_t, z_u) (+ an order cost), and γ the
plan for it:

    L_align = 1/U Σ_u 1 − cos(Σ_t γ(t,u) h_t, z_u)        L_UOT = the transport problem's value

Source: arXiv 2509.05609 (Lu, Shen and Kawai), Eqs. 3-9.  There L_align is a sum over tokens.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_ottc.ops.transport import transport_plan
from espnet_ottc.ops.unbalanced import (
    Gradient,
    Reference,
    barycentric,
    transport_value,
    unbalanced_transport_plan,
)
from espnet_ottc.ops.validation import check_floating, check_shape, valid_mask
from espnet_ottc.ops.weights import uniform_label_weights

Matching = Literal["transport", "uniform"]


@dataclass(frozen=True)
class Matcher:
    """How frames and tokens are matched; the fields are arguments of `unbalanced_transport_plan`.

    Attributes:
        matching: `transport`, or `uniform`: the frames are dealt out evenly, in order, and nothing is solved.
        reg, reg_m_frames, reg_m_tokens, reference, max_iter, gradient: of the transport.
    """

    matching: Matching = "transport"
    reg: float = 0.05
    reg_m_frames: float = 0.5
    reg_m_tokens: float = math.inf
    reference: Reference = "product"
    max_iter: int = 50
    gradient: Gradient = "implicit"


class TransferLosses(NamedTuple):
    """By utterance, (B,) each; 0 for one without tokens."""

    align: Tensor  # mean over tokens, in [0, 2]
    transport: Tensor  # value of the transport problem; of the cost alone where nothing is solved
    least_token_mass: Tensor  # smallest token mass, as a share of that token's weight
    frames_kept: Tensor  # share of the frames' weight that the plan moves
    residual: Tensor  # how far the solver's last step moved, in units of the cost


def transfer_losses(
    hidden: Tensor,
    states: Tensor,
    lengths: Tensor,
    state_lengths: Tensor,
    matcher: Matcher | None = None,
    *,
    order: Tensor | None = None,
) -> TransferLosses:
    """Match frames with the states of tokens, and say how far they are apart.

    Args:
        hidden: h (B, T, D) floating point, projections of frames; the padding may hold anything.
        states: z (B, U, D) floating point, without gradient as a rule.
        lengths: (B,) frames.
        state_lengths: (B,) tokens; where there are any, there has to be a frame.
        matcher: how they are matched.
        order: (B, T, U) a cost that is added to the distances, or None.

    Returns:
        Both losses, differentiable in `hidden` and `states`, and what a log wants to know.  All sums are
        made in float32 at least.

    Raises:
        TypeError, ValueError: arguments of another kind or shape; what `unbalanced_transport_plan` raises.
    """
    matcher = matcher or Matcher()
    check_floating("hidden", hidden, 3)
    check_floating("states", states, 3)
    B, T, D = hidden.shape
    U = states.shape[1]
    check_shape("states", states, (B, U, D), "(B, U, D)")
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, states.dtype), torch.float32)
    frames, tokens = valid_mask(lengths, T), valid_mask(state_lengths, U)
    with torch.autocast(hidden.device.type, enabled=False):
        h = torch.where(frames[:, :, None], hidden, 0.0).to(dtype)
        z = torch.where(tokens[:, :, None], states, 0.0).to(dtype)
        cost = 1 - torch.bmm(F.normalize(h, dim=2), F.normalize(z, dim=2).transpose(1, 2))
        cost = cost if order is None else cost + order.to(dtype)
        if matcher.matching == "uniform":
            found = _evenly(cost, lengths, state_lengths)
        else:
            found = _transported(cost, lengths, state_lengths, matcher)
        plan, value, kept, residual = found
        means = barycentric(plan, h)
        apart = torch.where(tokens, 1 - F.cosine_similarity(means, z, dim=2), 0.0)
        align = apart.sum(1) / state_lengths.clamp(min=1)
        mass = plan.detach().sum(1) * state_lengths[:, None]
        some = (state_lengths > 0) & (lengths > 0)
        least = torch.where(tokens, mass, torch.inf).amin(1) if U else plan.new_zeros(B)
    return TransferLosses(align, value, torch.where(some, least, 0.0), kept, residual)


def _transported(
    cost: Tensor, lengths: Tensor, state_lengths: Tensor, matcher: Matcher
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = unbalanced_transport_plan(
        # What L_UOT needs of the plan's gradient, the envelope has already.
        cost,
        None,
        None,
        lengths,
        state_lengths,
        reg=matcher.reg,
        reg_m_frames=matcher.reg_m_frames,
        reg_m_tokens=matcher.reg_m_tokens,
        reference=matcher.reference,
        max_iter=matcher.max_iter,
        gradient=matcher.gradient,
    )
    moved = torch.minimum(found.frame_mass.detach(), found.frame_weights).sum(1)
    return found.plan, transport_value(found, cost), moved, found.residual


def _evenly(
    cost: Tensor, lengths: Tensor, state_lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The monotone plan of equal frames and equal tokens."""
    alpha = uniform_label_weights(lengths, cost.shape[1], dtype=cost.dtype)
    beta = uniform_label_weights(state_lengths, cost.shape[2], dtype=cost.dtype)
    plan = transport_plan(alpha, beta, lengths, state_lengths, validate=False).dense()
    return plan, (plan * cost).sum((1, 2)), plan.sum((1, 2)), torch.zeros_like(plan[:, 0, 0])
