"""Metrics of word (or phone) times against a reference."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratio
from espnet_ottc.alignment.metrics.edit_distance import edit_alignment
from espnet_ottc.alignment.spans import Span

COLLAR = 0.2
STRICT = 0.02
THRESHOLDS_MS = (10, 20, 25, 50, 100)

# Decimal times are not exact in binary: an error of exactly the collar counts as within it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class UtteranceTimes:
    """What one utterance adds to the metrics.

    Attributes:
        reference_words: words of the reference.
        hypothesis_words: words of the hypothesis.
        starts_within: matched words whose start lies within the collar.
        strict_within: matched words whose start and end both lie within 20 ms.
        overlap: seconds that matched words share with their references.
        reference_seconds: seconds of all reference words, matched or not.
        iou_sum: Σ of intersection over union of matched words.
        start_errors: seconds, hypothesis − reference, of each matched word in order.
        end_errors: likewise for ends.
    """

    reference_words: int
    hypothesis_words: int
    starts_within: int
    strict_within: int
    overlap: float
    reference_seconds: float
    iou_sum: float
    start_errors: tuple[float, ...]
    end_errors: tuple[float, ...]

    @property
    def matched(self) -> int:
        """Reference words that found their time."""
        return len(self.start_errors)

    @property
    def absolute_error(self) -> float:
        """Σ |error| over starts and ends, seconds."""
        return sum(map(abs, self.start_errors)) + sum(map(abs, self.end_errors))


def match_words(reference: Sequence[Span], hypothesis: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of a reference word and its hypothesis.

    By order where the two texts agree, else the correct words of a minimum edit-distance alignment; of
    alignments with as few edits, the one whose words lie nearest in time.  A substituted word is another word
    and has no time.

    Args:
        reference: in order of time.
        hypothesis: likewise.

    Raises:
        ImportError: NumPy is not installed, and the texts differ.
    """
    words = [span.symbol for span in reference]
    guesses = [span.symbol for span in hypothesis]
    # The edit distance would find the same pairs, with a table of |R| times |H| cells.
    if words == guesses:
        return list(zip(reference, hypothesis, strict=True))
    return [
        (reference[left], hypothesis[right])
        for left, right in edit_alignment(
            words, guesses, times=(_middles(reference), _middles(hypothesis))
        )
        if left is not None and right is not None and words[left] == guesses[right]
    ]


def _middles(spans: Sequence[Span]) -> list[float]:
    return [(span.start + span.end) / 2 for span in spans]


def compare_spans(
    reference: Sequence[Span],
    hypothesis: Sequence[Span],
    *,
    collar: float = COLLAR,
) -> UtteranceTimes:
    """Compare the word spans of one utterance.

    Args:
        reference: in order of time.
        hypothesis: in order of time.
        collar: seconds by which a start may be off.

    Raises:
        ValueError: a collar that is negative or not finite.
        ImportError: NumPy is not installed, and the texts differ.
    """
    if not 0 <= collar < float("inf"):
        raise ValueError(f"collar must be a finite number of seconds >= 0, got {collar}")
    pairs = match_words(reference, hypothesis)
    starts = tuple(guess.start - word.start for word, guess in pairs)
    ends = tuple(guess.end - word.end for word, guess in pairs)
    return UtteranceTimes(
        reference_words=len(reference),
        hypothesis_words=len(hypothesis),
        starts_within=sum(_within(start, collar) for start in starts),
        strict_within=sum(
            _within(start, STRICT) and _within(end, STRICT)
            for start, end in zip(starts, ends, strict=True)
        ),
        overlap=sum(overlap(word, guess) for word, guess in pairs),
        reference_seconds=sum(word.duration for word in reference),
        iou_sum=sum(intersection_over_union(word, guess) for word, guess in pairs),
        start_errors=starts,
        end_errors=ends,
    )


def overlap(first: Span, second: Span) -> float:
    """Seconds that two spans share."""
    return max(min(first.end, second.end) - max(first.start, second.start), 0.0)


def intersection_over_union(first: Span, second: Span) -> float:
    """Shared seconds over the seconds either covers, in [0, 1]; 1 for two equal empty spans."""
    shared = overlap(first, second)
    union = first.duration + second.duration - shared
    if union == 0:
        return float(first.start == second.start)
    return shared / union


