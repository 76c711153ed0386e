"""How well confidences are calibrated, and texts that are not those of their recordings are recognised.

    python benchmarks/bench_confidence.py --set digits_ottc exp/ottc/seed1 data/test-clean/cuts.jsonl.gz \\
        --set digits_ctc exp/ctc/seed1 data/test-clean/cuts.jsonl.gz --out confidence.jsonl

Each utterance is aligned with its own text, with that of another recording, with a third of its words
deleted, and with a third replaced by words of others.  A word counts as right if the cut has it where it was
found.  The rival is a threshold on the mean log-probability of the labels, the usual score of CTC, chosen on
the other sets.
"""

import argparse
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from espnet_ottc.aligner.models import load_model
from espnet_ottc.aligner.search import InfeasibleError, aligned_words, default_search
from espnet_ottc.alignment.aligned import OK
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.formats import spans_of
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.text import Speller
from espnet_ottc.utils.provenance import provenance

KINDS = ("right", "other", "deleted", "replaced")
WRONG = ("other", "deleted")
_BINS = 10


@dataclass(frozen=True)
class Tried:
    """One utterance with one text.

    Attributes:
        kind: of the text, one of `KINDS`.
        words: confidence of each word, and whether it is said there.
        confidence: of the utterance; 0 where the text does not fit at all.
        ok: whether its status is `ok`.
        score: mean log-probability of the labels over their frames.
    """

    kind: str
    words: tuple[tuple[float, bool], ...]
    confidence: float
    ok: bool
    score: float


def tried(model_name: str, cuts: Path, limit: int) -> Iterator[Tried]:
    """Every utterance of a set with each kind of text."""
    from lhotse import CutSet

    model = load_model(model_name)
    speller = Speller(model.alphabet)
    chosen = list(CutSet.from_file(cuts))[:limit]
    texts = [str(cut.supervisions[0].text) for cut in chosen]
    draw = random.Random(0)
    for place, cut in enumerate(chosen):
        samples = torch.from_numpy(cut.resample(model.sampling_rate).load_audio()[0])
        (outputs,) = model.outputs([model.prepare(samples)])
        reference = spans_of(cut.supervisions[0], origin=0.0)
        for kind in KINDS:
            words = speller.spell_text(changed(texts, place, kind, draw))
            try:
                found = aligned_words(
                    model, outputs, words, search=default_search(model), duration=cut.duration
                )
            except InfeasibleError:
                yield Tried(kind, (), 0.0, False, float("-inf"))
                continue
            yield judged(kind, found, reference)


def changed(texts: Sequence[str], place: int, kind: str, draw: random.Random) -> str:
    """The text of an utterance, made wrong as the kind says."""
    words = texts[place].split()
    if kind == "other":
        return texts[draw.choice([n for n in range(len(texts)) if n != place])]
    count = max(1, round(len(words) / 3))
    chosen = set(draw.sample(range(len(words)), count))
    if kind == "deleted":
        return " ".join(word for n, word in enumerate(words) if n not in chosen) or words[0]
    if kind == "replaced":
        everything = [word for text in texts for word in text.split()]
        return " ".join(draw.choice(everything) if n in chosen else w for n, w in enumerate(words))
    return texts[place]


def judged(kind: str, found: Assembled, reference: Sequence[Span]) -> Tried:
    """What an alignment says, beside what is true."""
    words = tuple(
        (word.confidence, any(_is_said(word.span, span) for span in reference))
        for word in found.words
        if word.confidence is not None
    )
    scores = [
        (max(token.score or 0.0, 1e-10), token.duration)
        for word in found.words
        for token in word.tokens
    ]
    seconds = sum(duration for _, duration in scores)
    logs = [float(torch.tensor(score).log()) * duration for score, duration in scores]
    score = sum(logs) / seconds if seconds else float("-inf")
    return Tried(kind, words, found.confidence or 0.0, found.status == OK, score)


def _is_said(word: Span, span: Span) -> bool:
    shared = min(word.end, span.end) - max(word.start, span.start)
    return word.symbol == span.symbol and shared > 0.3 * min(word.duration, span.duration)


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> float:
    """Mean over ten bins, weighted by count, of |mean confidence - share that is right|."""
    total = 0.0
    for number in range(_BINS):
        bin_ = [one for one in pairs if min(int(one[0] * _BINS), _BINS - 1) == number]
        if bin_:
            sure = statistics.fmean(value for value, _ in bin_)
            total += abs(sure - statistics.fmean(right for _, right in bin_)) * len(bin_)
    return total / len(pairs)


def best_threshold(examples: Sequence[Tried]) -> float:
    """The threshold on the score that errs least, with right and wrong texts weighing the same."""
    right = sorted(one.score for one in examples if one.kind == "right")
    wrong = sorted(one.score for one in examples if one.kind in WRONG)

    def error(threshold: float) -> float:
        missed = sum(score >= threshold for score in wrong) / len(wrong)
        return missed + sum(score < threshold for score in right) / len(right)

    return min([*right, *wrong], key=error)


def row_of(name: str, mine: Sequence[Tried], others: Sequence[Tried]) -> dict[str, object]:
    """The figures of a set."""
    by_kind = {kind: [one for one in mine if one.kind == kind] for kind in KINDS}
    words = [pair for one in mine for pair in one.words]
    texts = [(one.confidence, one.kind == "right") for one in mine if one.kind != "replaced"]
    row: dict[str, object] = {
        "set": name,
        "utterances": len(by_kind["right"]),
        "words": len(words),
        "words_calibration_error": 100 * calibration_error(words),
        "texts_calibration_error": 100 * calibration_error(texts),
        "false_alarms": 100 * statistics.fmean(not one.ok for one in by_kind["right"]),
    }
    row |= {
        f"{kind}_found": 100 * statistics.fmean(not one.ok for one in by_kind[kind])
        for kind in KINDS[1:]
    }
    if others:
        threshold = best_threshold(others)
        row["threshold_false_alarms"] = 100 * statistics.fmean(
            one.score < threshold for one in by_kind["right"]
        )
        row |= {
            f"threshold_{kind}_found": 100
            * statistics.fmean(one.score < threshold for one in by_kind[kind])
            for kind in WRONG
        }
    return row


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "CUTS")
    )
    parser.add_argument("--limit", type=int, default=200, help="utterances of each set")
    parser.add_argument("--out", type=Path, required=True, help="rows as JSON lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        name: list(tried(model, Path(cuts), options.limit)) for name, model, cuts in options.set
    }
    origin = provenance()
    with options.out.open("w", encoding="utf-8") as file:
        for name, mine in found.items():
            others = [one for other, items in found.items() if other != name for one in items]
            row = row_of(name, mine, others)
            file.write(json.dumps(row | {"provenance": origin}) + "\n")
            print({key: round(v, 1) if isinstance(v, float) else v for key, v in row.items()})


if __name__ == "__main__":
    main()
