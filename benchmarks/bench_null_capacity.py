"""OTTC's null capacity on speech: silence, times of words, and words that were not said.

    python benchmarks/bench_null_capacity.py --train data/train-clean-100/cuts.jsonl.gz \\
        --test data/test-clean/cuts.jsonl.gz --seeds 1 2 3 --markdown docs/benchmarks_null_capacity.md

Cuts are a recipe's, with word times.  The same small network learns by each criterion.  Then words of the
test set are cut out of the sound (deleted), put into the text (inserted) or replaced there (swapped).  The
scores of a text's words shall tell those that were not said from the others of the same utterances.
"""

import argparse
import itertools
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from common import environment, provenance_lines, write
from torch import Tensor, nn

from espnet_ottc import OTTCHead
from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import log_mel
from espnet_ottc.alignment.formats import spans_of
from espnet_ottc.alignment.metrics import AlignmentScores, compare_spans, count_edits
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.ops.flat_start import flat_start_share
from espnet_ottc.ops.targets import collapse
from espnet_ottc.ops.transport import frame_weights

# Frames of 30 ms, each of three shorter ones.
STACKED, MELS = 3, 26
SHIFT = 0.01 * STACKED
BATCH = 8
BLANK, SPACE = 0, 1
KINDS = ("deleted", "inserted", "swapped")
ROUNDS = 40


@dataclass(frozen=True)
class System:
    """A criterion with its settings; see the options of `ctc_type: ottc`."""

    name: str
    word_label: bool = True
    boundary: bool = False
    capacity: float = 0.0
    weight: float = 2.0
    kl: float = 0.1
    roughness: float = 1.0
    flat: float = 0.3
    steps: float = 1.0

    @property
    def ctc(self) -> bool:
        """Whether it is CTC."""
        return self.name.startswith("ctc")


