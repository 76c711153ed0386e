"""Settings that suit what is learned from.

Where a few words come again and again, as digits or commands do, sharp times are found from a plain flat
start, and each word has letters of its own.  With more words, shares of the frames need Gaussians to become
words, and letters that have been learned alone are then learned between their neighbours.  As long as words
come often, each letter is heard in few surroundings, and a single frame tells the letters apart.  In free
text nearly every word is new: there a frame needs its neighbours, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espnet_ottc.alignment.boundary.config import BoundaryConfig

# Different words up to which texts are a few words again and again.
A_FEW_WORDS = 50
# Uses of a word, in the mean over the different words, below which texts are free.  Digits have 20 and more,
# sentences of 200 words 90, an hour of read books 3.
FREE_TEXT_USES = 10.0
# What texts have in place of `BoundaryConfig`'s defaults.
MANY_WORDS: Mapping[str, Any] = {
    **{"durations": 1.0, "gaussian_rounds": 16, "least_steps": 1},
    "own_units": 0,
    "join_shift": 0.004,
    "stages": [{"rounds": 12, "epochs": 2}, {"rounds": 5, "epochs": 1, "neighbours": 2}],
}
FREE_TEXT: Mapping[str, Any] = {
    **MANY_WORDS,
    "join_shift": 0.008,
    "window": 0.025,
    "noise": 0.25,
    "stages": [
        {"rounds": 6, "epochs": 2, "context": 2},
        {"rounds": 6, "epochs": 2, "context": 2, "neighbours": 2},
    ],
}


def suited_config(
    texts: Iterable[Sequence[str]], values: Mapping[str, Any] | None = None
) -> BoundaryConfig:
    """The settings for some texts.

    Args:
        texts: the words of each utterance.
        values: of fields of `BoundaryConfig` that are given, in JSON's types; they go before what suits.

    Raises:
        ValueError: unknown fields, or values out of range.
    """
    words = [word for text in texts for word in text]
    different = len(set(words))
    suits: Mapping[str, Any] = {} if different <= A_FEW_WORDS else MANY_WORDS
    if len(words) < FREE_TEXT_USES * different:
        suits = FREE_TEXT
    return BoundaryConfig.from_json({**suits, **(values or {})})
