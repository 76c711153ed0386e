"""Sums over utterances of what they add to the metrics of times; no division into parts changes them."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from espnet_ottc.alignment.metrics.compared_times import ComparedTimes, within
from espnet_ottc.alignment.metrics.exact import exact_sum

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

THRESHOLDS_MS = (10, 20, 25, 50, 100, 200)
# How many `utterance_columns` gives.
UTTERANCE_COLUMNS = 9


def _none_within() -> "Counter[int]":
    return Counter(dict.fromkeys(THRESHOLDS_MS, 0))


@dataclass(frozen=True)
class TimeTotals:
    """Counts, and exact sums of seconds as `exact_sum` has them.

    Attributes:
        utterances: how many.
        reference_words, hypothesis_words, matched, starts_within, strict_within: as `ComparedTimes` has them.
        overlap, reference_seconds, iou_sum: likewise.
        boundaries_within: starts and ends of matched words whose error is at most so many milliseconds.
        start_size, end_size: of the errors' sizes.
        start_error, end_error: of the errors.
    """

    utterances: int = 0
    reference_words: int = 0
    hypothesis_words: int = 0
    matched: int = 0
    starts_within: int = 0
    strict_within: int = 0
    overlap: int = 0
    reference_seconds: int = 0
    iou_sum: int = 0
    boundaries_within: "Counter[int]" = field(default_factory=_none_within)
    start_size: int = 0
    end_size: int = 0
    start_error: int = 0
    end_error: int = 0

    @classmethod
    def of(cls, compared: ComparedTimes) -> "TimeTotals":
        """Those of some utterances.

        Args:
            compared: what each adds.
        """
        import numpy as np

        starts, ends = np.array(compared.start_errors), np.array(compared.end_errors)
        near = _none_within()
        for errors in (starts, ends):
            near.update({one: int(within(errors, one / 1000).sum()) for one in THRESHOLDS_MS})
        return cls(
            utterances=len(compared.matched),
            reference_words=sum(compared.reference_words),
            hypothesis_words=sum(compared.hypothesis_words),
            matched=len(starts),
            starts_within=sum(compared.starts_within),
            strict_within=sum(compared.strict_within),
            overlap=exact_sum(np.array(compared.overlap)),
            reference_seconds=exact_sum(np.array(compared.reference_seconds)),
            iou_sum=exact_sum(np.array(compared.iou_sum)),
            boundaries_within=near,
            start_size=exact_sum(np.abs(starts)),
            end_size=exact_sum(np.abs(ends)),
            start_error=exact_sum(starts),
            end_error=exact_sum(ends),
        )

    def __add__(self, other: "TimeTotals") -> "TimeTotals":
        names = [one.name for one in fields(self) if one.name != "boundaries_within"]
        near = _none_within()
        near.update(self.boundaries_within)
        near.update(other.boundaries_within)
        sums: dict[str, Any] = {one: getattr(self, one) + getattr(other, one) for one in names}
        return TimeTotals(**sums, boundaries_within=near)


def utterance_columns(compared: ComparedTimes) -> "list[npt.NDArray[np.float64]]":
    """What each utterance adds to the sums of which ratios have intervals, (N,) each.

    Args:
        compared: some utterances.

    Returns:
        Words of reference and hypothesis, matched words, starts within the collar, starts and ends within
        20 ms, overlap, seconds of the reference, intersection over union, and sizes of errors.
    """
    import numpy as np

    return [
        np.array(column, float)
        for column in (
            *(compared.reference_words, compared.hypothesis_words, compared.matched),
            *(compared.starts_within, compared.strict_within, compared.overlap),
            *(compared.reference_seconds, compared.iou_sum, compared.absolute_error),
        )
    ]
