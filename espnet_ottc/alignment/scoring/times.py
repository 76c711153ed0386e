"""Scores of word (or phone) times against a reference, and peakiness."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import read_durations, read_span_table, text_lines
from espnet_ottc.alignment.metrics import AlignmentScores, Interval, Peakiness
from espnet_ottc.alignment.metrics.time_totals import THRESHOLDS_MS
from espnet_ottc.alignment.scoring.parts import UnorderedError, count_parts, parts_of
from espnet_ottc.alignment.scoring.sides import both_sides
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table
from espnet_ottc.alignment.scoring.time_counts import (
    CountedTimes,
    TimeCounter,
    TimesScoringOptions,
    TimeSums,
    rows_of,
)
from espnet_ottc.alignment.span_table import SpanTable
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.files import kept
from espnet_ottc.utils.forks import work_on_parts

_SETTINGS = ("collar", "level", "resamples", "seed", "ignore_case", "skip", "tier")

Spans = Mapping[str, Sequence[Span]]
# Bytes of an utterance of a CTM, for want of a better guess.
_UTTERANCE = 500


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
        SpanTable.of(references),
        SpanTable.of(hypotheses),
        options or TimesScoringOptions(),
        None if frame_labels is None else frame_labels.items(),
        durations,
        names,
        inner=None if inner is None else SpanTable.of(inner),
    )


def _score(
    reference: SpanTable,
    hypothesis: SpanTable,
    options: TimesScoringOptions,
    frame_labels: Iterable[tuple[str, Sequence[str]]] | None,
    durations: Mapping[str, float] | None,
    names: tuple[str, str],
    *,
    inner: SpanTable | None = None,
    inner_name: str | None = None,
) -> TimesReport:
    """Score what is in memory."""
    inner = None if inner is None else reference.with_times_of(inner)
    options, notes = options.settled(reference.vocabulary, hypothesis.vocabulary)
    counter, sums = TimeCounter(options), TimeSums()
    rows = rows_of(options.pairs(reference.rows, hypothesis.rows).values())
    for compared, totals in counter.compared(reference, hypothesis, rows, inner):
        sums.scores.add(compared, totals)
    if frame_labels is not None:
        labelled = options.pairs(reference.rows, counter.special_frames(frame_labels))
        sums.frames = counter.frames(
            reference, (found for _, found in labelled.values()), durations
        )
    return _report(sums, options, notes, names, inner_name)


def _report(
    sums: TimeSums,
    options: TimesScoringOptions,
    notes: tuple[str, ...],
    names: tuple[str, str],
    inner_name: str | None,
) -> TimesReport:
    intervals = sums.scores.intervals(
        level=options.level, resamples=options.resamples, seed=options.seed
    )
    peakiness = None if sums.frames is None else sums.frames.peakiness
    return TimesReport(
        sums.scores, intervals, peakiness, options, *names, inner=inner_name, notes=notes
    )


def score_time_files(
    reference: str | Path,
    hypothesis: str | Path,
    options: TimesScoringOptions | None = None,
    *,
    inner: str | Path | None = None,
    frames: str | Path | None = None,
    durations: str | Path | None = None,
    cores: int | None = None,
    counted: Callable[[TimesScoringOptions], Iterable[CountedTimes | None]] | None = None,
) -> TimesReport:
    """Score the times of two files; see `score_times`.

    CTMs that have their utterances in the same order are read in parts, so that it does not matter how many
    they have.

    Args:
        reference: of a kind that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.
        inner: an inner reference (see `score_times`), read as the reference is.
        frames: Kaldi text with the label of every frame.
        durations: Kaldi's utt2dur.
        cores: that many utterances may keep busy; None: all that this process may use.
        counted: gives the parts, scored under these options; None: they are scored here.

    Raises:
        ValueError: a malformed file, or what `score_times` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    reference = Path(reference)
    hypothesis = Path(hypothesis)
    inner = None if inner is None else Path(inner)
    frames = None if frames is None else Path(frames)
    durations = None if durations is None else Path(durations)
    options = options or TimesScoringOptions()
    names = (str(reference), str(hypothesis))
    inner_name = None if inner is None else str(inner)
    given = time_files(reference, hypothesis, inner=inner, frames=frames, durations=durations)
    with ExitStack() as stack:
        files = {name: stack.enter_context(kept(path)) for name, path in given.items()}
        if are_ctms(files, options):
            try:
                found = count_parts(options, counted or _counted(files, cores), TimeSums)
                return _report(*found, names, inner_name)
            except UnorderedError:
                pass  # the whole says what is wrong, if anything is

        def read(path: Path, like: Collection[str], channel: str | None) -> SpanTable:
            return read_span_table(path, options.tier, channel, options.encoding, like=like)

        read_ours = partial(read, channel=options.channel)
        read_theirs = partial(read, channel=options.hyp_channel or options.channel)
        ours, theirs = both_sides(
            (files["reference"], read_ours),
            (files["hypothesis"], read_theirs),
            lambda found: found.rows,
        )
        return _score(
            ours,
            theirs,
            options,
            frame_labels=text_lines(files["frames"]) if "frames" in files else None,
            durations=read_durations(files["durations"]) if "durations" in files else None,
            names=names,
            inner=read_ours(files["inner"], ours.rows) if "inner" in files else None,
            inner_name=inner_name,
        )


def time_files(
    reference: Path,
    hypothesis: Path,
    *,
    inner: Path | None = None,
    frames: Path | None = None,
    durations: Path | None = None,
) -> dict[str, Path]:
    """The files that decide the scores, by their names in `TimeCounter.part`; see `score_time_files`."""
    files = {"reference": reference, "hypothesis": hypothesis, "inner": inner, "frames": frames}
    # Durations tell of silence, for peakiness alone.
    files["durations"] = None if frames is None else durations
    return {name: path for name, path in files.items() if path is not None}


def _counted(
    files: Mapping[str, Path], cores: int | None
) -> Callable[[TimesScoringOptions], Iterable[CountedTimes | None]]:
    parts = parts_of(files, utterance_bytes=_UTTERANCE)
    return lambda options: work_on_parts(TimeCounter(options).part, parts, cores)


def are_ctms(files: Mapping[str, Path], options: TimesScoringOptions) -> bool:
    """Whether all times are CTMs in UTF-8, going by their names and the options.

    Args:
        files: as of `time_files`.
        options: with an encoding.
    """
    times = [files[name] for name in ("reference", "hypothesis", "inner") if name in files]
    known = all(path.suffix.lower() == ".ctm" and not path.is_dir() for path in times)
    return known and options.encoding is None


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
