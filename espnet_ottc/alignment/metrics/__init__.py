"""Metrics of words and times; docs/mathematics/metrics.md has each as a formula with a worked example."""

from espnet_ottc.alignment.metrics.alignment import AlignmentScores
from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratio, bootstrap_ratios
from espnet_ottc.alignment.metrics.compared_times import (
    ComparedTimes,
    compare_spans,
    compare_tables,
)
from espnet_ottc.alignment.metrics.pairs import pair_by_id
from espnet_ottc.alignment.metrics.peakiness import Peakiness, silence_seconds, uncovered_seconds
from espnet_ottc.alignment.metrics.words import (
    ErrorCounts,
    ErrorTotals,
    characters,
    count_edits,
    count_errors,
    error_interval,
)

__all__ = [
    "AlignmentScores",
    "ComparedTimes",
    "ErrorCounts",
    "ErrorTotals",
    "Interval",
    "Peakiness",
    "bootstrap_ratio",
    "bootstrap_ratios",
    "characters",
    "compare_spans",
    "compare_tables",
    "count_edits",
    "count_errors",
    "error_interval",
    "pair_by_id",
    "silence_seconds",
    "uncovered_seconds",
]
