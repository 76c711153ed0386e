"""A small network with a null capacity and its training: for speech, and for a small world of letters."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from espnet_ottc import OTTCHead
from espnet_ottc.ops.flat_start import flat_start_share
from espnet_ottc.ops.null_capacity import null_share

# The schedule is the recipes', which counts in epochs: these are fortieths of a training.
ROUNDS = 40


@dataclass(frozen=True)
class Settings:
    """Options of OTTC under the names of `OTTCHead`, and its schedule.

    Attributes:
        boundary, unaligned: symbols of these labels.
        kl, roughness: weights of the penalties on the frame weights.
        capacity, weight: of the null label.
        flat: share of the training with a flat start alone.
        null_after: share of the training before the null label is taught.
    """

    boundary: str | None = None
    unaligned: str | None = None
    kl: float = 0.03
    roughness: float = 0.3
    capacity: float = 0.0
    weight: float = 0.0
    flat: float = 0.3
    null_after: float = 0.35


class Network(nn.Module):
    """Four convolutions that see 13 frames, and the heads of OTTC.

    Args:
        features: of a frame.
        symbols: the labels, the blank first.
        settings: of OTTC.
        width: of the network.
    """

    def __init__(
        self, features: int, symbols: Sequence[str], settings: Settings, width: int = 64
    ) -> None:
        super().__init__()
        self.settings = settings
        sizes = [features, *[width] * 4]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 5 if n == 0 else 3, padding=(2, 1, 2, 1)[n], dilation=(1, 1, 2, 1)[n])
            for n, (a, b) in enumerate(itertools.pairwise(sizes))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in self.layers)
        self.head = OTTCHead(
            width,
            symbols,
            boundary=settings.boundary,
            unaligned=settings.unaligned,
            kl_weight=settings.kl,
            roughness_weight=settings.roughness,
            null_capacity=settings.capacity,
            null_weight=settings.weight,
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, width) of (B, T, F)."""
        x = features.transpose(1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        return x.transpose(1, 2)

    def at(self, share: float) -> None:
        """Set the schedule of a training of which this share is done."""
        settings = self.settings
        epoch = 1 + int(ROUNDS * share)
        self.head.flat_start = flat_start_share(epoch, round(settings.flat * ROUNDS))
        after = round(settings.null_after * ROUNDS)
        self.head.null_weight = settings.weight * null_share(epoch, after)


def train(
    model: nn.Module, network: Network, loss: Callable[[], Tensor], steps: int, rate: float = 4e-3
) -> None:
    """Train a model around a network, and leave it in evaluation mode.

    Args:
        model: whose parameters learn; the network itself, or what contains it.
        network: whose schedule is followed.
        loss: of a batch that is drawn anew for each step.
        steps: how many.
        rate: the largest learning rate.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.2)
    for step in range(steps):
        network.at(step / steps)
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    model.eval()