@dataclass(frozen=True)
class AlignmentScores:
    """The metrics of some utterances; shares are fractions, None where there is nothing to count.

    Words without a time count against recall, IDR, IoU and coverage; boundary errors know only
    matched words, so read them beside coverage.
    """

    utterances: tuple[UtteranceTimes, ...]

    @classmethod
    def of(cls, utterances: Iterable[UtteranceTimes]) -> "AlignmentScores":
        """The scores of some utterances, one of `compare_spans` each."""
        return cls(tuple(utterances))

    @property
    def reference_words(self) -> int:
        """Words of the references."""
        return sum(u.reference_words for u in self.utterances)

    @property
    def hypothesis_words(self) -> int:
        """Words of the hypotheses."""
        return sum(u.hypothesis_words for u in self.utterances)

    @property
    def matched(self) -> int:
        """Reference words that found their time."""
        return sum(u.matched for u in self.utterances)

    @property
    def starts_within(self) -> int:
        """Matched words whose start lies within the collar."""
        return sum(u.starts_within for u in self.utterances)

    @property
    def strict_within(self) -> int:
        """Matched words whose start and end lie within 20 ms."""
        return sum(u.strict_within for u in self.utterances)

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
        return _ratio(
            sum(u.overlap for u in self.utterances),
            sum(u.reference_seconds for u in self.utterances),
        )

    @property
    def iou(self) -> float | None:
        """Mean intersection over union over all reference words, 0 for a word without a time."""
        return _ratio(sum(u.iou_sum for u in self.utterances), self.reference_words)

    def errors(self, *, starts: bool = True, ends: bool = True) -> list[float]:
        """|error| in seconds of the matched words' boundaries.

        Args:
            starts: with the starts.
            ends: with the ends.
        """
        return [
            abs(error)
            for u in self.utterances
            for error in (*(u.start_errors if starts else ()), *(u.end_errors if ends else ()))
        ]

    def share_within(self, milliseconds: float) -> float | None:
        """The share, in [0, 1], of the matched words' boundaries whose error is at most this.

        Args:
            milliseconds: the largest error that counts.
        """
        errors = self.errors()
        return _ratio(sum(_within(error, milliseconds / 1000) for error in errors), len(errors))

    def intervals(
        self, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
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
        us = self.utterances
        words = [float(u.reference_words) for u in us]
        both = [float(u.reference_words + u.hypothesis_words) for u in us]
        ratios: dict[str, tuple[list[float], list[float]]] = {
            "start_f1": ([200.0 * u.starts_within for u in us], both),
            "strict_f1_20ms": ([200.0 * u.strict_within for u in us], both),
            "idr": ([100 * u.overlap for u in us], [u.reference_seconds for u in us]),
            "iou": ([100 * u.iou_sum for u in us], words),
            "coverage": ([100.0 * u.matched for u in us], words),
            "boundary_mae_ms": (
                [1000 * u.absolute_error for u in us],
                [2.0 * u.matched for u in us],
            ),
        }
        return {
            name: bootstrap_ratio(over, under, level=level, resamples=resamples, seed=seed)
            for name, (over, under) in ratios.items()
        }

    def as_row(self) -> dict[str, float | int | None]:
        """Every metric, shares in percent and errors in milliseconds, with their counts."""
        row: dict[str, float | int | None] = {}
        for kind, starts, ends in (
            ("boundary", True, True),
            ("start", True, False),
            ("end", False, True),
        ):
            errors = self.errors(starts=starts, ends=ends)
            row[f"{kind}_mae_ms"] = 1000 * statistics.fmean(errors) if errors else None
            row[f"{kind}_median_ms"] = 1000 * statistics.median(errors) if errors else None
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
            "utterances": len(self.utterances),
            "reference_words": self.reference_words,
            "hypothesis_words": self.hypothesis_words,
            "matched_words": self.matched,
            "boundaries": 2 * self.matched,
            "starts_within_collar": self.starts_within,
            "strict_within_20ms": self.strict_within,
            "overlap_seconds": sum(u.overlap for u in self.utterances),
            "reference_seconds": sum(u.reference_seconds for u in self.utterances),
        }
        return row


def _within(error: float, collar: float) -> bool:
    return abs(error) <= collar + _ROUNDING


def _ratio(over: float, under: float) -> float | None:
    return over / under if under else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
