"""A small world of letters and silence, in which a network learns from letters alone where nobody speaks.

    python benchmarks/silence_world.py        # three seeds, with silence and without, rows as in null_page.py

A training takes 20 s of one core.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from null_page import Row, add_rows
from null_training import Network, Settings
from null_training import train as train_network
from torch import Tensor, nn

LETTERS, FEATURES, BATCH, STEPS = 20, 12, 16, 900
SILENCE = 0  # among the labels of frames; as a label it is the blank
NO_SILENCE: dict[str, object] = {"at_ends": 0, "in_gaps": (0, 0)}
NULL = Settings(capacity=0.6, weight=3.0)
# Theirs of the tests, none, the recipes', and more capacity.
TRIED = (
    NULL,
    Settings(),
    Settings(capacity=0.6, weight=0.5),
    Settings(capacity=0.9, weight=2.0),
)


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
        pad = nn.utils.rnn.pad_sequence
        labels = pad([torch.tensor(labels) for labels, _ in spoken], True, -100)
        truth = pad([torch.tensor(frames) for _, frames in spoken], True, -1)
        features = self.means[truth.clamp(min=0)]
        features = features + self.noise * torch.randn(features.shape, generator=draw)
        return Batch(features, lengths, truth, labels)


@dataclass(frozen=True)
class Batch:
    """Features (B, T, FEATURES), their lengths, each frame's label (−1: padding), and labels (−100)."""

    features: Tensor
    lengths: Tensor
    truth: Tensor
    labels: Tensor


def new_world(seed: int, **options: object) -> World:
    """A world with points of its own."""
    draw = torch.Generator().manual_seed(1000 + seed)
    return World(torch.randn(1 + LETTERS, FEATURES, generator=draw), **options)  # type: ignore[arg-type]


def train(world: World, seed: int, settings: Settings, steps: int = STEPS) -> Network:
    """A network that learnt from letters alone."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    network = Network(FEATURES, [str(n) for n in range(1 + LETTERS)], settings)

    def loss() -> Tensor:
        batch = world.batch(draw)
        return network.head.loss(network(batch.features), batch.lengths, batch.labels)

    train_network(network, network, loss, steps)
    return network


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
    logits, _ = network.head(network(batch.features))
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


def measured(seeds: list[int]) -> Iterator[Row]:
    """A row for each setting, world and seed."""
    worlds: dict[str, dict[str, object]] = {"with silence": {}, "without silence": NO_SILENCE}
    for settings in TRIED:
        for name, options in worlds.items():
            for seed in seeds:
                world = new_world(seed, **options)
                found = asdict(score(train(world, seed, settings), world))
                shares: dict[str, float | None] = {
                    key.replace("_", " "): 100 * value for key, value in found.items()
                }
                if options:  # there is none to be found
                    shares["silence f1"] = None
                yield {
                    "record": "null_world",
                    "set": name,
                    "system": "null capacity" if settings.capacity else "OTTC",
                    "seed": seed,
                    "steps": STEPS,
                    "batch": BATCH,
                    "settings": asdict(settings),
                    "measured": shares,
                }


def main() -> None:
    """Train and measure, add the rows to the file, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    torch.set_num_threads(1)
    add_rows(measured(parser.parse_args().seeds))


if __name__ == "__main__":
    main()
