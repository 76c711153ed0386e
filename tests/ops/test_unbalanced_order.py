"""The cost of an order: positions of a plan and of the diagonal, and what they find."""

import pytest
import torch
from torch import Tensor

from espnet_ottc.ops.unbalanced import unbalanced_transport_plan
from espnet_ottc.ops.unbalanced_order import diagonal_positions, order_cost, plan_positions


def planted(seed: int, order: str) -> tuple[Tensor, Tensor]:
    """Costs of 300 noisy frames and 24 tokens out of 30, and the true token of each frame (-1: silence)."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = torch.randn(30, 32, generator=generator)
    text = torch.randint(30, (24,), generator=generator)
    owners = torch.full((300,), -1)
    speech = [t for t in range(300) if not (t < 30 or 100 <= t < 120 or 190 <= t < 210 or t >= 280)]
    for n, t in enumerate(speech):
        owners[t] = n * 24 // len(speech)
    frames = torch.randn(300, 32, generator=generator)
    frames += torch.where((owners >= 0)[:, None], vocabulary[text[owners.clamp(min=0)]], 0.0)
    cost = (
        1
        - torch.nn.functional.normalize(frames, dim=1)
        @ torch.nn.functional.normalize(vocabulary[text], dim=1).T
    )
    if order == "plan":
        # A plan that spends nothing on silence, and is off by up to half a token.
        alpha = (owners >= 0).float()[None] + 1e-3
        jitter = (torch.rand(1, 24, generator=generator) - 0.5) * 0.5
        ends = ((torch.arange(24) + 1.0 + jitter) / 24).clamp(max=1.0)
        ends[0, -1] = 1.0
        text_ends = torch.arange(24)[None] + 1.0
        positions = plan_positions(
            alpha / alpha.sum(), torch.tensor([300]), ends, text_ends, torch.tensor([24])
        )
        cost = cost + 0.1 * order_cost(positions, torch.arange(24)[None] + 0.5)[0]
    return cost, owners


@pytest.mark.parametrize(("order", "least"), [("none", 0.4), ("plan", 0.95)])
def test_frame_mass_tells_speech_from_silence_and_a_plans_order_finds_the_token(
    order: str, least: float
) -> None:
    right, ranks, count = 0.0, 0.0, 8
    for seed in range(count):
        cost, owners = planted(seed, order)
        found = unbalanced_transport_plan(cost[None], reg_m_frames=0.1)
        speech = owners >= 0
        mass = found.frame_mass[0]
        ranks += float((mass[speech][:, None] > mass[~speech]).float().mean())
        right += float((found.plan[0].argmax(1) == owners)[speech].float().mean())
        torch.testing.assert_close(found.token_mass, torch.full((1, 24), 1 / 24))
    assert ranks / count >= 0.99
    assert right / count >= least
    assert order == "plan" or right / count < 0.9


def test_positions_of_a_plan_follow_straight_lines_between_labels() -> None:
    # Two labels of weights 1/4 and 3/4 own two letters and one; the padding counts nothing.
    alpha = torch.tensor([[0.25, 0.25, 0.5, 0.0], [0.5, 0.5, 9.0, 9.0]])
    ends = torch.tensor([[0.25, 1.0, 1.0], [1.0, 1.0, 1.0]])
    text_ends = torch.tensor([[2.0, 3.0, 3.0], [4.0, 4.0, 4.0]])
    found = plan_positions(alpha, torch.tensor([3, 2]), ends, text_ends, torch.tensor([2, 1]))
    expected = [[1.0, 2 + 0.125 / 0.75, 2 + 0.5 / 0.75, 0.0], [1.0, 3.0, 0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_diagonal_positions_are_spread_evenly() -> None:
    found = diagonal_positions(torch.tensor([4, 2]), 4, torch.tensor([2.0, 6.0]))
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75, 1.25, 1.75], [1.5, 4.5, 0, 0]]))
    cost = order_cost(found, torch.tensor([[0.5], [1.5]]))
    torch.testing.assert_close(
        cost[:, :, 0], torch.tensor([[1, 1, 9, 25], [0, 144, 36, 36]]) / 16.0
    )
