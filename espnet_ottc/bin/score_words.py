"""Word and character error rates of a hypothesis.

    python -m espnet_ottc.bin.score_words --ref ref.txt --hyp hyp.txt [--json scores.json]

Reads Kaldi text (`id word word ...`) and, for their words, CTM, TextGrid and Lhotse supervisions.  With
`--fold` the words are phones: `wer` is their error rate, and there is no `cer`.
Exit status: 0; 1 for a fault of the input (an utterance on one side only, a malformed file); 2 for
wrong options.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import holds_times, read_spans, read_text
from espnet_ottc.alignment.metrics import (
    ErrorCounts,
    characters,
    count_errors,
    error_interval,
    pair_by_id,
)
from espnet_ottc.bin import _scoring
from espnet_ottc.utils.commands import run


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m espnet_ottc.bin.score_words",
        description="Word and character error rates with sclite's counts and bootstrap intervals.",
    )
    _scoring.add_common_options(
        options, "Kaldi text, *.ctm, *.TextGrid, a folder of TextGrids, or Lhotse supervisions"
    )
    options.add_argument(
        "--sclite-costs",
        action="store_true",
        help="align with sclite's costs (substitution 4, others 3) instead of equal ones",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(lambda: score(options))


def score(options: argparse.Namespace) -> None:
    """Read, score, print and write what the options say."""
    pairs = pair_by_id(
        _read_words(options.ref, options),
        _read_words(options.hyp, options),
        missing_is_empty=options.missing_is_empty,
        ignore_extra=options.ignore_extra,
    ).values()
    costs: bool = options.sclite_costs
    words = [count_errors(ref, hyp, sclite_costs=costs) for ref, hyp in pairs]
    units = [(_scoring.unit_of(options), "wer", words)]
    if options.fold is None:
        letters = [
            count_errors(characters(ref), characters(hyp), sclite_costs=costs) for ref, hyp in pairs
        ]
        units.append(("char", "cer", letters))
    header = ["unit", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "rate %"]
    rows = [[*header, f"{100 * options.level:g} % interval"]]
    scores: dict[str, Any] = {"ref": str(options.ref), "hyp": str(options.hyp), "unit": units[0][0]}
    for unit, rate, counts in units:
        total = sum(counts, ErrorCounts())
        interval = error_interval(
            counts, level=options.level, resamples=options.resamples, seed=options.seed
        )
        percent = None if total.rate is None else 100 * total.rate
        columns = (
            total.sentences,
            total.words,
            total.correct,
            total.substitutions,
            total.deletions,
            total.insertions,
            total.errors,
            total.wrong_sentences,
        )
        rows.append(
            [
                unit,
                *map(str, columns),
                _scoring.number(percent),
                _scoring.interval_text(interval, 100),
            ]
        )
        scores[rate] = percent
        scores[f"{rate}_interval"] = _scoring.interval_list(interval, 100)
        scores[f"{rate}_counts"] = asdict(total)
    settings = ("level", "resamples", "seed", "sclite_costs", "ignore_case", "skip")
    scores["settings"] = {name: getattr(options, name) for name in settings}
    scores["settings"]["fold"] = options.fold and options.fold.name
    print(_scoring.table(rows))
    if options.json is not None:
        _scoring.write_json(options.json, scores)


def _read_words(path: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    if holds_times(path):
        spans = read_spans(path, options.tier, options.channel)
        texts = {name: [span.symbol for span in items] for name, items in spans.items()}
    else:
        texts = read_text(path)
    skip = set(options.skip)
    folding = _scoring.read_folding(options.fold)
    kept: dict[str, list[str]] = {}
    for name, words in texts.items():
        found = [one for word in words if word not in skip and (one := folding.get(word, word))]
        kept[name] = [word.lower() for word in found] if options.ignore_case else found
    return kept


if __name__ == "__main__":
    sys.exit(main())
