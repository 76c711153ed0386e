"""Scoring of words and of their times: functions that return a report, as JSON or as a table."""

from espnet_ottc.alignment.scoring.dialects import AUTO, DIALECTS, SILENCES
from espnet_ottc.alignment.scoring.folding import Folding, read_folding
from espnet_ottc.alignment.scoring.glm import GlobalMapping, read_glm
from espnet_ottc.alignment.scoring.options import ScoringOptions
from espnet_ottc.alignment.scoring.time_counts import TimesScoringOptions
from espnet_ottc.alignment.scoring.times import (
    TimesReport,
    score_time_files,
    score_times,
)
from espnet_ottc.alignment.scoring.word_counts import WordScoringOptions
from espnet_ottc.alignment.scoring.words import (
    ErrorRate,
    WordReport,
    score_word_files,
    score_words,
)

__all__ = [
    "AUTO",
    "DIALECTS",
    "SILENCES",
    "ErrorRate",
    "Folding",
    "GlobalMapping",
    "ScoringOptions",
    "TimesReport",
    "TimesScoringOptions",
    "WordReport",
    "WordScoringOptions",
    "read_folding",
    "read_glm",
    "score_time_files",
    "score_times",
    "score_word_files",
    "score_words",
]
