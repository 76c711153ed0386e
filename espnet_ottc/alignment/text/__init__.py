"""Texts as people have them: split into words, and spelled as a model's alphabet can."""

from espnet_ottc.alignment.text.labels import (
    GAP,
    NOBODY,
    LabelledText,
    label_text,
    owners_of,
    with_wildcard,
)
from espnet_ottc.alignment.text.numerals import check_language
from espnet_ottc.alignment.text.spelling import WILDCARD, Alphabet, SpelledWord, Speller
from espnet_ottc.alignment.text.words import GivenWord, split_words, without_notes

__all__ = [
    "GAP",
    "NOBODY",
    "WILDCARD",
    "Alphabet",
    "GivenWord",
    "LabelledText",
    "SpelledWord",
    "Speller",
    "check_language",
    "label_text",
    "owners_of",
    "split_words",
    "with_wildcard",
    "without_notes",
]
