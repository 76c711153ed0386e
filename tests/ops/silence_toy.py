"""A small world of letters and silence, in which a network learns from letters alone where nobody speaks."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from espnet_ottc import ottc_loss
from espnet_ottc.ops.flat_start import flat_start_loss
from espnet_ottc.ops.regularizers import kl_to_uniform, roughness
from espnet_ottc.ops.targets import insert_blanks

LETTERS, FEATURES, BATCH = 20, 12, 16
SILENCE = 0  # among the labels of frames; as a label it is the blank


@dataclass(frozen=True)
class World:
    """Letters as points among noise.

    Attributes:
        means: (1 + LETTERS, FEATURES) of silence and of each letter.
        noise: standard deviation around them.
        at_ends: most frames of silence at either end.
        in_gaps: least and most frames of silence between words; (0, 0) for none.
    """

    means: Tensor
    noise: float = 0.9
    at_ends: int = 25
    in_gaps: tuple[int, int] = (3, 15)

    def utterance(self, draw: torch.Generator) -> tuple[list[int], list[int]]:
        """Labels, and the label of each frame."""

        def between(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=draw))

        labels: list[int] = []
        frames = [SILENCE] * between(0, self.at_ends)
        words = between(3, 6)
        for word in range(words):
            for _ in range(between(2, 4)):
                letter = between(1, LETTERS)
                if labels and letter == labels[-1]:
                    # The blank between equal letters would own frames of speech.
                    letter = letter % LETTERS + 1
                labels.append(letter)
                frames += [letter] * between(2, 6)
            if word < words - 1 and self.in_gaps[1] and between(0, 1):
                frames += [SILENCE] * between(*self.in_gaps)
        return labels, frames + [SILENCE] * between(0, self.at_ends)

    def batch(self, draw: torch.Generator, size: int = BATCH) -> "Batch":
        """Some utterances, padded."""
        spoken = [self.utterance(draw) for _ in range(size)]
        lengths = torch.tensor([len(frames) for _, frames in spoken])
        label_lengths = torch.tensor([len(labels) for labels, _ in spoken])
        pad = nn.utils.rnn.pad_sequence
        targets = pad([torch.tensor(labels) for labels, _ in spoken], True)
        truth = pad([torch.tensor(frames) for _, frames in spoken], True, -1)
        features = self.means[truth.clamp(min=0)]
        features = features + self.noise * torch.randn(features.shape, generator=draw)
        return Batch(features, lengths, truth, *insert_blanks(targets, label_lengths))


@dataclass(frozen=True)
class Batch:
    """Features (B, T, FEATURES), their lengths, each frame's label (−1: padding), and the targets."""

    features: Tensor
    lengths: Tensor
    truth: Tensor
    targets: Tensor
    label_lengths: Tensor


class Network(nn.Module):
    """Three convolutions that see 13 frames, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        channels = [FEATURES, 64, 64, 64]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 5, padding=2) for a, b in itertools.pairwise(channels)
        )
        self.labels, self.frames = nn.Linear(64, 1 + LETTERS), nn.Linear(64, 1)
        nn.init.zeros_(self.frames.weight)
        nn.init.zeros_(self.frames.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T, 1 + LETTERS) and frame scores (B, T)."""
        x = features.transpose(1, 2)
        for layer in self.layers:
            x = layer(x).relu()
        x = x.transpose(1, 2)
        return self.labels(x), self.frames(x)[..., 0]


def new_world(seed: int, **options: object) -> World:
    """A world with points of its own."""
    draw = torch.Generator().manual_seed(1000 + seed)
    return World(torch.randn(1 + LETTERS, FEATURES, generator=draw), **options)  # type: ignore[arg-type]


def train(
    world: World, seed: int, capacity: float, weight: float = 2.0, steps: int = 900
) -> Network:
    """A network that learnt from letters alone: a flat start, then OTTC with the null capacity."""
    torch.manual_seed(seed)
    network, draw = Network(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for step in range(steps):
        at = step / steps
        batch = world.batch(draw)
        logits, scores = network(batch.features)
        texts = (batch.targets, batch.lengths, batch.label_lengths)
        # Flat start to 30 % of the training, handed over until 40 %; the null weight rises from 35 to 50 %.
        flat = min(1.0, max(0.0, (0.4 - at) / 0.1))
        rising = min(1.0, max(0.0, (at - 0.35) / 0.15))
        losses = ottc_loss(
            logits, scores, *texts, reduction="none", null_capacity=capacity, null_weight=weight * rising
        )  # fmt: skip
        if flat > 0:
            losses = torch.lerp(losses, flat_start_loss(logits, scores, *texts), flat)
        losses = losses + 0.03 * kl_to_uniform(scores, batch.lengths)
        losses = losses + 0.3 * roughness(scores, batch.lengths)
        optimizer.zero_grad()
        losses.mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return network.eval()


@dataclass(frozen=True)
class Score:
    """What the best label of each frame says about silence, as shares.

    Attributes:
        silence_f1: of frames on the null label, against true silence; NaN without either.
        null_on_speech: of the frames of speech.
        null: of all frames.
        letters_right: of the frames of speech.
    """

    silence_f1: float
    null_on_speech: float
    null: float
    letters_right: float


@torch.no_grad()
def score(network: Network, world: World, seed: int = 77) -> Score:
    """The score on 96 new utterances."""
    batch = world.batch(torch.Generator().manual_seed(seed), 96)
    logits, _ = network(batch.features)
    valid = batch.truth >= 0
    best, truth = logits.argmax(2)[valid], batch.truth[valid]
    null, silent = best == SILENCE, truth == SILENCE
    both = float((null & silent).sum())
    found = float(null.sum() + silent.sum())
    return Score(
        2 * both / found if found else float("nan"),
        float(null[~silent].float().mean()),
        float(null.float().mean()),
        float((best == truth)[~silent].float().mean()),
    )
