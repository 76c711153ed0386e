"""Scores of word (or phone) times against a reference.

    python -m espnet_ottc.bin.score_alignment --ref ref.ctm --hyp hyp.ctm [--json scores.json]

Reads CTM, TextGrid (a file or a folder) and Lhotse supervisions of any tool, in any pairing.  With
the model's label of every frame (`--frames`), peakiness too.  Exit status: 0; 1 for a fault of the
input (an utterance on one side only, a malformed file); 2 for wrong options.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import SpansById, read_durations, read_spans, read_text
from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    Interval,
    Peakiness,
    compare_spans,
    pair_by_id,
    silence_seconds,
)
from espnet_ottc.alignment.metrics.alignment import COLLAR, THRESHOLDS_MS
from espnet_ottc.alignment.spans import Span
from espnet_ottc.bin import _scoring
from espnet_ottc.utils.commands import run


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m espnet_ottc.bin.score_alignment",
        description="Start F1, IDR, IoU, boundary errors, coverage and peakiness.",
    )
    _scoring.add_common_options(
        options, "*.ctm, *.TextGrid, a folder of TextGrids, or Lhotse supervisions"
    )
    options.add_argument(
        "--collar",
        type=float,
        default=COLLAR,
        help="seconds by which a start may be off (default: %(default)s)",
    )
    group = options.add_argument_group("peakiness")
    group.add_argument(
        "--frames", type=Path, help="Kaldi text: utterance id and the label of each frame"
    )
    group.add_argument(
        "--special",
        nargs="+",
        default=["<blank>", "<space>"],
        metavar="LABEL",
        help="labels that are no speech, as the blank or a silence phone; times that the reference "
        "has for them are real silence (default: %(default)s)",
    )
    group.add_argument(
        "--durations",
        type=Path,
        help="Kaldi utt2dur: seconds of each utterance, to subtract the reference's real silence",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(lambda: score(options))


def score(options: argparse.Namespace) -> None:
    """Read, score, print and write what the options say."""
    references = _read(options.ref, options)
    pairs = pair_by_id(
        references,
        _read(options.hyp, options),
        missing_is_empty=options.missing_is_empty,
        ignore_extra=options.ignore_extra,
    )
    folding = _scoring.read_folding(options.fold)
    unit = _scoring.unit_of(options)
    scores = AlignmentScores.of(
        compare_spans(
            *(_classes(spans, folding, options.ignore_case) for spans in pair),
            collar=options.collar,
        )
        for pair in pairs.values()
    )
    row = scores.as_row()
    intervals = scores.intervals(
        level=options.level, resamples=options.resamples, seed=options.seed
    )
    peaky = None if options.frames is None else _peakiness(options, references)
    print(_text(row, intervals, options.collar, options.level, f"{unit}s"))
    if peaky is not None:
        print(_peakiness_text(peaky))
    if options.json is not None:
        settings = ("collar", "level", "resamples", "seed", "ignore_case", "skip", "tier")
        result: dict[str, Any] = {"ref": str(options.ref), "hyp": str(options.hyp), "unit": unit}
        result |= row
        result |= {} if peaky is None else peaky.as_row()
        result["intervals"] = {
            name: _scoring.interval_list(interval) for name, interval in intervals.items()
        }
        result["settings"] = {name: getattr(options, name) for name in settings}
        result["settings"]["fold"] = options.fold and options.fold.name
        _scoring.write_json(options.json, result)


def _read(path: Path, options: argparse.Namespace) -> SpansById:
    skip = set(options.skip)
    return {
        name: [span for span in spans if span.symbol not in skip]
        for name, spans in read_spans(path, options.tier, options.channel).items()
    }


def _classes(spans: Sequence[Span], folding: Mapping[str, str], ignore_case: bool) -> list[Span]:
    """The spans under the names that are compared; without those that the folding takes away."""
    classes = ((span, folding.get(span.symbol, span.symbol)) for span in spans)
    return [
        replace(span, symbol=name.lower() if ignore_case else name)
        for span, name in classes
        if name
    ]


def _peakiness(options: argparse.Namespace, references: SpansById) -> Peakiness:
    wanted: dict[str, Sequence[str]] = dict.fromkeys(references, ())
    frames = pair_by_id(
        wanted,
        read_text(options.frames),
        missing_is_empty=options.missing_is_empty,
        ignore_extra=options.ignore_extra,
    )
    silence = seconds = None
    if options.durations is not None:
        durations = read_durations(options.durations)
        unknown = [name for name in references if name not in durations]
        if unknown:
            raise ValueError(f"{unknown[0]}: {options.durations} must hold its duration")
        seconds = sum(durations[name] for name in references)
        special = frozenset(options.special)
        silence = sum(
            silence_seconds([one for one in spans if one.symbol not in special], durations[name])
            for name, spans in references.items()
        )
    labels = (items for _, items in frames.values())
    return Peakiness.count(labels, options.special, silence, seconds)


def _text(
    row: Mapping[str, float | int | None],
    intervals: Mapping[str, Interval | None],
    collar: float,
    level: float,
    unit: str,
) -> str:
    words, guesses, matched = (
        row[name] for name in ("reference_words", "hypothesis_words", "matched_words")
    )
    near, strict = row["starts_within_collar"], row["strict_within_20ms"]
    seconds = f"{row['overlap_seconds']:.2f} of {row['reference_seconds']:.2f} s"
    within = f"within {1000 * collar:g} ms"
    counted = [
        (f"start precision %, {within}", "start_precision", f"{near} of {guesses} {unit}"),
        (f"start recall %, {within}", "start_recall", f"{near} of {words} {unit}"),
        (f"start F1 %, {within}", "start_f1", f"{near} of {words} and {guesses} {unit}"),
        (
            "strict F1 %, within 20 ms",
            "strict_f1_20ms",
            f"{strict} of {words} and {guesses} {unit}",
        ),
        ("IDR %", "idr", seconds),
        ("mean IoU %", "iou", f"{words} {unit}"),
        ("coverage %", "coverage", f"{matched} of {words} {unit}"),
    ]
    for kind, count in (("boundary", row["boundaries"]), ("start", matched), ("end", matched)):
        counted.append((f"{kind} error, mean, ms", f"{kind}_mae_ms", f"{count} boundaries"))
        counted.append((f"{kind} error, median, ms", f"{kind}_median_ms", f"{count} boundaries"))
    for limit in THRESHOLDS_MS:
        name = f"boundaries within {limit} ms, %"
        counted.append((name, f"within_{limit}ms", f"{row['boundaries']} boundaries"))
    rows = [["metric", "value", f"{100 * level:g} % interval", "counted over"]]
    rows += [
        [
            title,
            _scoring.number(row[name]),
            _scoring.interval_text(intervals[name]) if name in intervals else "",
            count,
        ]
        for title, name, count in counted
    ]
    return _scoring.table(rows) + f"\nutterances: {row['utterances']}"


def _peakiness_text(peaky: Peakiness) -> str:
    row = peaky.as_row()
    rows = [
        [title, _scoring.number(row[name])]
        for title, name in (
            ("peakiness, raw, %", "peaky_raw"),
            ("real silence, %", "silence"),
            ("peakiness, silence subtracted, %", "peaky"),
        )
    ]
    return _scoring.table(rows) + f"\nframes: {peaky.special_frames} special of {peaky.frames}"


if __name__ == "__main__":
    sys.exit(main())
