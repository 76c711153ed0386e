"""Scoring of words and of their times: functions that return a report, as JSON or as a table."""

from espnet_ottc.alignment.scoring.folding import Folding, read_folding
from espnet_ottc.alignment.scoring.options import SILENCES, ScoringOptions
from espnet_ottc.alignment.scoring.times import (
    TimesReport,
    TimesScoringOptions,
    score_time_files,
    score_times,
)
from espnet_ottc.alignment.scoring.words import (
    ErrorRate,
    WordReport,
    WordScoringOptions,
    score_word_files,
    score_words,
)

__all__ = [
    "SILENCES",
    "ErrorRate",
    "Folding",
    "ScoringOptions",
    "TimesReport",
    "TimesScoringOptions",
    "WordReport",
    "WordScoringOptions",
    "read_folding",
    "score_time_files",
    "score_times",
    "score_word_files",
    "score_words",
]