# Penalties and null capacity of OTTC are those of the recipes' systems of these names.
_NULL = System("ottc_null", capacity=0.6, weight=3.0, kl=0.03, roughness=0.3)
SYSTEMS = {
    system.name: system
    for system in (
        System("ottc", boundary=True),
        _NULL,
        replace(_NULL, name="ottc_null_no_word_label", word_label=False),
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
    """A few convolutions that see a quarter of a second, and the heads of a criterion."""

    def __init__(self, system: System, letters: Sequence[str], width: int) -> None:
        super().__init__()
        self.system, self.symbols = system, ["<blank>", " ", *letters]
        sizes = [STACKED * MELS, *[width] * 4]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 3 if n else 5, padding=(2, 1, 2, 1)[n], dilation=(1, 1, 2, 1)[n])
            for n, (a, b) in enumerate(itertools.pairwise(sizes))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in self.layers)
        self.labels = nn.Linear(width, len(self.symbols))
        self.head = OTTCHead(
            width,
            self.symbols,
            boundary=SPACE if system.boundary else None,
            kl_weight=system.kl,
            roughness_weight=system.roughness,
            null_capacity=system.capacity,
            null_weight=system.weight,
        )

    def encode(self, features: Tensor) -> Tensor:
        """(B, T, D) of (B, T, STACKED · MELS)."""
        x = features.transpose(1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        return x.transpose(1, 2)

    def ids(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Label ids of a text, and the word of each; −1 for a separator."""
        ids, owners = [], []
        for place, word in enumerate(words):
            if place and self.system.word_label:
                ids, owners = [*ids, SPACE], [*owners, -1]
            ids += [self.symbols.index(letter) for letter in word]
            owners += [place] * len(word)
        return ids, owners

    def loss(self, batch: Sequence[Utterance]) -> Tensor:
        """Of utterances with their own texts."""
        hidden = self.encode(nn.utils.rnn.pad_sequence([u.features for u in batch], True))
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
        hidden = self.encode(features[None])
        if self.system.ctc:
            uniform = torch.full((len(features),), 1 / len(features))
            return self.labels(hidden)[0].log_softmax(1), uniform
        logits, scores = self.head(hidden)
        alpha = frame_weights(scores, torch.tensor([len(features)]))
        return logits[0].log_softmax(1), alpha[0]


def train(
    system: System, utterances: Sequence[Utterance], seed: int, steps: int, width: int
) -> Model:
    """A model that learnt from the texts of the utterances."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    letters = sorted({letter for u in utterances for word in u.text for letter in word})
    model = Model(system, letters, width)
    steps = round(steps * system.steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.2)
    for step in range(steps):
        # The schedule of the recipes' systems, in fortieths of the training.
        epoch = 1 + ROUNDS * step // steps
        model.head.flat_start = flat_start_share(epoch, round(system.flat * ROUNDS))
        after = max(system.flat + 0.05, 0.35) * ROUNDS
        model.head.null_weight = system.weight * min(max((epoch - after) / (after / 3), 0.0), 1.0)
        loss = model.loss(draw.sample(list(utterances), BATCH))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return model.eval()


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
    null = BLANK if model.system.capacity > 0 else None
    lengths = torch.tensor([len(features)])
    batch = AlignmentBatch(["x"], log_probs[None], lengths, targets, counts, alpha[None], null=null)
    found = make_aligner("ctc" if model.system.ctc else "viterbi").align(batch).alignments.get("x")
    if found is None:
        return []
    own = [place for place, label in enumerate(found.targets.tolist()) if label != BLANK]
    if model.system.boundary:
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
    both = found = silent = on_speech = speech = wrong = letters = 0
    pairs = []
    for one in utterances:
        log_probs, _ = model.outputs(one.features)
        best, quiet = log_probs.argmax(1), one.silent()
        null = (best == BLANK) | (best == SPACE)
        both += int((null & quiet).sum())
        found, silent = found + int(null.sum()), silent + int(quiet.sum())
        on_speech, speech = on_speech + int((null & ~quiet).sum()), speech + int((~quiet).sum())
        labels, count = collapse(best[None], torch.tensor([len(best)]), BLANK)
        said = [model.symbols[label] for label in labels[0, : int(count)] if label != SPACE]
        wanted = list("".join(one.text))
        wrong, letters = wrong + sum(count_edits(wanted, said)), letters + len(wanted)
        spans = [word.span for word in aligned(model, one.features, one.text)]
        pairs.append(compare_spans(list(one.words), spans))
    scores = AlignmentScores.of(pairs).as_row()
    return {
        "silence F1": 200 * both / max(found + silent, 1),
        "silence on speech": 100 * on_speech / max(speech, 1),
        "letter errors": 100 * wrong / letters,
        **{name: float(scores[name] or 0.0) for name in ("boundary_mae_ms", "iou", "idr")},
    }


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over seeds."""
    return {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}


def page_of(report: Mapping[str, object], rounds: str) -> str:
    """The report as a page of the documents."""
    systems: Mapping[str, Mapping[str, list[dict[str, float]]]] = report["systems"]  # type: ignore[assignment]
    first = next(iter(systems.values()))
    names = list(first["measured"][0])
    lines = [
        "# Benchmark of the null capacity",
        "",
        "Generated by `benchmarks/bench_null_capacity.py`; do not edit. The same small network learns by",
        "each criterion. Shares are in percent, times in milliseconds, means over the seeds.",
        "[Unbalanced transport](unbalanced.md#a-place-for-mass-that-matches-nothing) says what is compared.",
        "",
        *provenance_lines(report["environment"], rounds),  # type: ignore[arg-type]
        "",
        "## Silence and times",
        "",
        "| system | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for system, found in systems.items():
        row = summary(found["measured"])
        lines.append(f"| `{system}` | " + " | ".join(f"{row[name]:.1f}" for name in names) + " |")
    lines += [
        "",
        "## Words that were not said",
        "",
        "Area under the curve of each score, over words that were said and words that were not.",
        "",
        "| system | score | " + " | ".join(KINDS) + " |",
        "|---|---|" + "--:|" * len(KINDS),
    ]
    for system, found in systems.items():
        kinds = {kind: summary(found[kind]) for kind in KINDS}
        scores = [
            name for name in kinds[KINDS[0]] if SYSTEMS[system].capacity or "ground" not in name
        ]
        for name in scores:
            cells = " | ".join(f"{kinds[kind][name]:.1f}" for kind in KINDS)
            lines.append(f"| `{system}` | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True, help="cuts to learn from")
    parser.add_argument("--test", type=Path, required=True, help="cuts to measure on")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="FIELD=NUMBER", help="of all systems"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=1000, help="batches of a training")
    parser.add_argument("--width", type=int, default=64, help="of the network")
    parser.add_argument("--limit", type=int, default=100_000, help="utterances of each set")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    options = parser.parse_args()
    changes = {name: float(value) for name, value in (one.split("=") for one in options.set)}
    torch.set_num_threads(1)
    learnt, tested = read(options.train, options.limit), read(options.test, options.limit)
    options.device, options.dtype, options.rounds = "cpu", "float32", 1
    options.seed = " ".join(map(str, options.seeds))
    systems: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in options.systems:
        system = replace(SYSTEMS[name], **changes)
        found = systems.setdefault(name, {"measured": [], **{kind: [] for kind in KINDS}})
        for seed in options.seeds:
            model = train(system, learnt, seed, options.steps, options.width)
            found["measured"].append(measured(model, tested))
            for kind, areas in detection(model, tested).items():
                found[kind].append(areas)
            print(
                name, seed, {k: round(v, 1) for k, v in found["measured"][-1].items()}, flush=True
            )
    report = {
        "environment": environment(options, ("torch",)),
        "settings": {name: asdict(replace(SYSTEMS[name], **changes)) for name in options.systems},
        "systems": systems,
    }
    page = page_of(report, f"{options.steps} batches of {BATCH}, width {options.width}")
    print(page)
    if options.json:
        write(options.json, json.dumps(report, indent=2) + "\n")
    if options.markdown:
        write(options.markdown, page)


if __name__ == "__main__":
    main()
