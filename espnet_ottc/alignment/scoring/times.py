"""Scores of word (or phone) times against a reference, and peakiness."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import SpansById, read_durations, read_spans, read_text
from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    Interval,
    Peakiness,
    compare_spans,
    silence_seconds,
)
from espnet_ottc.alignment.metrics.alignment import COLLAR, THRESHOLDS_MS
from espnet_ottc.alignment.scoring.options import ScoringOptions
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table
from espnet_ottc.alignment.spans import Span

_SETTINGS = ("collar", "level", "resamples", "seed", "ignore_case", "skip", "tier")

Spans = Mapping[str, Sequence[Span]]


@dataclass(frozen=True, kw_only=True)
class TimesScoringOptions(ScoringOptions):
    """Options of `score_times`.

    Attributes:
        collar: seconds by which a start may be off, finite and ≥ 0.
        special: labels that are no speech, as the blank or a silence phone.  Frames on them count for
            peakiness; times that the reference has for them are real silence.
    """

    collar: float = COLLAR
    special: Sequence[str] = ("<blank>", "<space>")


@dataclass(frozen=True)
class TimesReport:
    """What `score_times` found.

    Attributes:
        scores: of the times.
        intervals: bootstrap intervals over utterances, by names and in units of `scores.as_row()`.
        peakiness: None where no labels of frames were given.
        options: under which it was scored.
        reference, hypothesis: names of what was scored, as of files.
        notes: what the user should know of how it was read.
    """

    scores: AlignmentScores
    intervals: Mapping[str, Interval | None]
    peakiness: Peakiness | None
    options: TimesScoringOptions
    reference: str = ""
    hypothesis: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values: shares in percent, errors in milliseconds, counts, settings."""
        result: dict[str, Any] = {
            "ref": self.reference,
            "hyp": self.hypothesis,
            "unit": self.options.unit,
        }
        result |= self.scores.as_row()
        result |= {} if self.peakiness is None else self.peakiness.as_row()
        result["intervals"] = {
            name: interval_list(interval) for name, interval in self.intervals.items()
        }
        result["settings"] = self.options.settings(_SETTINGS)
        return result | ({"notes": list(self.notes)} if self.notes else {})

    def as_text(self) -> str:
        """The report as a table, each number with what it was counted over."""
        row = self.scores.as_row()
        rows = [["metric", "value", f"{100 * self.options.level:g} % interval", "counted over"]]
        rows += [
            [
                title,
                number(row[name]),
                interval_text(self.intervals[name]) if name in self.intervals else "",
                count,
            ]
            for title, name, count in _lines(row, self.options)
        ]
        text = f"{table(rows)}\nutterances: {row['utterances']}"
        peakiness = [] if self.peakiness is None else [_peakiness_text(self.peakiness)]
        return "\n".join([text, *peakiness, *(f"note: {note}" for note in self.notes)])


def score_times(
    references: Spans,
    hypotheses: Spans,
    options: TimesScoringOptions | None = None,
    *,
    frame_labels: Mapping[str, Sequence[str]] | None = None,
    durations: Mapping[str, float] | None = None,
    names: tuple[str, str] = ("", ""),
) -> TimesReport:
    """Score the times of words (or phones) against a reference.

    Args:
        references: spans in seconds, in order of time, by utterance id.
        hypotheses: likewise.
        options: None takes the defaults.
        frame_labels: the model's label of every frame, by utterance id, for peakiness; None leaves it
            out.
        durations: seconds of each reference utterance, to subtract real silence from peakiness; None
            does not subtract it.
        names: of references and hypotheses, for the report.

    Raises:
        ValueError: no reference; an utterance on one side only that no option allows; an utterance
            without duration; a collar, a level or a number of resamples out of range.
        ImportError: kaldialign or NumPy is not installed.
    """
    options = options or TimesScoringOptions()
    options, notes = options.settled(_symbols(references), _symbols(hypotheses))
    references, hypotheses = (_kept(spans, options) for spans in (references, hypotheses))
    scores = AlignmentScores.of(
        compare_spans(*(_named(spans, options) for spans in pair), collar=options.collar)
        for pair in options.pairs(references, hypotheses).values()
    )
    intervals = scores.intervals(
        level=options.level, resamples=options.resamples, seed=options.seed
    )
    peakiness = None
    if frame_labels is not None:
        peakiness = _peakiness(references, frame_labels, durations, options)
    return TimesReport(scores, intervals, peakiness, options, *names, notes=notes)


