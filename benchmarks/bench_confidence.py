"""How well confidences are calibrated, and texts that are not those of their recordings are recognised.

    python benchmarks/bench_confidence.py --set digits ottc exp/ottc/seed1 data/test-clean/cuts.jsonl.gz \\
        --set digits ctc exp/ctc/seed1 data/test-clean/cuts.jsonl.gz

Each recording is aligned with its own text, with that of the next one (which gets the first one's, a swapped
pair), with a third of its words deleted, and with a third replaced by words of others.  A word is right if
the cut has it where it was found.  The rival is a threshold on the log-probability of the text per frame by
CTC's sum, chosen so that it errs least: on the set itself, or on the other sets and models of the same run,
without copies of the set.  Beside the calibration that a model comes with stands one that was
fitted to it on a further set (`--fit`).  With `--copies` each recording is heard again as an MP3, and so on
(recording_copies.py).  Results that are not measured again stay.

Writes results/confidence.jsonl, docs/benchmarks_confidence.md, and the table of docs/reference/confidence.md.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import environment, provenance_lines, write
from recording_copies import COPIES, copy_of
from torch import Tensor

from espnet_ottc.aligner import Aligner
from espnet_ottc.aligner.aligner import AlignerOptions
from espnet_ottc.aligner.calibrating import (
    DELETED,
    KINDS,
    OTHER,
    REPLACED,
    RIGHT,
    Trial,
    calibrated,
    errors,
    trials,
)
from espnet_ottc.aligner.inputs import InputOptions, gather
from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.confidence import Calibration
from espnet_ottc.alignment.formats import spans_of
from espnet_ottc.alignment.text import label_text
from espnet_ottc.alignment.windows import FrameOutputs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "confidence.jsonl"
PAGE = ROOT / "docs" / "benchmarks_confidence.md"
REFERENCE = ROOT / "docs" / "reference" / "confidence.md"
WRONG = (OTHER, DELETED)
_PLACE = re.compile(r"(<!-- bench_confidence -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Scored:
    """A trial, and the log-probability of its text for each frame; None for a model without CTC's labels."""

    trial: Trial
    score: float | None


class _Listening:
    """An aligner that remembers what it heard last."""

    def __init__(self, aligner: Aligner) -> None:
        self.aligner = aligner
        self.last: FrameOutputs | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.aligner, name)

    def heard(self, samples: Tensor) -> FrameOutputs | None:
        self.last = self.aligner.heard(samples)
        return self.last


def scored(aligner: Aligner, cuts: Path, limit: int, kind: str | None = None) -> list[Scored]:
    """Every recording of a set that has word times, or a copy of it, with each kind of text."""
    utterances, references = with_references(cuts, limit)
    if kind is not None:
        with tempfile.TemporaryDirectory() as folder:
            copies = [copy_of(one, aligner, kind, Path(folder)) for one in utterances]
            return _scored(aligner, copies, references)
    return _scored(aligner, utterances, references)


def _scored(
    aligner: Aligner, utterances: Sequence[Utterance], references: Sequence[Sequence[Any]]
) -> list[Scored]:
    listening = _Listening(aligner)
    found = []
    for trial in trials(listening, utterances, references):  # type: ignore[arg-type]
        score = None if listening.last is None else ctc_score(aligner, listening.last, trial.text)
        found.append(Scored(trial, score))
    return found


def with_references(cuts: Path, limit: int) -> tuple[list[Utterance], list[list[Any]]]:
    """The first utterances of cuts that have word times, and these."""
    from lhotse import CutSet

    known = {
        cut.id: spans_of(cut.supervisions[0], origin=0.0)
        for cut in CutSet.from_file(cuts)
        if cut.supervisions and cut.supervisions[0].alignment
    }
    utterances = [one for one in gather([str(cuts)], InputOptions()).utterances if one.id in known]
    chosen = utterances[:limit]
    return chosen, [known[one.id] for one in chosen]


