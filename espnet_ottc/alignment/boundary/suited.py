"""Settings that suit what is learned from.

Where few words come again and again, as digits or commands do, each letter is heard in few surroundings: a
single frame tells the letters apart, and sharp times are found from a plain flat start.  In free text nearly
every word is new.  There a frame needs its neighbours, and shares of frames need Gaussians to become words.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espnet_ottc.alignment.boundary.config import BoundaryConfig

# Uses of a word, in the mean over the different words, from which on a text counts as few words again and
# again.  Digits have 20 and more, sentences of 200 words 90, an hour of read books 3.
FEW_WORDS_USES = 10.0
# What free text has in place of `BoundaryConfig`'s defaults.
FREE_TEXT: Mapping[str, Any] = {
    "window": 0.025,
    "noise": 0.25,
    "durations": 1.0,
    "gaussian_rounds": 16,
    "stages": [{"rounds": 12, "epochs": 2, "context": 2}],
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
    suits = FREE_TEXT if is_free_text(texts) else {}
    return BoundaryConfig.from_json({**suits, **(values or {})})


def is_free_text(texts: Iterable[Sequence[str]]) -> bool:
    """Whether most words are new, instead of few words that come again and again.

    Args:
        texts: the words of each utterance.
    """
    words = [word for text in texts for word in text]
    return len(words) < FEW_WORDS_USES * len(set(words))
