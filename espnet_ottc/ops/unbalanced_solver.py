"""Fixed point, plan and implicit gradient of entropic unbalanced transport.

With the kernel's logarithm k(t,u) = −C(t,u)/ε [+ log w_t + log v_u] the optimum is
γ(t,u) = exp(k(t,u) + F_t + G_u), where

    F_t = φ_w (log w_t − log Σ_u exp(k(t,u) + G_u)),   G_u = φ_v (log v_u − log Σ_t exp(k(t,u) + F_t)),

and φ = λ/(λ + ε) of either side, 1 for λ = ∞.  Each step solves one side for the other; between them one
constant moves from G to F (Séjourné, Vialard and Peyré 2022, arXiv 2201.00730), which saves half of the
steps where λ is far above ε.  docs/unbalanced.md derives all of it.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from espnet_ottc.ops.precision import brought_back, device_of_sums

# Steps on one kernel before the potentials are absorbed into a new one; the first one comes early, since
# nearly all of the way is made at once.  50 steps, the default, are 1 in logarithms, 5, 22 and 22.
_STEPS_ON_KERNEL = 22
_FIRST_STEPS = 5
# Steps between two looks at the residual, which on a GPU wait for it.
_STEPS_TO_LOOK = 10
# What potentials may move on one kernel, in nats: neither overflow nor underflow in float32.
_FARTHEST = 40.0
# Entropies below these leave too little of a kernel: the steps then stay with logarithms.
_SMALLEST_FOR_KERNEL = {torch.float32: 0.01, torch.float64: 0.002}


@dataclass(frozen=True)
class Relaxation:
    """What a transport problem has beside cost and weights: ε and both λ, in units of the cost.

    Attributes:
        reg: ε > 0 of the entropy.
        reg_m_frames: λ_w > 0 of the frames' divergence; inf: their weights are kept exactly.
        reg_m_tokens: λ_v > 0 of the tokens'.
        product: whether the entropy is KL(γ | w⊗v); otherwise ε Σ γ (log γ − 1).
    """

    reg: float
    reg_m_frames: float
    reg_m_tokens: float
    product: bool

    @property
    def exponents(self) -> tuple[float, float]:
        """φ of the frames and of the tokens."""
        return _exponent(self.reg_m_frames, self.reg), _exponent(self.reg_m_tokens, self.reg)


class Sides(NamedTuple):
    """Weights of frames (B, T) and tokens (B, U), and which of them take part."""

    frame_weights: Tensor
    token_weights: Tensor
    frames: Tensor  # (B, T) bool
    tokens: Tensor  # (B, U) bool


class Solution(NamedTuple):
    """Plan (B, T, U), F (B, T), G (B, U), the last step's movement (B,) in units of the cost, steps made."""

    plan: Tensor
    frame_potentials: Tensor
    token_potentials: Tensor
    residual: Tensor
    iterations: int


def solve(
    cost: Tensor, sides: Sides, relaxation: Relaxation, max_iter: int, tol: float | None
) -> Solution:
    """Iterate to the optimum; differentiable as it stands (unrolled).

    Args:
        cost: (B, T, U) float32 or float64, finite wherever `sides` takes part.
        sides: with positive weights there.
        relaxation: of the problem.
        max_iter: number of steps.
        tol: ends earlier, once no potential moves by more (units of cost).
    """
    kernel = _Kernel(cost, sides, relaxation)
    F = torch.zeros_like(kernel.log_w)
    G = torch.zeros_like(kernel.log_v)
    residual = F.new_zeros(len(F))
    in_logs = relaxation.reg < _SMALLEST_FOR_KERNEL[cost.dtype]
    steps = 0
    while steps < max_iter:
        block = 1 if in_logs or not steps else _FIRST_STEPS if steps == 1 else _STEPS_ON_KERNEL
        if tol is not None:
            block = min(block, _STEPS_TO_LOOK)
        block = min(block, max_iter - steps)
        if in_logs or not steps:
            F, G, moved = kernel.step(F, G)
        else:
            F, G, moved = _Absorbed(kernel, F, G).steps(block)
        steps += block
        residual = relaxation.reg * moved
        looked = tol is not None and (block > 1 or steps % _STEPS_TO_LOOK == 0)
        if looked and tol is not None and bool((residual <= tol).all()):
            break
    return Solution(*kernel.finished(F, G), residual, steps)