def ctc_score(aligner: Aligner, heard: FrameOutputs, text: str) -> float:
    """log p(text | sound) / frames, by CTC's sum over all paths."""
    model = aligner.model
    words = aligner.speller.spell_text(text)
    labels = label_text(words, model.encode, len(model.tokens), separator=model.separator)
    T = len(heard.log_probs)
    loss = torch.nn.functional.ctc_loss(
        heard.log_probs[:, None],
        torch.tensor([labels.tokens]),
        torch.tensor([T]),
        torch.tensor([len(labels.tokens)]),
        blank=model.blank,
        reduction="sum",
    )
    return -float(loss) / T


def best_threshold(examples: Sequence[Scored]) -> float:
    """The threshold on the score that errs least, with right and wrong texts weighing the same."""
    known = [(one.score, one.trial.kind) for one in examples if one.score is not None]
    right = [score for score, kind in known if kind == RIGHT]
    wrong = [score for score, kind in known if kind in WRONG]

    def error(threshold: float) -> float:
        missed = sum(score >= threshold for score in wrong) / len(wrong)
        return missed + sum(score < threshold for score in right) / len(right)

    return min([*right, *wrong], key=error)


def row_of(
    name: str, model: str, mine: Sequence[Scored], others: Sequence[Scored]
) -> dict[str, object]:
    """The figures of a set with a model; shares and errors in percent."""
    found = [one.trial for one in mine]
    words, texts = errors(found)
    row: dict[str, object] = {
        "set": name,
        "model": model,
        "utterances": sum(one.kind == RIGHT for one in found),
        "words": sum(len(one.words) for one in found),
        "words_calibration_error": 100 * words,
        "texts_calibration_error": 100 * texts,
    }
    row |= {
        f"{kind}_not_ok": _share(not one.ok for one in found if one.kind == kind) for kind in KINDS
    }
    swapped = [one.ok for one in found if one.kind == OTHER]
    pairs = list(zip(swapped[::2], swapped[1::2], strict=False))
    row["pairs_not_ok"] = _share(not (one or other) for one, other in pairs)
    for prefix, known in (("own_threshold", mine), ("threshold", others)):
        if any(one.score is not None for one in mine) and any(x.score is not None for x in known):
            threshold = best_threshold(known)
            row |= {
                f"{prefix}_{kind}": _share(
                    one.score < threshold
                    for one in mine
                    if one.trial.kind == kind and one.score is not None
                )
                for kind in (RIGHT, *WRONG)
            }
    return row


def _share(values: Any) -> float:
    return 100 * statistics.fmean(values)


def summary(rows: Sequence[dict[str, object]]) -> str:
    """The table of the reference."""
    columns = [
        ("recordings", "utterances"),
        ("words' error", "words_calibration_error"),
        ("texts' error", "texts_calibration_error"),
        ("right text, not `ok`", f"{RIGHT}_not_ok"),
        ("of another recording", f"{OTHER}_not_ok"),
        ("both of a swapped pair", "pairs_not_ok"),
        ("a third deleted", f"{DELETED}_not_ok"),
        ("a third replaced", f"{REPLACED}_not_ok"),
    ]
    return _table(rows, columns)


