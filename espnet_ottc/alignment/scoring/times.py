"""Scores of word (or phone) times against a reference, and peakiness."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import read_durations, read_span_table, text_lines
from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    Interval,
    Peakiness,
    compare_tables,
    uncovered_seconds,
)
from espnet_ottc.alignment.metrics.alignment import THRESHOLDS_MS
from espnet_ottc.alignment.metrics.compared_times import COLLAR
from espnet_ottc.alignment.scoring.options import Names, ScoringOptions
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table
from espnet_ottc.alignment.span_table import SpanTable
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
        inner: that of the inner reference; None without one.
        notes: what the user should know of how it was read.
    """

    scores: AlignmentScores
    intervals: Mapping[str, Interval | None]
    peakiness: Peakiness | None
    options: TimesScoringOptions
    reference: str = ""
    hypothesis: str = ""
    inner: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values: shares in percent, errors in milliseconds, counts, settings."""
        result: dict[str, Any] = {
            "ref": self.reference,
            "hyp": self.hypothesis,
            "unit": self.options.unit,
        } | ({} if self.inner is None else {"inner": self.inner})
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
    inner: Spans | None = None,
    frame_labels: Mapping[str, Sequence[str]] | None = None,
    durations: Mapping[str, float] | None = None,
    names: tuple[str, str] = ("", ""),
) -> TimesReport:
    """Score the times of words (or phones) against a reference.

    Args:
        references: spans in seconds, in order of time, by utterance id.
        hypotheses: likewise.
        options: None takes the defaults.
        inner: a second reference of the same words, whose times lie inside of the first's: between a start
            and its inner start a boundary has no error, nor between an inner end and its end.  Shares of
            time (IDR, IoU) are those of the first.
        frame_labels: the model's label of every frame, by utterance id, for peakiness; None leaves it
            out.
        durations: seconds of each reference utterance, to subtract real silence from peakiness; None
            does not subtract it.
        names: of references and hypotheses, for the report.

    Raises:
        ValueError: no reference; an utterance on one side only that no option allows; an inner reference
            of other words; an utterance without duration; a collar, a level or a number of resamples out of
            range.
        ImportError: kaldialign or NumPy is not installed.
    """
    return _score(
        lambda: SpanTable.of(references),
        lambda: SpanTable.of(hypotheses),
        options or TimesScoringOptions(),
        None if frame_labels is None else frame_labels.items(),
        durations,
        names,
        read_inner=None if inner is None else lambda: SpanTable.of(inner),
    )


def _score(
    read_reference: Callable[[], SpanTable],
    read_hypothesis: Callable[[], SpanTable],
    options: TimesScoringOptions,
    frame_labels: Iterable[tuple[str, Sequence[str]]] | None,
    durations: Mapping[str, float] | None,
    names: tuple[str, str],
    *,
    read_inner: Callable[[], SpanTable] | None = None,
    inner_name: str | None = None,
) -> TimesReport:
    reference = read_reference()
    inner = None if read_inner is None else reference.with_times_of(read_inner())
    hypothesis = read_hypothesis()
    options, notes = options.settled(reference.vocabulary, hypothesis.vocabulary)
    compared = Names(options)
    scores = AlignmentScores.of(
        compare_tables(
            reference,
            hypothesis,
            [
                (_row(row), _row(guesses))
                for row, guesses in options.pairs(reference.rows, hypothesis.rows).values()
            ],
            names=(
                [compared[one] for one in reference.vocabulary],
                [compared[one] for one in hypothesis.vocabulary],
            ),
            collar=options.collar,
            inner=inner,
        )
    )
    intervals = scores.intervals(
        level=options.level, resamples=options.resamples, seed=options.seed
    )
    peakiness = None
    if frame_labels is not None:
        peakiness = _peakiness(reference, frame_labels, durations, options)
    return TimesReport(scores, intervals, peakiness, options, *names, inner=inner_name, notes=notes)


def _row(found: Sequence[int]) -> range:
    """An utterance's positions; none where it is missing."""
    return found if isinstance(found, range) else range(0)


def score_time_files(
    reference: Path,
    hypothesis: Path,
    options: TimesScoringOptions | None = None,
    *,
    inner: Path | None = None,
    frames: Path | None = None,
    durations: Path | None = None,
) -> TimesReport:
    """Score the times of two files; see `score_times`.

    Args:
        reference: of a kind that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.
        inner: an inner reference (see `score_times`), read as the reference is.
        frames: Kaldi text with the label of every frame.
        durations: Kaldi's utt2dur.

    Raises:
        ValueError: a malformed file, or what `score_times` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    options = options or TimesScoringOptions()
    return _score(
        lambda: read_span_table(reference, options.tier, options.channel, options.encoding),
        lambda: read_span_table(
            hypothesis, options.tier, options.hyp_channel or options.channel, options.encoding
        ),
        options,
        frame_labels=None if frames is None else text_lines(frames),
        durations=None if durations is None or frames is None else read_durations(durations),
        names=(str(reference), str(hypothesis)),
        read_inner=None
        if inner is None
        else lambda: read_span_table(inner, options.tier, options.channel, options.encoding),
        inner_name=None if inner is None else str(inner),
    )


def _peakiness(
    references: SpanTable,
    frame_labels: Iterable[tuple[str, Sequence[str]]],
    durations: Mapping[str, float] | None,
    options: TimesScoringOptions,
) -> Peakiness:
    special = frozenset(options.special)
    # Of each utterance the special frames and all: the labels of many would not fit into memory.
    frames = {
        name: (sum(label in special for label in labels), len(labels))
        for name, labels in frame_labels
    }
    counts = [found for _, found in options.pairs(references.rows, frames).values() if found]
    hits, total = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if durations is None:
        return Peakiness(hits, total)
    unknown = [name for name in references.rows if name not in durations]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: an utterance's duration is needed to know its silence; "
            f"{len(unknown)} of {len(references.rows)} have none"
        )
    left_out = special | set(options.skip)
    silent = {references.vocabulary[one] for one in left_out if one in references.vocabulary}
    silence = sum(
        uncovered_seconds(
            [
                (references.starts[place], references.ends[place])
                for place in row
                if references.symbols[place] not in silent
            ],
            durations[name],
        )
        for name, row in references.rows.items()
    )
    seconds = sum(durations[name] for name in references.rows)
    return Peakiness(hits, total, silence, seconds)


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
    for kind in ("start", "end"):
        lines.append((f"{kind} bias, ms", f"{kind}_bias_ms", f"{matched} boundaries"))
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
