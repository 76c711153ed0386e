"""Penalties on the frame weights, against the formula on one utterance at a time."""

import math

import pytest
import torch
from torch import Tensor

from espnet_ottc.ops.regularizers import kl_to_uniform, roughness


def batch() -> tuple[Tensor, Tensor]:
    scores = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = torch.tensor([9, 5, 1, 0])
    for b, length in enumerate(lengths.tolist()):
        scores[b, length:] = float("nan")
    return scores, lengths


def test_values_equal_the_formulas_and_ignore_padding() -> None:
    scores, lengths = batch()
    kl, rough = kl_to_uniform(scores, lengths), roughness(scores, lengths)
    for b, n in enumerate(lengths.tolist()):
        w = scores[b, :n].tolist()
        total = sum(map(math.exp, w))
        alpha = [math.exp(score) / total for score in w]
        assert kl[b].item() == pytest.approx(sum(a * math.log(n * a) for a in alpha), abs=1e-12)
        squares = sum((w[t] - w[t - 1]) ** 2 for t in range(1, n))
        assert rough[b].item() == pytest.approx(squares / max(n, 1), abs=1e-12)


def test_equal_weights_cost_nothing_and_one_frame_with_all_of_it_costs_the_most() -> None:
    lengths = torch.tensor([8])
    assert kl_to_uniform(torch.full((1, 8), 3.0), lengths).item() == pytest.approx(0.0, abs=1e-6)
    alone = torch.full((1, 8), -torch.inf)
    alone[0, 2] = 0.0
    assert kl_to_uniform(alone, lengths).item() == pytest.approx(math.log(8))


def test_gradients_are_right_and_zero_in_the_padding() -> None:
    scores, lengths = batch()
    inside = torch.nan_to_num(scores).requires_grad_()
    for penalty in (kl_to_uniform, roughness):
        assert torch.autograd.gradcheck(lambda w, f=penalty: f(w, lengths), inside)
        (grad,) = torch.autograd.grad(penalty(scores.requires_grad_(), lengths).sum(), scores)
        assert bool(grad.isfinite().all())
        assert all(bool((grad[b, n:] == 0).all()) for b, n in enumerate(lengths.tolist()))


def test_a_dropped_frame_has_no_gradient() -> None:
    scores = torch.tensor([[0.3, -torch.inf, 1.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(kl_to_uniform(scores, torch.tensor([3])).sum(), scores)
    assert bool(grad.isfinite().all())
    assert grad[0, 1] == 0


def test_half_precision_is_computed_in_float32() -> None:
    scores = torch.randn(2, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    lengths = torch.tensor([50, 20])
    for penalty in (kl_to_uniform, roughness):
        assert penalty(scores, lengths).dtype == torch.float32
        torch.testing.assert_close(penalty(scores, lengths), penalty(scores.float(), lengths))


def test_wrong_kinds_are_errors() -> None:
    with pytest.raises(TypeError, match="frame_logits must be floating point"):
        kl_to_uniform(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="lengths must have shape"):
        roughness(torch.ones(2, 3), torch.ones(3, dtype=torch.int64))
