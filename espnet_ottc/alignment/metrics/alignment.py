"""Metrics of word (or phone) times against a reference."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratios
from espnet_ottc.alignment.metrics.compared_times import ComparedTimes, within

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

THRESHOLDS_MS = (10, 20, 25, 50, 100, 200)


@dataclass(frozen=True)
class AlignmentScores:
    """The metrics of some utterances; shares are fractions, None where there is nothing to count.

    Words without a time count against recall, IDR, IoU and coverage; boundary errors know only
    matched words, so read them beside coverage.

    Attributes:
        compared: what each utterance adds.
    """

    compared: ComparedTimes

    @classmethod
    def of(cls, compared: Iterable[ComparedTimes]) -> "AlignmentScores":
        """The scores of all utterances together.

        Args:
            compared: some utterances each, as of `compare_spans` and `compare_tables`.
        """
        return cls(ComparedTimes.of(compared))

    @property
    def utterances(self) -> int:
        """How many there are."""
        return len(self.compared.matched)

    @property
    def reference_words(self) -> int:
        """Words of the references."""
        return sum(self.compared.reference_words)

    @property
    def hypothesis_words(self) -> int:
        """Words of the hypotheses."""
        return sum(self.compared.hypothesis_words)

    @property
    def matched(self) -> int:
        """Reference words that found their time."""
        return len(self.compared.start_errors)

    @property
    def starts_within(self) -> int:
        """Matched words whose start lies within the collar."""
        return sum(self.compared.starts_within)

    @property
    def strict_within(self) -> int:
        """Matched words whose start and end lie within 20 ms."""
        return sum(self.compared.strict_within)

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
        return _ratio(sum(self.compared.overlap), sum(self.compared.reference_seconds))

    @property
    def iou(self) -> float | None:
        """Mean intersection over union over all reference words, 0 for a word without a time."""
        return _ratio(sum(self.compared.iou_sum), self.reference_words)

    def errors(self, *, starts: bool = True, ends: bool = True) -> "npt.NDArray[np.float64]":
        """|error| in seconds of the matched words' boundaries, in no order.

        Args:
            starts: with the starts.
            ends: with the ends.
        """
        import numpy as np

        found = [np.frombuffer(self.compared.start_errors)] if starts and self.matched else []
        found += [np.frombuffer(self.compared.end_errors)] if ends and self.matched else []
        return np.abs(np.concatenate(found)) if found else np.zeros(0)

    def share_within(self, milliseconds: float) -> float | None:
        """The share, in [0, 1], of the matched words' boundaries whose error is at most this.

        Args:
            milliseconds: the largest error that counts.
        """
        errors = self.errors()
        return _ratio(int(within(errors, milliseconds / 1000).sum()), len(errors))

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
        import numpy as np

        us = self.compared
        words, guesses, near, strict, matched = (
            np.array(column, float)
            for column in (
                *(us.reference_words, us.hypothesis_words),
                *(us.starts_within, us.strict_within, us.matched),
            )
        )
        overlap, seconds, iou, errors = (
            np.array(column, float)
            for column in (us.overlap, us.reference_seconds, us.iou_sum, us.absolute_error)
        )
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
        return dict(self._row)

    @cached_property
    def _row(self) -> dict[str, float | int | None]:
        row: dict[str, float | int | None] = {}
        for kind, starts, ends in (
            ("boundary", True, True),
            ("start", True, False),
            ("end", False, True),
        ):
            errors = self.errors(starts=starts, ends=ends)
            row[f"{kind}_mae_ms"] = _milliseconds(_mean(errors))
            row[f"{kind}_median_ms"] = _milliseconds(_median(errors))
        for kind, signed in (
            ("start", self.compared.start_errors),
            ("end", self.compared.end_errors),
        ):
            row[f"{kind}_bias_ms"] = _milliseconds(_ratio(math.fsum(signed), len(signed)))
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
            "overlap_seconds": sum(self.compared.overlap),
            "reference_seconds": sum(self.compared.reference_seconds),
        }
        return row


def _ratio(over: float, under: float) -> float | None:
    return over / under if under else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _mean(values: "npt.NDArray[np.float64]") -> float | None:
    """The mean by an exact sum."""
    # A list of all would take five times the array's memory.
    return math.fsum(values.data) / len(values) if len(values) else None


def _median(values: "npt.NDArray[np.float64]") -> float | None:
    import numpy as np

    count = len(values)
    if not count:
        return None
    low, high = (count - 1) // 2, count // 2
    parted = np.partition(values, [low, high])
    return float(parted[high]) if low == high else float((parted[low] + parted[high]) / 2)
