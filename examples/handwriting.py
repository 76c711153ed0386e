"""OTTC on handwriting: lines of real handwritten digits, read and located, with CTC beside it.

    python examples/handwriting.py --picture handwriting.png

Lines are composed of scikit-learn's digits, 1797 real images of 8 x 8 pixels from UCI, so the true place of
every digit is known.  No image is in training and test lines.  A frame is a column of pixels.
Both systems have the same encoder, batches, seeds and number of steps; only the loss and its decoder differ.
Needs the extra [examples].
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from espnet_ottc import OTTCHead
from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.metrics.words import count_errors
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.ops.targets import collapse

HEIGHT, LABELS = 12, ["<blank>", "<paper>", *"0123456789"]
BLANK, PAPER, FIRST_DIGIT = 0, 1, 2
PIXELS = FrameGrid(1.0)  # "seconds" are columns here


@dataclass(frozen=True)
class Line:
    """A line of writing: (T, HEIGHT) columns of ink in [0, 1], the digits, and the true columns of each."""

    columns: Tensor
    digits: list[int]
    places: list[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="batches of 32 lines")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--test_lines", type=int, default=200)
    parser.add_argument("--picture", type=Path, help="a picture of some lines, as PNG or SVG")
    args = parser.parse_args()
    images, names = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    writing = [(images[:1300], names[:1300]), (images[1300:], names[1300:])]
    print(f"{'':6}{'seed':>5}{'digit errors %':>16}{'place error (columns)':>23}{'overlap %':>11}")
    for seed in args.seeds:
        test = lines(*writing[1], args.test_lines, np.random.default_rng(1000))
        shown = {}
        for name, system in (("ottc", OTTC), ("ctc", CTC)):
            torch.manual_seed(seed)
            model = system()
            train(model, writing[0], args.steps, np.random.default_rng(seed))
            words, places, overlap, shown[name] = evaluate(model, test)
            print(f"{name:6}{seed:5}{words:16.2f}{places:23.2f}{overlap:11.1f}", flush=True)
    if args.picture:
        draw(args.picture, test[:4], shown)


def lines(
    images: np.ndarray, names: np.ndarray, count: int, rng: np.random.Generator
) -> list[Line]:
    """Lines of 3 to 8 digits: any size of gaps, any height on the line, paper with grain around."""
    return [_line(images, names, rng) for _ in range(count)]


def _line(images: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> Line:
    pieces, digits, places, position = [], [], [], 0
    chosen = rng.integers(0, len(images), rng.integers(3, 9))
    for number, index in enumerate(chosen):
        gap = rng.integers(4, 12) if number == 0 else rng.integers(1, 9)
        pieces.append(np.zeros((HEIGHT, gap)))
        image = images[index]
        inked = np.flatnonzero(image.max(0) > 0)  # the image's margin belongs to the paper
        image = image[:, inked[0] : inked[-1] + 1]
        lift = rng.integers(0, HEIGHT - 8 + 1)
        pieces.append(np.pad(image, ((lift, HEIGHT - 8 - lift), (0, 0))))
        places.append((position + gap, position + gap + image.shape[1]))
        position = places[-1][1]
        digits.append(int(names[index]) + FIRST_DIGIT)
    pieces.append(np.zeros((HEIGHT, rng.integers(4, 12))))
    ink = np.concatenate(pieces, 1)
    ink = (ink + 0.1 * rng.standard_normal(ink.shape)).clip(0, 1)
    return Line(torch.tensor(ink.T, dtype=torch.float32), digits, places)


class Encoder(nn.Sequential):
    """(B, T, HEIGHT) -> (B, T, 96): a few convolutions along the line, 13 columns wide in all."""

    def __init__(self, size: int = 96) -> None:
        layers: list[nn.Module] = []
        for inputs in (HEIGHT, size, size):
            layers += [nn.Conv1d(inputs, size, 5, padding=2), nn.BatchNorm1d(size), nn.GELU()]
        super().__init__(*layers)

    def forward(self, columns: Tensor) -> Tensor:
        return super().forward(columns.transpose(1, 2)).transpose(1, 2)


class OTTC(nn.Module):
    """Paper is the boundary label: it stands at both ends, and between digits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), OTTCHead(96, LABELS, boundary="<paper>")

    def loss(self, columns: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        return self.head.loss(self.encoder(columns), lengths, with_paper(labels))

    def read(self, columns: Tensor, lengths: Tensor) -> list[list[int]]:
        found = self.head.decode(self.encoder(columns), lengths)
        return [[label for label in row if label != PAPER] for row in found]

    def locate(self, columns: Tensor, lengths: Tensor, labels: Tensor) -> list[list[Span]]:
        hidden = self.encoder(columns)
        found = self.head.align(hidden, lengths, with_paper(labels), frame_shift=PIXELS.shift)
        return [[span for span in spans if span.symbol != "<paper>"] for spans in found]


class CTC(nn.Module):
    """As usual: the blank is the paper, and where it stands is nobody's business."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(96, len(LABELS))

    def log_probs(self, columns: Tensor) -> Tensor:
        return self.head(self.encoder(columns)).log_softmax(2)

    def loss(self, columns: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        scores, counts = self.log_probs(columns).transpose(0, 1), (labels > 0).sum(1)
        return nn.functional.ctc_loss(scores, labels.clamp(min=0), lengths, counts)

    def read(self, columns: Tensor, lengths: Tensor) -> list[list[int]]:
        found, counts = collapse(self.log_probs(columns).argmax(2), lengths)
        return [row[:n] for row, n in zip(found.tolist(), counts.tolist(), strict=True)]

    def locate(self, columns: Tensor, lengths: Tensor, labels: Tensor) -> list[list[Span]]:
        ids = [str(b) for b in range(len(columns))]
        targets = labels.clamp(min=0), (labels > 0).sum(1)
        batch = AlignmentBatch(ids, self.log_probs(columns), lengths, *targets)
        found = make_aligner("torchaudio_ctc").align(batch).alignments
        return [found[name].spans(LABELS, PIXELS) for name in ids]


def with_paper(labels: Tensor) -> Tensor:
    """Digits with paper between them; the head adds it at the ends."""
    paper = torch.where(labels >= 0, PAPER, -100).roll(-1, 1)
    paper[:, -1] = -100
    return torch.stack([labels, paper], 2).flatten(1)


def train(
    model: nn.Module, writing: tuple[np.ndarray, np.ndarray], steps: int, rng: np.random.Generator
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        columns, lengths, labels = batch_of(lines(*writing, 32, rng))
        loss = model.loss(columns, lengths, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def evaluate(model: nn.Module, test: list[Line]) -> tuple[float, float, float, list[list[Span]]]:
    """Digit errors in percent, mean error of starts and ends in columns, overlap in percent, places."""
    model.eval()
    columns, lengths, labels = batch_of(test)
    errors = digits = 0
    for found, line in zip(model.read(columns, lengths), test, strict=True):
        errors += count_errors([*map(str, line.digits)], [*map(str, found)]).errors
        digits += len(line.digits)
    located = model.locate(columns, lengths, labels)
    off, overlaps = [], []
    for spans, line in zip(located, test, strict=True):
        for span, (start, end) in zip(spans, line.places, strict=True):
            off += [abs(span.start - start), abs(span.end - end)]
            inside = max(min(span.end, end) - max(span.start, start), 0.0)
            overlaps.append(inside / (max(span.end, end) - min(span.start, start)))
    return 100 * errors / digits, float(np.mean(off)), 100 * float(np.mean(overlaps)), located


def batch_of(some: list[Line]) -> tuple[Tensor, Tensor, Tensor]:
    columns = nn.utils.rnn.pad_sequence([line.columns for line in some], batch_first=True)
    labels = [torch.tensor(line.digits) for line in some]
    lengths = torch.tensor([len(line.columns) for line in some])
    return columns, lengths, nn.utils.rnn.pad_sequence(labels, True, -100)


def draw(path: Path, test: list[Line], found: dict[str, list[list[Span]]]) -> None:
    """The lines, with what each system takes for the place of each digit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {"true": "black", "ottc": "tab:blue", "ctc": "tab:orange"}
    figure, axes = pyplot.subplots(len(test), 1, figsize=(9, 1.7 * len(test)), layout="constrained")
    for row, (axis, line) in enumerate(zip(axes, test, strict=True)):
        axis.imshow(
            line.columns.T, cmap="gray_r", aspect="auto", extent=(0, len(line.columns), 12, 0)
        )
        places = {name: [(s.start, s.end) for s in spans[row]] for name, spans in found.items()}
        for height, (name, spans) in enumerate({"true": line.places, **places}.items()):
            for start, end in spans:
                y, width = 13.5 + 1.6 * height, max(end - start, 0.3)
                axis.add_patch(pyplot.Rectangle((start, y), width, 1.1, color=colours[name]))
            axis.text(-0.5, 14 + 1.6 * height, name, ha="right", va="center", color=colours[name])
        axis.set(ylim=(18.5, 0), xlim=(0, max(len(line.columns) for line in test)))
        axis.axis("off")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
