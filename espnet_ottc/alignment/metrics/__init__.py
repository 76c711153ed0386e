"""Metrics of words and times; docs/mathematics/metrics.md has each as a formula with a worked example."""

from espnet_ottc.alignment.metrics.alignment import (
    AlignmentScores,
    UtteranceTimes,
    compare_spans,
    match_words,
)
from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratio
from espnet_ottc.alignment.metrics.pairs import pair_by_id
from espnet_ottc.alignment.metrics.peakiness import Peakiness, silence_seconds
from espnet_ottc.alignment.metrics.words import (
    ErrorCounts,
    characters,
    count_errors,
    error_interval,
)

__all__ = [
    "AlignmentScores",
    "ErrorCounts",
    "Interval",
    "Peakiness",
    "UtteranceTimes",
    "bootstrap_ratio",
    "characters",
    "compare_spans",
    "count_errors",
    "error_interval",
    "match_words",
    "pair_by_id",
    "silence_seconds",
]
