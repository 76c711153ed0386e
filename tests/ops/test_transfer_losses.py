"""The losses of the knowledge transfer against loops over tokens and frames."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_ottc.ops.transfer import Matcher, transfer_losses
from espnet_ottc.ops.unbalanced import transport_value, unbalanced_transport_plan

LENGTHS, TOKENS = torch.tensor([9, 6, 4]), torch.tensor([4, 2, 0])


def inputs() -> tuple[Tensor, Tensor]:
    """(3, 9, 5) frames and (3, 4, 5) states, NaN in the padding."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 9, 5, generator=generator, dtype=torch.float64)
    states = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    hidden[torch.arange(9) >= LENGTHS[:, None]] = torch.nan
    states[torch.arange(4) >= TOKENS[:, None]] = torch.nan
    return hidden, states


@pytest.mark.parametrize("strengths", [(0.5, math.inf), (0.5, 1.0), (math.inf, math.inf)])
def test_the_losses_are_those_of_a_loop_over_utterances(strengths: tuple[float, float]) -> None:
    hidden, states = inputs()
    order = torch.rand(3, 9, 4, dtype=torch.float64)
    matcher = Matcher(reg=0.1, reg_m_frames=strengths[0], reg_m_tokens=strengths[1], max_iter=400)
    found = transfer_losses(hidden, states, LENGTHS, TOKENS, matcher, order=order)
    for b, (T, U) in enumerate(zip(LENGTHS.tolist(), TOKENS.tolist(), strict=True)):
        if not U:
            assert [float(part[b]) for part in found[:3]] == [0, 0, 0]
            continue
        h, z = hidden[b, :T], states[b, :U]
        cost = torch.stack([1 - F.cosine_similarity(h, z[u], dim=1) for u in range(U)], 1)
        cost = (cost + order[b, :T, :U])[None]
        plan = unbalanced_transport_plan(
            cost, reg=0.1, reg_m_frames=strengths[0], reg_m_tokens=strengths[1], max_iter=400
        )
        sums = torch.stack([(plan.plan[0, :, u, None] * h).sum(0) for u in range(U)])
        align = sum(1 - F.cosine_similarity(sums[u], z[u], dim=0) for u in range(U)) / U
        torch.testing.assert_close(found.align[b], torch.as_tensor(align))
        torch.testing.assert_close(found.transport[b], transport_value(plan, cost)[0])
        torch.testing.assert_close(found.least_token_mass[b], plan.token_mass.min() * U)
        moved = torch.minimum(plan.frame_mass, torch.tensor(1 / T)).sum()
        torch.testing.assert_close(found.frames_kept[b], moved)


def test_dealt_out_evenly_each_token_has_its_share_of_frames_in_order() -> None:
    hidden, states = inputs()
    found = transfer_losses(hidden, states, LENGTHS, TOKENS, Matcher(matching="uniform"))
    # Nine frames and four tokens: the third frame is shared by two.
    shares = torch.tensor([1, 1, 0.25]).double()
    mean = (shares[:, None] * hidden[0, :3]).sum(0)
    first = 1 - F.cosine_similarity(mean, states[0, 0], dim=0)
    last = 1 - F.cosine_similarity(
        (shares.flip(0)[:, None] * hidden[0, 6:9]).sum(0), states[0, 3], dim=0
    )
    others = []
    for u, weights in ((1, [0.75, 1, 0.5, 0, 0]), (2, [0, 0, 0.5, 1, 0.75])):
        mean = (torch.tensor(weights).double()[:, None] * hidden[0, 2:7]).sum(0)
        others.append(1 - F.cosine_similarity(mean, states[0, u], dim=0))
    torch.testing.assert_close(found.align[0], (first + last + sum(others)) / 4)
    torch.testing.assert_close(found.frames_kept, torch.tensor([1, 1, 0]).double())


@pytest.mark.parametrize("matching", ["transport", "uniform"])
@pytest.mark.parametrize("gradient", ["implicit", "none"])
def test_gradients_are_those_of_finite_differences(matching: str, gradient: str) -> None:
    hidden, states = (t.nan_to_num(0.5) for t in inputs())
    matcher = Matcher(matching, reg=0.3, max_iter=200, gradient=gradient)  # type: ignore[arg-type]

    def total(frames: Tensor) -> Tensor:
        found = transfer_losses(frames, states, LENGTHS, TOKENS, matcher)
        return found.transport if gradient == "none" else found.align + found.transport

    assert torch.autograd.gradcheck(total, hidden.requires_grad_(), atol=1e-6, fast_mode=True)


def test_padding_has_no_gradient_and_low_precision_is_summed_in_float32() -> None:
    hidden, states = inputs()
    leaf = hidden.bfloat16().requires_grad_()
    found = transfer_losses(leaf, states.bfloat16(), LENGTHS, TOKENS)
    assert found.align.dtype == torch.float32
    (grad,) = torch.autograd.grad((found.align + found.transport).sum(), leaf)
    padding = torch.arange(9) >= LENGTHS[:, None]
    assert not bool(grad[padding].any())
    assert bool(grad.isfinite().all())
    expected = transfer_losses(hidden, states, LENGTHS, TOKENS)
    torch.testing.assert_close(found.align.double(), expected.align, rtol=0.03, atol=0.01)
