"""Metrics of word (or phone) times against a reference."""

from collections.abc import Iterable

from espnet_ottc.alignment.metrics.bootstrap import GroupSums, Interval, bootstrap_ratios
from espnet_ottc.alignment.metrics.compared_times import ComparedTimes
from espnet_ottc.alignment.metrics.exact import rounded
from espnet_ottc.alignment.metrics.ordered import Magnitudes, median
from espnet_ottc.alignment.metrics.time_totals import (
    THRESHOLDS_MS,
    UTTERANCE_COLUMNS,
    TimeTotals,
    utterance_columns,
)


class AlignmentScores:
    """The metrics of some utterances; shares are fractions, None where there is nothing to count.

    Words without a time count against recall, IDR, IoU and coverage; boundary errors know only
    matched words, so read them beside coverage.  Memory does not grow with the utterances.

    Attributes:
        totals: over all utterances.
    """

    def __init__(self) -> None:
        self.totals = TimeTotals()
        self._groups = GroupSums(UTTERANCE_COLUMNS)
        self._starts, self._ends = Magnitudes(), Magnitudes()
        self._row: dict[str, float | int | None] | None = None

    @classmethod
    def of(cls, compared: Iterable[ComparedTimes]) -> "AlignmentScores":
        """The scores of all utterances together.

        Args:
            compared: some utterances each, as of `compare_spans` and `compare_tables`.
        """
        scores = cls()
        for part in compared:
            scores.add(part, TimeTotals.of(part))
        return scores

    def add(self, compared: ComparedTimes, totals: TimeTotals) -> None:
        """Add utterances, behind those that are there.

        Args:
            compared: what they add.
            totals: theirs.
        """
        import numpy as np

        self._row = None
        self.totals += totals
        self._groups.add(np.stack(utterance_columns(compared), axis=1))
        self._starts.add(np.array(compared.start_errors))
        self._ends.add(np.array(compared.end_errors))

    @property
    def utterances(self) -> int:
        """How many there are."""
        return self.totals.utterances

    @property
    def reference_words(self) -> int:
        """Words of the references."""
        return self.totals.reference_words

    @property
    def hypothesis_words(self) -> int:
        """Words of the hypotheses."""
        return self.totals.hypothesis_words

    @property
    def matched(self) -> int:
        """Reference words that found their time."""
        return self.totals.matched

    @property
    def starts_within(self) -> int:
        """Matched words whose start lies within the collar."""
        return self.totals.starts_within

    @property
    def strict_within(self) -> int:
        """Matched words whose start and end lie within 20 ms."""
        return self.totals.strict_within

    @property
    def start_precision(self) -> float | None:
        """starts_within / hypothesis_words."""
        return _ratio(self.starts_within, self.hypothesis_words)

    @property
    def start_recall(self) -> float | None:
        """starts_within / reference_words."""
        return _ratio(self.starts_within, self.reference_words)

    @property
    def start_f1(self) -> float | None:
        """2 · starts_within / (reference_words + hypothesis_words)."""
        return _ratio(2 * self.starts_within, self.reference_words + self.hypothesis_words)

    @property
    def strict_f1(self) -> float | None:
        """2 · strict_within / (reference_words + hypothesis_words)."""
        return _ratio(2 * self.strict_within, self.reference_words + self.hypothesis_words)

    @property
    def coverage(self) -> float | None:
        """matched / reference_words."""
        return _ratio(self.matched, self.reference_words)

    @property
    def idr(self) -> float | None:
        """Σ overlap of matched words / Σ duration of all reference words."""
        return _ratio(rounded(self.totals.overlap), rounded(self.totals.reference_seconds))

    @property
    def iou(self) -> float | None:
        """Mean intersection over union over all reference words, 0 for a word without a time."""
        return _ratio(rounded(self.totals.iou_sum), self.reference_words)

    def share_within(self, milliseconds: int) -> float | None:
        """The share, in [0, 1], of the matched words' boundaries whose error is at most this.

        Args:
            milliseconds: one of `THRESHOLDS_MS`.
        """
        return _ratio(self.totals.boundaries_within[milliseconds], 2 * self.matched)

    def intervals(
        self,
        *,
        level: float = 0.95,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, Interval | None]:
        """Bootstrap intervals over utterances, under the names and in the units of `as_row`.

        Args:
            level: the confidence, in (0, 1).
            resamples: how many times to draw, ≥ 1.
            seed: of the random generator.

        Raises:
            ValueError: a level or a number of resamples out of range.
            ImportError: NumPy is not installed.
        """
        words, guesses, matched, near, strict, overlap, seconds, iou, errors = self._groups.sums.T
        ratios = {
            "start_f1": (200 * near, words + guesses),
            "strict_f1_20ms": (200 * strict, words + guesses),
            "idr": (100 * overlap, seconds),
            "iou": (100 * iou, words),
            "coverage": (100 * matched, words),
            "boundary_mae_ms": (1000 * errors, 2 * matched),
        }
        found = bootstrap_ratios(list(ratios.values()), level=level, resamples=resamples, seed=seed)
        return dict(zip(ratios, found, strict=True))

    def as_row(self) -> dict[str, float | int | None]:
        """Every metric, shares in percent and errors in milliseconds, with their counts."""
        if self._row is None:
            self._row = self._counted_row()
        return dict(self._row)

    def _counted_row(self) -> dict[str, float | int | None]:
        row: dict[str, float | int | None] = {}
        starts, ends = self.totals.start_size, self.totals.end_size
        for kind, size, errors in (
            ("boundary", starts + ends, [self._starts, self._ends]),
            ("start", starts, [self._starts]),
            ("end", ends, [self._ends]),
        ):
            row[f"{kind}_mae_ms"] = _milliseconds(_ratio(rounded(size), sum(map(len, errors))))
            row[f"{kind}_median_ms"] = _milliseconds(median(*errors))
        for kind, error in (("start", self.totals.start_error), ("end", self.totals.end_error)):
            row[f"{kind}_bias_ms"] = _milliseconds(_ratio(rounded(error), self.matched))
        for milliseconds in THRESHOLDS_MS:
            row[f"within_{milliseconds}ms"] = _percent(self.share_within(milliseconds))
        row |= {
            "start_precision": _percent(self.start_precision),
            "start_recall": _percent(self.start_recall),
            "start_f1": _percent(self.start_f1),
            "strict_f1_20ms": _percent(self.strict_f1),
            "idr": _percent(self.idr),
            "iou": _percent(self.iou),
            "coverage": _percent(self.coverage),
            "utterances": self.utterances,
            "reference_words": self.reference_words,
            "hypothesis_words": self.hypothesis_words,
            "matched_words": self.matched,
            "boundaries": 2 * self.matched,
            "starts_within_collar": self.starts_within,
            "strict_within_20ms": self.strict_within,
            "overlap_seconds": rounded(self.totals.overlap),
            "reference_seconds": rounded(self.totals.reference_seconds),
        }
        return row


def _ratio(over: float, under: float) -> float | None:
    return over / under if under else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