class _Kernel:
    """The logarithm of the kernel, and the steps on it."""

    def __init__(self, cost: Tensor, sides: Sides, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        self.frames_valid, self.tokens_valid = sides.frames, sides.tokens
        self.log_w = torch.where(sides.frames, sides.frame_weights, 1.0).log()
        self.log_v = torch.where(sides.tokens, sides.token_weights, 1.0).log()
        phi_w, phi_v = relaxation.exponents
        # A constant c moves from G to F: c = shift_rate (log Σ w e^(−rate_w F) − log Σ v e^(−rate_v G)).
        reg, lambda_w, lambda_v, _ = vars(relaxation).values()
        self.rates = reg / lambda_w, reg / lambda_v
        self.shift_rate = 1 / sum(self.rates) if any(self.rates) else 0.0
        # Potentials of the padding are 0.
        self.phi_w = phi_w * sides.frames.to(cost.dtype)
        self.phi_v = phi_v * sides.tokens.to(cost.dtype)
        self.valid = sides.frames[:, :, None] & sides.tokens[:, None, :]
        logits = torch.where(self.valid, cost, 0.0).div_(-relaxation.reg)
        if relaxation.product:
            logits = logits.add_(self.log_w[:, :, None]).add_(self.log_v[:, None, :])
        # Finite, so that sums over nothing have a gradient, which is 0.
        self.logits = logits.masked_fill_(~self.valid, torch.finfo(cost.dtype).min / 4)

    def frames(self, G: Tensor) -> Tensor:
        """F for the tokens' potentials."""
        return self.phi_w * (self.log_w - (self.logits + G[:, None, :]).logsumexp(2))

    def tokens(self, F: Tensor) -> Tensor:
        """G for the frames' potentials."""
        return self.phi_v * (self.log_v - (self.logits + F[:, :, None]).logsumexp(1))

    def step(self, before: Tensor, G: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """F and G after a step in logarithms, and how far (B,) it moved F, in nats."""
        F = self.frames(G)
        if self.shift_rate:
            frames, tokens = (side.logsumexp(1, keepdim=True) for side in self.shares(F, G))
            F = F + (frames - tokens) * self.shift_rate * self.frames_valid
        return F, self.tokens(F), (F.detach() - before.detach()).abs().amax(1)

    def shares(self, F: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """log w − rate_w F (B, T) and log v − rate_v G (B, U); very small in the padding."""
        least = torch.finfo(F.dtype).min / 4
        return (
            (self.log_w - self.rates[0] * F).masked_fill(~self.frames_valid, least),
            (self.log_v - self.rates[1] * G).masked_fill(~self.tokens_valid, least),
        )

    def finished(self, F: Tensor, G: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Plan and potentials; an exact side, the tokens' first, has its weights to rounding."""
        if math.isinf(self.relaxation.reg_m_frames) and math.isfinite(self.relaxation.reg_m_tokens):
            plan, F = _spread(self.logits + G[:, None, :], 2, self.phi_w, self.log_w)
        else:
            plan, G = _spread(self.logits + F[:, :, None], 1, self.phi_v, self.log_v)
        # Whatever gradient the padding is given ends here.
        return torch.where(self.valid, plan, 0.0), F, G


class _Absorbed:
    """exp(k + F + G) for potentials from which the next ones, F + f and G + g, are not far, both ways round.

    A product with one row is several times faster than with one column, hence both.  The steps are on f and
    g, and their padding may hold anything: it meets zeros.  Each small operation takes longer than its
    numbers do, hence few of them.
    """

    def __init__(self, kernel: _Kernel, F: Tensor, G: Tensor) -> None:
        self.kernel, self.F, self.G = kernel, F, G
        self.rows = (kernel.logits + F[:, :, None]).add_(G[:, None, :]).exp_()
        self.columns = self.rows.transpose(1, 2).contiguous()
        # f = origin − φ log Σ_u exp(k + F + G + g).
        self.origins = (
            kernel.phi_w * (kernel.log_w + F) - F,
            kernel.phi_v * (kernel.log_v + G) - G,
        )
        logs = kernel.shares(F, G)
        largest = [side.detach().amax(1, keepdim=True) for side in logs]
        self.weights = [side - most for side, most in zip(logs, largest, strict=True)]
        self.apart = largest[0] - largest[1]

    def steps(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """F and G after some steps, and how far (B,) the last of them moved F, in nats."""
        kernel = self.kernel
        f, g = torch.zeros_like(self.F), torch.zeros_like(self.G)
        for _ in range(count):
            before = f.detach()
            f = self._near(g, self.columns, kernel.phi_w, 0)
            if kernel.shift_rate:
                f = f + self._shift(f, g)
            g = self._near(f, self.rows, kernel.phi_v, 1)
        moved = ((f.detach() - before).abs() * kernel.frames_valid).amax(1)
        return self.F + f * kernel.frames_valid, self.G + g * kernel.tokens_valid, moved

    def _near(self, other: Tensor, transposed: Tensor, phi: Tensor, side: int) -> Tensor:
        """One side's movement for the other's."""
        sums = torch.bmm(other.exp()[:, None, :], transposed)[:, 0]
        logs = sums.clamp(min=torch.finfo(sums.dtype).tiny).log()
        most = _FARTHEST / max(1.0, self.kernel.rates[side])
        return torch.addcmul(self.origins[side], phi, logs, value=-1).clamp(-most, most)

    def _shift(self, f: Tensor, g: Tensor) -> Tensor:
        """(B, 1) the constant that moves to f."""
        masses = [
            torch.add(weights, moved, alpha=-rate).exp().sum(1, keepdim=True)
            for weights, moved, rate in zip(self.weights, (f, g), self.kernel.rates, strict=True)
        ]
        shift = ((masses[0] / masses[1]).log() + self.apart) * self.kernel.shift_rate
        return shift.clamp(-_FARTHEST, _FARTHEST)


class ImplicitPlan(torch.autograd.Function):
    """The plan as a function of cost and weights, differentiated at the fixed point.

    With P = γ / row sums, Q = γ / column sums and g = ∂ℓ/∂γ ∘ γ, whose sums are g_T and g_U:
    (I − φ_w φ_v PᵀQ) y = g_U − φ_w Pᵀ g_T is a U×U system, x = g_T − φ_v Q y, and
    ∂ℓ/∂k = g − φ_w P ∘ x 1ᵀ − φ_v Q ∘ 1 yᵀ, ∂ℓ/∂log w = φ_w x, ∂ℓ/∂log v = φ_v y besides what k has of them.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Any, ...]:
        cost, w, v, frames, tokens, relaxation, max_iter, tol = arguments
        found = solve(cost, Sides(w, v, frames, tokens), relaxation, max_iter, tol)
        ctx.save_for_backward(found.plan, w, v, frames, tokens)
        ctx.relaxation = relaxation
        rest = found[1:4]
        ctx.mark_non_differentiable(*rest)
        return (found.plan, *rest, found.iterations)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        plan, w, v, frames, tokens = ctx.saved_tensors
        relaxation: Relaxation = ctx.relaxation
        phi_w, phi_v = relaxation.exponents
        with torch.autocast(plan.device.type, enabled=False):
            # What stands in a gradient's padding counts as little as the plan's zeros there.
            weighted = torch.where(plan > 0, grad * plan, 0.0)
            x, y, P, Q = _adjoint(plan, weighted, phi_w, phi_v)
            to_kernel = weighted.sub_(P.mul_(phi_w * x[:, :, None]))
            to_kernel = to_kernel.sub_(Q.mul_(phi_v * y[:, None, :]))
            to_w, to_v = phi_w * x, phi_v * y
            if relaxation.product:
                to_w, to_v = to_w + to_kernel.sum(2), to_v + to_kernel.sum(1)
        grad_w = torch.where(frames, to_w / torch.where(frames, w, 1.0), 0.0)
        grad_v = torch.where(tokens, to_v / torch.where(tokens, v, 1.0), 0.0)
        needed = ctx.needs_input_grad
        return (
            to_kernel / -relaxation.reg,
            grad_w if needed[1] else None,
            grad_v if needed[2] else None,
            *[None] * 5,
        )


def _adjoint(
    plan: Tensor, weighted: Tensor, phi_w: float, phi_v: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (B, T), y (B, U), P and Q (B, T, U)."""
    P, Q = _shares(plan, 2), _shares(plan, 1)
    g_T, g_U = weighted.sum(2), weighted.sum(1)
    right = g_U - phi_w * torch.bmm(g_T[:, None], P)[:, 0]
    matrix = -phi_w * phi_v * torch.bmm(P.transpose(1, 2), Q)
    matrix.diagonal(dim1=1, dim2=2).add_(1.0)
    if phi_w * phi_v == 1:
        # Constants may move between the sides: of the solutions this takes one, and they differ by nothing
        # that is returned.
        matrix = matrix + plan.sum(1)[:, :, None]
    place = device_of_sums(plan.device)
    solved = torch.linalg.solve(matrix.to(place).double(), right.to(place).double())
    y = brought_back(solved, plan.device).to(plan.dtype)
    return g_T - phi_v * (Q * y[:, None, :]).sum(2), y, P, Q


def _shares(plan: Tensor, axis: int) -> Tensor:
    sums = plan.sum(axis, keepdim=True)
    return plan / torch.where(sums > 0, sums, 1.0)


def _exponent(reg_m: float, reg: float) -> float:
    return 1.0 if math.isinf(reg_m) else reg_m / (reg_m + reg)


def _spread(logits: Tensor, axis: int, phi: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The plan and one side's potentials, those of the columns (axis 1) or of the rows (axis 2).

    Each column is a softmax times its mass, so an exact side's masses have no error of an exponential.
    """
    most = logits.detach().amax(axis, keepdim=True)
    shares = (logits - most).exp_()
    sums = shares.sum(axis, keepdim=True)
    logs = (sums.log() + most).squeeze(axis)
    potentials = phi * (log_weights - logs)
    masses = (potentials + logs).exp()
    return shares * (masses.unsqueeze(axis) / sums), potentials