def score_time_files(
    reference: Path,
    hypothesis: Path,
    options: TimesScoringOptions | None = None,
    *,
    frames: Path | None = None,
    durations: Path | None = None,
) -> TimesReport:
    """Score the times of two files; see `score_times`.

    Args:
        reference: of a kind that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.
        frames: Kaldi text with the label of every frame.
        durations: Kaldi's utt2dur.

    Raises:
        ValueError: a malformed file, or what `score_times` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    options = options or TimesScoringOptions()
    return score_times(
        read_spans(reference, options.tier, options.channel, options.encoding),
        read_spans(
            hypothesis, options.tier, options.hyp_channel or options.channel, options.encoding
        ),
        options,
        frame_labels=None if frames is None else read_text(frames),
        durations=None if durations is None or frames is None else read_durations(durations),
        names=(str(reference), str(hypothesis)),
    )


def _symbols(spans: Spans) -> Iterator[str]:
    return (span.symbol for items in spans.values() for span in items)


def _kept(spans: Spans, options: ScoringOptions) -> SpansById:
    skip = frozenset(options.skip)
    return {name: [one for one in items if one.symbol not in skip] for name, items in spans.items()}


def _named(spans: Sequence[Span], options: ScoringOptions) -> list[Span]:
    """The spans under the names that are compared; without those that the folding takes away."""
    named = ((span, options.name_of(span.symbol)) for span in spans)
    return [replace(span, symbol=name) for span, name in named if name]


def _peakiness(
    references: Spans,
    frame_labels: Mapping[str, Sequence[str]],
    durations: Mapping[str, float] | None,
    options: TimesScoringOptions,
) -> Peakiness:
    wanted: dict[str, Sequence[str]] = dict.fromkeys(references, ())
    labels = (items for _, items in options.pairs(wanted, frame_labels).values())
    if durations is None:
        return Peakiness.count(labels, options.special)
    unknown = [name for name in references if name not in durations]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: an utterance's duration is needed to know its silence; "
            f"{len(unknown)} of {len(references)} have none"
        )
    special = frozenset(options.special)
    silence = sum(
        silence_seconds([one for one in spans if one.symbol not in special], durations[name])
        for name, spans in references.items()
    )
    seconds = sum(durations[name] for name in references)
    return Peakiness.count(labels, options.special, silence, seconds)


def _lines(
    row: Mapping[str, float | int | None], options: TimesScoringOptions
) -> list[tuple[str, str, str]]:
    """Title, name in the row and what it is counted over, of each line of the table."""
    unit = f"{options.unit}s"
    words, guesses, matched = (
        row[name] for name in ("reference_words", "hypothesis_words", "matched_words")
    )
    near, strict = row["starts_within_collar"], row["strict_within_20ms"]
    seconds = f"{row['overlap_seconds']:.2f} of {row['reference_seconds']:.2f} s"
    both = f"of {words} and {guesses} {unit}"
    within = f"within {1000 * options.collar:g} ms"
    lines = [
        (f"start precision %, {within}", "start_precision", f"{near} of {guesses} {unit}"),
        (f"start recall %, {within}", "start_recall", f"{near} of {words} {unit}"),
        (f"start F1 %, {within}", "start_f1", f"{near} {both}"),
        ("strict F1 %, within 20 ms", "strict_f1_20ms", f"{strict} {both}"),
        ("IDR %", "idr", seconds),
        ("mean IoU %", "iou", f"{words} {unit}"),
        ("coverage %", "coverage", f"{matched} of {words} {unit}"),
    ]
    for kind, count in (("boundary", row["boundaries"]), ("start", matched), ("end", matched)):
        lines.append((f"{kind} error, mean, ms", f"{kind}_mae_ms", f"{count} boundaries"))
        lines.append((f"{kind} error, median, ms", f"{kind}_median_ms", f"{count} boundaries"))
    for limit in THRESHOLDS_MS:
        name = f"boundaries within {limit} ms, %"
        lines.append((name, f"within_{limit}ms", f"{row['boundaries']} boundaries"))
    return lines


def _peakiness_text(peakiness: Peakiness) -> str:
    row = peakiness.as_row()
    rows = [
        [title, number(row[name])]
        for title, name in (
            ("peakiness, raw, %", "peaky_raw"),
            ("real silence, %", "silence"),
            ("peakiness, silence subtracted, %", "peaky"),
        )
    ]
    return f"{table(rows)}\nframes: {peakiness.special_frames} special of {peakiness.frames}"
