"""OTTC's null capacity on speech: silence, times of words, and words that were not said.

    python benchmarks/bench_null_capacity.py --data egs2/librispeech_ottc/data_null --seeds 1 2 3
    python benchmarks/bench_null_capacity.py --data ... --systems ottc_null \\
        --try 0.6 0.5 0.03 0.3 --try 0.6 3 0.03 0.3

Rows are added to results/null_capacity.jsonl, of which null_page.py makes docs/benchmarks_null_capacity.md.
The data are a recipe's, with word times.  The same small network learns by each criterion and with each of
the settings.  It is measured on the development set, where settings are chosen, and on the test set.  Then
words of the test set are cut out of the sound (deleted), put into the text (inserted) or replaced there
(swapped).  The scores of a text's words shall tell those that were not said from the others of the same
utterances.
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from null_page import KINDS, Row, add_rows
from null_training import Network, Settings, train
from torch import Tensor, nn

from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import log_mel
from espnet_ottc.alignment.formats import spans_of
from espnet_ottc.alignment.metrics import AlignmentScores, compare_spans, count_edits
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.ops.targets import collapse
from espnet_ottc.ops.transport import frame_weights

# Frames of 30 ms, each of three shorter ones.
STACKED, MELS = 3, 26
SHIFT = 0.01 * STACKED
BATCH = 8
BLANK, SPACE = 0, 1
PLAIN = Settings(kl=0.1, roughness=1.0)


@dataclass(frozen=True)
class System:
    """A criterion with its settings.

    Attributes:
        name: of the recipes' system, which has these settings.
        settings: of OTTC.
        steps: how many times the other systems' steps.
    """

    name: str
    settings: Settings = PLAIN
    steps: float = 1.0

    @property
    def ctc(self) -> bool:
        """Whether it is CTC."""
        return self.name.startswith("ctc")


NULL = Settings(capacity=0.6, weight=0.5, flat=0.5, null_after=0.6)
SYSTEMS = {
    system.name: system
    for system in (
        System("ottc", replace(PLAIN, boundary=" ")),
        System("ottc_null", NULL),
        System("ottc_null_no_word_label", replace(NULL, unaligned=" ")),
        System("ctc"),
        System("ctc_long", steps=3.0),
    )
}


@dataclass(frozen=True)
class Utterance:
    """Features (T, STACKED · MELS), and the words with their times in seconds."""

    features: Tensor
    words: tuple[Span, ...]

    @property
    def text(self) -> list[str]:
        """The words."""
        return [word.symbol for word in self.words]

    def silent(self) -> Tensor:
        """(T,) bool: frames whose middle lies in no word."""
        middles = (torch.arange(len(self.features)) + 0.5) * SHIFT
        spoken = torch.zeros(len(middles), dtype=torch.bool)
        for word in self.words:
            spoken |= (middles >= word.start) & (middles < word.end)
        return ~spoken

    def without(self, place: int) -> "Utterance":
        """The same with one word cut out of the sound, but not of the text."""
        word = self.words[place]
        first, last = round(word.start / SHIFT), round(word.end / SHIFT)
        features = torch.cat([self.features[:first], self.features[last:]])
        return Utterance(features, self.words)


def read(cuts: Path, limit: int) -> list[Utterance]:
    """The utterances of a set."""
    from lhotse import CutSet

    config, found = BoundaryConfig(mels=MELS), []
    for cut in list(CutSet.from_file(cuts))[:limit]:
        mel = log_mel(torch.from_numpy(cut.load_audio()[0]), cut.sampling_rate, config)
        pairs = mel[: len(mel) // STACKED * STACKED].unflatten(0, (-1, STACKED)).flatten(1)
        found.append(Utterance(pairs, tuple(spans_of(cut.supervisions[0], origin=0.0))))
    return found


class Model(nn.Module):
    """A network with the heads of a criterion."""

    def __init__(self, system: System, letters: Sequence[str], width: int) -> None:
        super().__init__()
        self.system, self.symbols = system, ["<blank>", " ", *letters]
        self.network = Network(STACKED * MELS, self.symbols, system.settings, width)
        self.head = self.network.head
        self.labels = nn.Linear(width, len(self.symbols))

    def ids(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Label ids of a text, and the word of each; −1 for a separator."""
        ids, owners = [], []
        for place, word in enumerate(words):
            if place:
                ids, owners = [*ids, SPACE], [*owners, -1]
            ids += [self.symbols.index(letter) for letter in word]
            owners += [place] * len(word)
        return ids, owners

    def loss(self, batch: Sequence[Utterance]) -> Tensor:
        """Of utterances with their own texts."""
        hidden = self.network(nn.utils.rnn.pad_sequence([u.features for u in batch], True))
        lengths = torch.tensor([len(u.features) for u in batch])
        texts = [torch.tensor(self.ids(u.text)[0]) for u in batch]
        labels = nn.utils.rnn.pad_sequence(texts, True, -100)
        if not self.system.ctc:
            return self.head.loss(hidden, lengths, labels)
        log_probs = self.labels(hidden).log_softmax(2).transpose(0, 1)
        counts = torch.tensor([len(text) for text in texts])
        losses = nn.functional.ctc_loss(
            log_probs, labels.clamp(min=0), lengths, counts, reduction="none", zero_infinity=True
        )
        return (losses / lengths).mean()

    @torch.no_grad()
    def outputs(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(T, V) log-probabilities and (T,) frame weights, uniform for CTC."""
        hidden = self.network(features[None])
        if self.system.ctc:
            uniform = torch.full((len(features),), 1 / len(features))
            return self.labels(hidden)[0].log_softmax(1), uniform
        logits, scores = self.head(hidden)
        alpha = frame_weights(scores, torch.tensor([len(features)]))
        return logits[0].log_softmax(1), alpha[0]


def trained(
    system: System, utterances: Sequence[Utterance], seed: int, steps: int, width: int
) -> Model:
    """A model that learnt from the texts of the utterances."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    letters = sorted({letter for u in utterances for word in u.text for letter in word})
    model = Model(system, letters, width)
    train(
        model,
        model.network,
        lambda: model.loss(draw.sample(list(utterances), BATCH)),
        round(steps * system.steps),
    )
    return model


@dataclass(frozen=True)
class Word:
    """A word of a text where it was found.

    Attributes:
        span: its time in seconds.
        scores: what may say that it was said there, by name; larger means likelier.
    """

    span: Span
    scores: Mapping[str, float]


def aligned(model: Model, features: Tensor, text: Sequence[str]) -> list[Word]:
    """The words of a text in the sound; none where it does not fit."""
    log_probs, alpha = model.outputs(features)
    ids, owners = model.ids(text)
    targets, counts = torch.tensor([ids]), torch.tensor([len(ids)])
    if not model.system.ctc:
        targets, counts = model.head.targets(targets)
    null = BLANK if model.system.settings.capacity > 0 else None
    lengths = torch.tensor([len(features)])
    batch = AlignmentBatch(["x"], log_probs[None], lengths, targets, counts, alpha[None], null=null)
    found = make_aligner("ctc" if model.system.ctc else "viterbi").align(batch).alignments.get("x")
    if found is None:
        return []
    if model.system.settings.unaligned:
        owners = [owner for owner in owners if owner >= 0]
    own = [place for place, label in enumerate(found.targets.tolist()) if label != BLANK]
    if model.system.settings.boundary:
        own = own[1:-1]
    words = []
    for place, symbol in enumerate(text):
        labels = [label for label, owner in zip(own, owners, strict=True) if owner == place]
        frames = torch.isin(found.frame_labels, torch.tensor(labels)).nonzero()[:, 0]
        said = found.targets[found.frame_labels[frames]]
        times = FrameGrid(SHIFT).span(
            symbol, float(found.starts[labels[0]]), float(found.ends[labels[-1]])
        )
        demanded = len(labels) / len(found.targets)
        words.append(Word(times, scores_of(log_probs[frames], said, alpha[frames], demanded)))
    return words


def scores_of(log_probs: Tensor, said: Tensor, alpha: Tensor, demanded: float) -> dict[str, float]:
    """The scores of a word.

    `posterior` is the usual one of a forced alignment, the mean log-probability.  `grounding` is 1 less the
    share of the word's mass that the null label could have had.  `grounded mass` is the rest of that mass as
    a share of what its labels demand.

    Args:
        log_probs: (N, V) of its frames.
        said: (N,) their labels.
        alpha: (N,) their weights.
        demanded: the weight of its labels.
    """
    label = log_probs.gather(1, said[:, None])[:, 0]
    against = torch.sigmoid(label - log_probs[:, BLANK])
    mass = float(alpha.sum())
    grounding = float((alpha * against).sum()) / max(mass, 1e-12)
    return {
        "posterior": float(label.mean()),
        "probability": float(label.exp().mean()),
        "grounding": grounding,
        "grounded mass": float((alpha * against).sum()) / demanded,
    }


def auc(said: Sequence[float], unsaid: Sequence[float]) -> float:
    """The probability that a word that was said has the larger score; ties count half."""
    values, order = torch.tensor([*said, *unsaid]).double().sort()
    _, place, count = values.unique_consecutive(return_inverse=True, return_counts=True)
    ranks = (count.cumsum(0) - (count - 1) / 2)[place]
    total = float(ranks[order < len(said)].sum())
    return (total - len(said) * (len(said) + 1) / 2) / (len(said) * len(unsaid))


def detection(model: Model, utterances: Sequence[Utterance]) -> dict[str, dict[str, float]]:
    """For each kind of change, of each score: the area under the curve, in %."""
    draw = random.Random(0)
    vocabulary = sorted({word for u in utterances for word in u.text})
    result: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        said: dict[str, list[float]] = {}
        unsaid: dict[str, list[float]] = {}
        for one in utterances:
            text, place = one.text, draw.randrange(len(one.words))
            other = draw.choice([word for word in vocabulary if word != text[place]])
            features = one.features
            if kind == "deleted":
                features = one.without(place).features
            else:
                text[place : place + (kind == "swapped")] = [other]
            for n, word in enumerate(aligned(model, features, text)):
                for name, value in word.scores.items():
                    (unsaid if n == place else said).setdefault(name, []).append(value)
        result[kind] = {name: 100 * auc(said[name], unsaid[name]) for name in said}
    return result


def measured(model: Model, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Silence, times and labels of a set: shares in %, times in ms."""
    both = found = silent = nulls = breaks = speech = wrong = letters = 0
    pairs = []
    for one in utterances:
        log_probs, _ = model.outputs(one.features)
        best, quiet = log_probs.argmax(1), one.silent()
        quiet_labels = (best == BLANK) | (best == SPACE)
        both += int((quiet_labels & quiet).sum())
        found, silent = found + int(quiet_labels.sum()), silent + int(quiet.sum())
        nulls += int((best[~quiet] == BLANK).sum())
        breaks += int((best[~quiet] == SPACE).sum())
        speech += int((~quiet).sum())
        labels, count = collapse(best[None], torch.tensor([len(best)]), BLANK)
        said = [model.symbols[label] for label in labels[0, : int(count)] if label != SPACE]
        wanted = list("".join(one.text))
        wrong, letters = wrong + sum(count_edits(wanted, said)), letters + len(wanted)
        spans = [word.span for word in aligned(model, one.features, one.text)]
        pairs.append(compare_spans(list(one.words), spans))
    scores = AlignmentScores.of(pairs).as_row()
    return {
        "silence F1": 200 * both / max(found + silent, 1),
        "null on speech": 100 * nulls / max(speech, 1),
        "space on speech": 100 * breaks / max(speech, 1),
        "letter errors": 100 * wrong / letters,
        "boundary": float(scores["boundary_mae_ms"] or 0.0),
        "IoU": float(scores["iou"] or 0.0),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a recipe's data folder")
    parser.add_argument("--train", default="train-clean-100", help="set to learn from")
    parser.add_argument("--dev", default="dev-clean", help="set to choose settings on")
    parser.add_argument("--test", default="test-clean", help="set to measure the choice on")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument(
        "--try",
        nargs=4,
        type=float,
        action="append",
        default=[],
        dest="tries",
        metavar=("CAPACITY", "WEIGHT", "KL", "ROUGHNESS"),
        help="settings instead of the systems' own",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=1200, help="batches of a training")
    parser.add_argument("--width", type=int, default=64, help="of the network")
    parser.add_argument("--limit", type=int, default=100_000, help="utterances of each set")
    return parser.parse_args()


def main() -> None:
    """Train and measure, add the rows to the file, and write the page."""
    options = _options()
    torch.set_num_threads(1)
    learnt, dev, test = (
        read(options.data / name / "cuts.jsonl.gz", options.limit)
        for name in (options.train, options.dev, options.test)
    )
    systems = [
        replace(SYSTEMS[name], settings=settings)
        for name in options.systems
        for settings in _settings(SYSTEMS[name].settings, options.tries)
    ]

    def rows() -> Iterator[Row]:
        for seed in options.seeds:
            for system in systems:
                model = trained(system, learnt, seed, options.steps, options.width)
                about = {
                    "record": "null_capacity",
                    "system": system.name,
                    "seed": seed,
                    "steps": options.steps,
                    "batch": BATCH,
                    "settings": asdict(system.settings),
                }
                yield about | {"set": options.dev, "tried": True, "measured": measured(model, dev)}
                words = detection(model, test)
                measures = {"measured": measured(model, test), **words}
                yield about | {"set": options.test, "tried": False} | measures

    add_rows(rows())


def _settings(own: Settings, tries: Sequence[Sequence[float]]) -> list[Settings]:
    names = ("capacity", "weight", "kl", "roughness")
    return [replace(own, **dict(zip(names, one, strict=True))) for one in tries] or [own]


if __name__ == "__main__":
    main()
