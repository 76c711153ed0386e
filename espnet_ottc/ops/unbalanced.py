"""Entropic unbalanced optimal transport between frames and tokens, and what it carries over.

    min_γ≥0  Σ γ(t,u) C(t,u) + ε KL(γ | w⊗v) + λ_w KL(Σ_u γ | w) + λ_v KL(Σ_t γ | v)

with KL(a | b) = Σ a log(a/b) − a + b; λ = ∞ keeps a side's weights exactly.  Unlike OTTC's plan, this one
is dense and knows no order of time; it says which frames resemble which tokens, and may leave frames out.
docs/unbalanced.md has the mathematics.  Source: arXiv 2509.05609 (Lu, Shen and Kawai), Eqs. 3-8.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from espnet_ottc.ops.transport import check_feasible
from espnet_ottc.ops.unbalanced_solver import ImplicitPlan, Relaxation, Sides, Solution, solve
from espnet_ottc.ops.validation import (
    check_device,
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    raise_first,
    valid_mask,
    values_are_checked,
)

Reference = Literal["product", "ones"]
Gradient = Literal["implicit", "unrolled", "none"]

# Exact on both sides, the sums of the weights have to agree to this.
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class UnbalancedPlan:
    """A batch of dense transport plans between T frames and U tokens.

    Attributes:
        plan: (B, T, U) float32 or float64, ≥ 0; 0 in the padding.
        frame_mass: (B, T) what each frame gives, Σ_u γ(t,u).
        token_mass: (B, U) what each token gets, Σ_t γ(t,u).
        residual: (B,) how far the last step moved a frame's potential, in units of the cost.
        iterations: steps made.
        frame_weights: (B, T) w; 0 in the padding.
        token_weights: (B, U) v; 0 in the padding.
        frame_potentials: (B, T) F, without gradient, where γ = exp(−C/ε + log w + log v + F + G), or
            without both weights for `reference="ones"`.
        token_potentials: (B, U) G.
        relaxation: ε and both λ.
    """

    plan: Tensor
    frame_mass: Tensor
    token_mass: Tensor
    residual: Tensor
    iterations: int
    frame_weights: Tensor
    token_weights: Tensor
    frame_potentials: Tensor
    token_potentials: Tensor
    relaxation: Relaxation


def unbalanced_transport_plan(
    cost: Tensor,
    frame_weights: Tensor | None = None,
    token_weights: Tensor | None = None,
    frame_lengths: Tensor | None = None,
    token_lengths: Tensor | None = None,
    *,
    reg: float = 0.05,
    reg_m_frames: float = 0.5,
    reg_m_tokens: float = math.inf,
    reference: Reference = "product",
    max_iter: int = 50,
    tol: float | None = None,
    gradient: Gradient = "implicit",
    validate: bool | None = None,
) -> UnbalancedPlan:
    """The plan γ that moves frames' mass to tokens at the least cost, where either side may give way.

    With `reg_m_tokens=inf` each token gets its full mass, to rounding and after any number of steps: it is
    grounded.  Frames that no token resembles keep theirs.  In the paper's soft version (finite
    `reg_m_tokens`) a token may lose nearly all of its mass.  With `reference="product"` the total mass does
    not depend on how many frames and tokens there are.

    Args:
        cost: (B, T, U) floating point, finite; the padding may hold anything.  bfloat16 and float16 are
            solved in float32.
        frame_weights: w (B, T) ≥ 0; None: 1/T_b each.  A frame of weight 0 takes no part.
        token_weights: v (B, U) > 0; None: 1/U_b each.
        frame_lengths: (B,) integers in [0, T]; None means T everywhere.
        token_lengths: (B,) integers in [0, U]; None means U everywhere.
        reg: ε > 0, weight of the entropy, in units of the cost.  float32 is right down to 0.002.
        reg_m_frames: λ_w > 0, weight of KL(frame mass | w), in units of the cost; inf: exact.
        reg_m_tokens: λ_v > 0, weight of KL(token mass | v); inf: exact.
        reference: what the entropy is relative to: `product` is ε KL(γ | w⊗v), `ones` is the paper's
            −ε H(γ), that is ε Σ γ (log γ − 1).
        max_iter: number of steps ≥ 1.
        tol: ends earlier, when no potential moves by more, in units of the cost; a GPU waits for each look.
        gradient: `implicit` differentiates at the fixed point (a U×U system), `unrolled` through the steps,
            `none` not at all.
        validate: read and check the values; None does so on the CPU only (no GPU synchronisation).
            Unchecked, lengths are clamped to the tensors.

    Returns:
        Plan and masses, differentiable in `cost` and both weights.  An utterance without tokens has an
        empty plan.  The implicit gradient is that of the optimum: `residual` says how near the plan is.

    Raises:
        TypeError: an argument that is not a tensor of the right kind.
        ValueError: wrong shapes; options outside their range; lengths beyond the tensors; a cost that is
            not finite; weights that are negative, zero (tokens, or all frames) or not finite; exact on
            both sides, weights of different sums; tokens without frames.  It names the utterance.

    Source: arXiv 2509.05609, Eqs. 3-7, with uniform w and v, reference `ones`, ε = 0.05.
    """
    relaxation = _relaxation(reg, reg_m_frames, reg_m_tokens, reference)
    if gradient not in ("implicit", "unrolled", "none"):
        raise ValueError(f"gradient must be implicit, unrolled or none, got {gradient!r}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}")
    check_floating("cost", cost, 3)
    B, T, U = cost.shape
    frame_lengths = _lengths("frame_lengths", frame_lengths, cost, T)
    token_lengths = _lengths("token_lengths", token_lengths, cost, U)
    checked = values_are_checked(validate, cost)
    if checked:
        check_lengths("frame_lengths", frame_lengths, B, T)
        check_lengths("token_lengths", token_lengths, B, U)
        check_feasible(frame_lengths, token_lengths)
    frames, tokens = valid_mask(frame_lengths, T), valid_mask(token_lengths, U)
    wide = torch.promote_types(cost.dtype, torch.float32)
    w = _weights("frame_weights", frame_weights, frames, cost, wide)
    v = _weights("token_weights", token_weights, tokens, cost, wide)
    if checked:
        _check_values(cost, w, v, frames, tokens)
        if math.isinf(reg_m_frames) and math.isinf(reg_m_tokens):
            _check_sums(w, v, tokens)
    sides = _sides(w, v, frames, tokens)
    # Whoever uses autocast wants products of networks in fewer bits, not these sums.
    with torch.autocast(cost.device.type, enabled=False):
        found = _solved(cost.to(wide), sides, relaxation, (max_iter, tol), gradient)
    return UnbalancedPlan(
        plan=found.plan,
        frame_mass=found.plan.sum(2),
        token_mass=found.plan.sum(1),
        residual=found.residual,
        iterations=found.iterations,
        frame_weights=sides.frame_weights,
        token_weights=sides.token_weights,
        frame_potentials=found.frame_potentials.detach(),
        token_potentials=found.token_potentials.detach(),
        relaxation=relaxation,
    )


def transport_value(transport: UnbalancedPlan, cost: Tensor) -> Tensor:
    """The value of the problem at a plan: cost, entropy and both divergences.

    By the envelope theorem the gradient of the optimal value in the cost is the plan itself, and this one's
    is, without a second solution; that in the weights is the optimum's, too.

    Args:
        transport: of `unbalanced_transport_plan` for this cost.
        cost: (B, T, U) as it was given there; the padding may hold anything.

    Returns:
        (B,) at least float32; 0 for an utterance without tokens.

    Raises:
        TypeError, ValueError: a cost of another kind or shape.
    """
    check_floating("cost", cost, 3)
    plan = transport.plan.detach()
    check_shape("cost", cost, tuple(plan.shape), "(B, T, U)")
    options, w, v = transport.relaxation, transport.frame_weights, transport.token_weights
    rows, columns = transport.frame_mass.detach(), transport.token_mass.detach()
    frames, tokens = w > 0, v > 0
    taking_part = frames[:, :, None] & tokens[:, None, :]
    entropy = torch.where(taking_part, torch.xlogy(plan, plan) - plan, 0.0).sum((1, 2))
    if options.product:
        logs = rows * _log(w, frames)
        entropy = entropy - logs.sum(1) - (columns * _log(v, tokens)).sum(1) + w.sum(1) * v.sum(1)
    value = (plan * torch.where(taking_part, cost, 0.0)).sum((1, 2)) + options.reg * entropy
    for mass, weights, reg_m, potentials in (
        (rows, w, options.reg_m_frames, transport.frame_potentials),
        (columns, v, options.reg_m_tokens, transport.token_potentials),
    ):
        if math.isinf(reg_m):
            # The value of more weight is what the constraint's multiplier says.
            gained = weights - weights.detach()
            value = value + options.reg * (potentials * gained).sum(1)
        else:
            value = value + reg_m * _divergence(mass, weights).sum(1)
    return torch.where(tokens.any(1), value, 0.0) if tokens.shape[1] else value * 0


def barycentric(plan: Tensor, values: Tensor) -> Tensor:
    """Each token's mean of the frames' values, weighted by the plan: Σ_t γ(t,u) h_t / Σ_t γ(t,u).

    The paper does not divide by the mass.  That changes no cosine, and keeps small masses from rounding.

    Args:
        plan: (B, T, U) ≥ 0.
        values: (B, T, D) floating point; where a frame has no mass it may hold anything.

    Returns:
        (B, U, D) in the wider dtype; 0 for a token without mass.

    Raises:
        TypeError, ValueError: arguments of another kind or shape.

    Source: arXiv 2509.05609, Eq. 8.
    """
    check_floating("plan", plan, 3)
    check_floating("values", values, 3)
    B, T, _ = plan.shape
    check_shape("values", values, (B, T, values.shape[2]), "(B, T, D)")
    dtype = torch.promote_types(plan.dtype, values.dtype)
    mass = plan.sum(1, keepdim=True)
    shares = plan / torch.where(mass > 0, mass, 1.0)
    used = (plan.detach() > 0).any(2)
    known = torch.where(used[:, :, None], values, 0.0)
    return torch.bmm(shares.transpose(1, 2).to(dtype), known.to(dtype))


def _solved(
    cost: Tensor,
    sides: Sides,
    relaxation: Relaxation,
    steps: tuple[int, float | None],
    gradient: Gradient,
) -> Solution:
    if not cost.numel():
        # Nothing to solve, and reductions over nothing are errors.
        w, v = sides.frame_weights, sides.token_weights
        still = torch.zeros_like(w), torch.zeros_like(v), w.new_zeros(len(w))
        return Solution(cost + 0.0, *still, 0)
    if gradient == "implicit":
        found = ImplicitPlan.apply(cost, *sides, relaxation, *steps)  # type: ignore[no-untyped-call]
        return Solution(*found)
    if gradient == "unrolled":
        return solve(cost, sides, relaxation, *steps)
    with torch.no_grad():
        return solve(cost, sides, relaxation, *steps)


def _relaxation(
    reg: float, reg_m_frames: float, reg_m_tokens: float, reference: Reference
) -> Relaxation:
    if not 0 < reg < math.inf:
        raise ValueError(f"reg must be above 0 and finite, got {reg}")
    for name, value in (("reg_m_frames", reg_m_frames), ("reg_m_tokens", reg_m_tokens)):
        if not value > 0:
            raise ValueError(f"{name} must be above 0 (inf: exact), got {value}")
    if reference not in ("product", "ones"):
        raise ValueError(f"reference must be product or ones, got {reference!r}")
    return Relaxation(float(reg), float(reg_m_frames), float(reg_m_tokens), reference == "product")


def _lengths(name: str, lengths: Tensor | None, cost: Tensor, longest: int) -> Tensor:
    if lengths is None:
        return torch.full((len(cost),), longest, dtype=torch.int64, device=cost.device)
    check_integer(name, lengths, 1)
    check_shape(name, lengths, (len(cost),), "(B,)")
    return lengths.to(device=cost.device, dtype=torch.int64)


def _weights(
    name: str, weights: Tensor | None, valid: Tensor, cost: Tensor, dtype: torch.dtype
) -> Tensor:
    """Weights of one side, uniform ones where none are given; 0 in the padding."""
    if weights is None:
        count = valid.sum(1, keepdim=True).clamp(min=1)
        return valid.to(dtype) / count
    check_floating(name, weights, 2)
    check_shape(name, weights, tuple(valid.shape), "(B, T)" if name[0] == "f" else "(B, U)")
    check_device(name, weights, cost)
    return torch.where(valid, weights, 0.0).to(dtype)


def _sides(w: Tensor, v: Tensor, frames: Tensor, tokens: Tensor) -> Sides:
    """What takes part: nothing of an utterance without frames or tokens."""
    frames = frames & (w.detach() > 0)
    tokens = tokens & (v.detach() > 0)
    both = (frames.any(1) & tokens.any(1))[:, None]
    frames, tokens = frames & both, tokens & both
    return Sides(torch.where(frames, w, 0.0), torch.where(tokens, v, 0.0), frames, tokens)


def _check_values(cost: Tensor, w: Tensor, v: Tensor, frames: Tensor, tokens: Tensor) -> None:
    bad = ~torch.isfinite(cost) & frames[:, :, None] & tokens[:, None, :]
    raise_first(
        bad.flatten(1).any(1),
        lambda b: "cost must be finite; got {} at frame {}, token {}".format(
            float(cost[b][bad[b]][0]), *bad[b].nonzero()[0].tolist()
        ),
    )
    rules = (("frame_weights", w, frames, w >= 0), ("token_weights", v, tokens, v > 0))
    for name, weights, valid, right in rules:
        wrong = (~right | ~torch.isfinite(weights)) & valid
        rule = "at least 0" if name == "frame_weights" else "above 0"

        def message(
            b: int,
            name: str = name,
            weights: Tensor = weights,
            wrong: Tensor = wrong,
            rule: str = rule,
        ) -> str:
            position = int(wrong[b].nonzero()[0, 0])
            got = float(weights[b, position])
            return f"{name} must be finite and {rule}; got {got} at position {position}"

        raise_first(wrong.any(1), message)
    raise_first(
        tokens.any(1) & ~(w > 0).any(1),
        lambda b: "frame_weights must have one above 0 where there are tokens; got zeros alone",
    )


def _check_sums(w: Tensor, v: Tensor, tokens: Tensor) -> None:
    left, right = w.sum(1), v.sum(1)
    off = ((left - right).abs() > _SUM_TOLERANCE * right) & tokens.any(1)
    raise_first(
        off,
        lambda b: (
            "exact on both sides, frame_weights and token_weights must have the same sum; "
            f"got {float(left[b])} and {float(right[b])}"
        ),
    )


def _divergence(mass: Tensor, weights: Tensor) -> Tensor:
    """KL(mass | weights) by entry; 0 where a weight is."""
    logs = _log(weights, weights > 0)
    return torch.xlogy(mass, mass) - mass * logs - mass + weights


def _log(weights: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, weights, 1.0).log()