def page_of(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a page of the documents."""
    rival = [
        (f"{title}: {shown}", f"{prefix}_{kind}")
        for title, prefix in (("its own", "own_threshold"), ("others'", "threshold"))
        for kind, shown in ((RIGHT, "right"), (OTHER, "of another"), (DELETED, "a third deleted"))
    ]
    parts = [
        "# Benchmark of confidences",
        "Generated by `benchmarks/bench_confidence.py`; do not edit. Each recording of a set is aligned with "
        "its own text, with that of another recording, with a third of its words deleted, and with a third "
        "of them replaced. All figures are in percent. [Confidence](reference/confidence.md) says what is "
        "measured.",
        *("\n".join(provenance_lines(about, "1 round")) for about in _sources(rows)),
        "## Confidence and status",
        summary(rows),
        "## A threshold on the score of CTC",
        "Shares of texts below the threshold. It is the one that errs least on the set itself, or on the "
        "other sets and models that were measured with it, without copies of the set.",
        _table([row for row in rows if "own_threshold_right" in row], rival),
    ]
    return "\n\n".join(parts) + "\n"


def _sources(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How rows were measured, each way once."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row["provenance"] not in found:
            found.append(row["provenance"])
    return found


def _table(rows: Sequence[dict[str, object]], columns: Sequence[tuple[str, str]]) -> str:
    lines = ["| set | model | " + " | ".join(title for title, _ in columns) + " |"]
    lines.append("|---|---|" + "--:|" * len(columns))
    for row in rows:
        cells = [row.get(key, "-") for _, key in columns]
        shown = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append(f"| {row['set']} | {row['model']} | {' | '.join(shown)} |")
    return "\n".join(lines)


def fitted(place: str, cuts: Path, limit: int) -> Calibration:
    """A calibration of a model on cuts with texts, as `ottc-align --calibrate` finds it."""
    utterances, _ = with_references(cuts, limit)
    return calibrated(Aligner.from_pretrained(place), utterances).calibration


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", nargs=4, action="append", required=True, dest="sets",
                        metavar=("NAME", "MODEL", "FOLDER", "CUTS"))  # fmt: skip
    parser.add_argument("--fit", nargs=3, action="append", default=[],
                        metavar=("NAME", "MODEL", "CUTS"),
                        help="fit the model's calibration on these cuts first")  # fmt: skip
    parser.add_argument("--copies", nargs="+", default=[], choices=COPIES)
    parser.add_argument("--limit", type=int, default=100, help="recordings of each set")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.device, options.dtype, options.seed, options.rounds = "cpu", "float32", 0, 1
    about = environment(options, ("torch", "espnet"))
    fits = {(name, model): Path(cuts) for name, model, cuts in options.fit}
    found: dict[tuple[str, str], list[Scored]] = {}
    for name, model, place, cuts in options.sets:
        aligner = Aligner.from_pretrained(place)
        found[name, model] = scored(aligner, Path(cuts), options.limit)
        if (name, model) in fits:
            calibration = fitted(place, fits[name, model], options.limit)
            again = Aligner.from_pretrained(place, AlignerOptions(calibration=calibration))
            found[name, f"{model}, fitted"] = [
                replace(one, score=None)  # the rival knows no calibration
                for one in scored(again, Path(cuts), options.limit)
            ]
        for kind in options.copies:
            found[f"{name}, {kind}", model] = scored(aligner, Path(cuts), options.limit, kind)
        print(f"{name}, {model}: done", flush=True)
        # What is there stays if a later set fails.
        _publish(found, options, about)


def _publish(
    found: dict[tuple[str, str], list[Scored]], options: argparse.Namespace, about: dict[str, Any]
) -> None:
    """Write what was found so far."""
    rows = []
    for (name, model), mine in found.items():
        # A copy has the same recordings.
        others = [
            one
            for (other, by), items in found.items()
            if (other.split(", ")[0], by) != (name.split(", ")[0], model)
            for one in items
        ]
        rows.append(row_of(name, model, mine, others))
    shown = " ".join(f"--set {name} {model} FOLDER CUTS" for name, model, *_ in options.sets)
    shown += "".join(f" --fit {name} {model} CUTS" for name, model, _ in options.fit)
    shown += f" --copies {' '.join(options.copies)}" if options.copies else ""
    command = f"python benchmarks/bench_confidence.py {shown} --limit {options.limit}"
    rows = [
        {"record": "confidence", **row, "provenance": {**about, "command": command}} for row in rows
    ]
    kept = []
    if options.results.exists():
        kept = [json.loads(line) for line in options.results.read_text("utf-8").splitlines()]
    rows = [row for row in kept if (row["set"], row["model"]) not in found] + rows
    write(options.results, "".join(f"{json.dumps(row)}\n" for row in rows))
    write(options.page, page_of(rows))
    text = options.reference.read_text(encoding="utf-8")
    filled = _PLACE.sub(lambda place: f"{place[1]}\n{summary(rows)}\n\n{place[2]}", text)
    write(options.reference, filled)


if __name__ == "__main__":
    main()
