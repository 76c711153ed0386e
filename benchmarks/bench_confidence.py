"""How well confidences are calibrated, and texts that are not those of their recordings are recognised.

    python benchmarks/bench_confidence.py --set digits_ottc exp/ottc/seed1 data/test-clean/cuts.jsonl.gz \\
        --set digits_ctc exp/ctc/seed1 data/test-clean/cuts.jsonl.gz --markdown docs/benchmarks_confidence.md

Each utterance is aligned with its own text, with that of another recording, with a third of its words
deleted, and with a third replaced by words of others.  A word counts as right if the cut has it where it was
found.  The rival is a threshold on CTC's log-probability of the text per frame, chosen on the other sets.
"""

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel, load_model
from espnet_ottc.aligner.search import InfeasibleError, aligned_words, default_search
from espnet_ottc.alignment.aligned import OK
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.formats import spans_of
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.text import SpelledWord, Speller, label_text
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
        score: CTC's log-probability of the text for each frame.
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
            yield judged(kind, found, reference, ctc_score(model, outputs.log_probs, words))


def ctc_score(model: SpeechModel, log_probs: Tensor, words: Sequence[SpelledWord]) -> float:
    """log p(text | sound) / frames, by CTC's sum over all paths."""
    text = label_text(words, model.encode, len(model.tokens), separator=model.separator)
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None],
        torch.tensor([text.tokens]),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(text.tokens)]),
        blank=model.blank,
        reduction="sum",
    )
    return -float(loss) / len(log_probs)


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


def judged(kind: str, found: Assembled, reference: Sequence[Span], score: float) -> Tried:
    """What an alignment says, beside what is true."""
    words = tuple(
        (word.confidence, any(_is_said(word.span, span) for span in reference))
        for word in found.words
        if word.confidence is not None
    )
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
    for prefix, known in (("own_threshold", mine), ("threshold", others)):
        if known:
            threshold = best_threshold(known)
            row |= {
                f"{prefix}_{kind}": 100
                * statistics.fmean(one.score < threshold for one in by_kind[kind])
                for kind in ("right", *WRONG)
            }
    return row


def page_of(rows: Sequence[dict[str, object]], command: str) -> str:
    """The rows as a page of the documents."""
    origin = provenance(("torch",))
    columns = [
        ("words' calibration error", "words_calibration_error"),
        ("texts' calibration error", "texts_calibration_error"),
        ("right ones not `ok`", "false_alarms"),
        *((f"{kind}, not `ok`", f"{kind}_found") for kind in KINDS[1:]),
    ]
    rival = [
        (f"{title}, {kind}", f"{prefix}_{kind}")
        for title, prefix in (
            ("threshold of this set", "own_threshold"),
            ("of the others", "threshold"),
        )
        for kind in ("right", *WRONG)
    ]
    parts = [
        "# Benchmark of confidences",
        "Generated by `benchmarks/bench_confidence.py`; do not edit. Each utterance of a set is aligned with "
        "its own text, with that of another recording, with a third of its words deleted, and with a third "
        "of them replaced. All figures are in percent. [Confidence](reference/confidence.md) says what is "
        "measured.",
        f"* command: `{command}`\n* hardware: {origin['hardware']['processor']}; "
        f"commit {str(origin['commit'])[:7]}; torch {origin['versions']['torch']}",
        "## Confidence and status",
        _table(rows, [("utterances", "utterances"), ("words", "words"), *columns]),
        "## A threshold on the score of CTC",
        "Shares of texts below the threshold. It is chosen on this set itself, or on the other sets.",
        _table(rows, rival),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[dict[str, object]], columns: Sequence[tuple[str, str]]) -> str:
    lines = ["| set | " + " | ".join(title for title, _ in columns) + " |"]
    lines.append("|---|" + "--:|" * len(columns))
    for row in rows:
        cells = [row.get(key, "-") for _, key in columns]
        shown = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append(f"| {row['set']} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "CUTS")
    )
    parser.add_argument("--limit", type=int, default=200, help="utterances of each set")
    parser.add_argument("--markdown", type=Path, required=True, help="page to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        name: list(tried(model, Path(cuts), options.limit)) for name, model, cuts in options.set
    }
    rows = []
    for name, mine in found.items():
        others = [one for other, items in found.items() if other != name for one in items]
        rows.append(row_of(name, mine, others))
    names = " ".join(f"--set {name} MODEL CUTS" for name in found)
    command = f"python benchmarks/bench_confidence.py {names} --limit {options.limit}"
    options.markdown.write_text(page_of(rows, command), encoding="utf-8")


if __name__ == "__main__":
    main()
