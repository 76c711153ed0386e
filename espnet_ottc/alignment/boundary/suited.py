"""Settings that suit what is learned from.

Where a few words come again and again, as digits or commands do, sharp times are found from a plain flat
start, and each word has letters of its own.  With more words, shares of the frames need Gaussians to become
words, and letters that have been learned alone are then learned between their neighbours.  As long as words
come often, each letter is heard in few surroundings, and a single frame tells the letters apart.  In free
text nearly every word is new: there a frame needs its neighbours, too.  What sees them hears a word before
it begins and after it has ended; a network of single frames beside it says when.  And there letters have
to know the word beside theirs; where words come often, they hear enough within their own.

Letters between their neighbours are found late where two words meet; phones of a dictionary less so, and
they bear a wider view.  Few words of two or three phones find nothing from a plain start: they need
Gaussians, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.units import Pronunciations

# Different words up to which texts are a few words again and again.
A_FEW_WORDS = 50
# Uses of a word, in the mean over the different words, below which texts are free.  Digits have 20 and more,
# sentences of 200 words 90, an hour of read books 3.
FREE_TEXT_USES = 10.0


def _stages_in_context(frames: int, within_words: int) -> list[dict[str, int | bool]]:
    """Rounds of letters alone, then between their neighbours, first within words alone."""
    alone = {"rounds": 6, "epochs": 2, "context": frames}
    inside = {**alone, "rounds": within_words, "neighbours": 2}
    across = {**inside, "rounds": 6 - within_words, "across_words": True}
    return [alone, inside, across] if within_words else [alone, across]


# What texts have in place of `BoundaryConfig`'s defaults.
MANY_WORDS: Mapping[str, Any] = {
    **{"durations": 1.0, "gaussian_rounds": 16, "least_steps": 1},
    "own_units": 0,
    "learns_quiet": False,
    "boundary_scale": 0.5,
    "join_shift": 0.004,
    "stages": [{"rounds": 12, "epochs": 2}, {"rounds": 5, "epochs": 1, "neighbours": 2}],
}
FREE_TEXT: Mapping[str, Any] = {
    **MANY_WORDS,
    "join_shift": 0.008,
    "window": 0.025,
    "noise": 0.25,
    "narrow_epochs": 10,
    # Letters alone say less well than phones which words meet.
    "stages": _stages_in_context(2, within_words=1),
}
FREE_TEXT_IN_PHONES: Mapping[str, Any] = {
    **FREE_TEXT,
    "stages": _stages_in_context(3, within_words=0),
}
# Of `join_shift`, where a lexicon has the words' phones; nothing of it where words are phones.
_OF_PHONES = 0.5


def suited_config(
    texts: Iterable[Sequence[str]],
    values: Mapping[str, Any] | None = None,
    lexicon: Pronunciations | None = None,
) -> BoundaryConfig:
    """The settings for some texts.

    Args:
        texts: the words of each utterance.
        values: of fields of `BoundaryConfig` that are given, in JSON's types; they go before what suits.
        lexicon: the words' pronunciations; None where they are spelled by letters.

    Raises:
        ValueError: unknown fields, or values out of range.
    """
    words = [word for text in texts for word in text]
    different = len(set(words))
    # Words that are phones, each by itself.
    whole = lexicon is not None and all(lexicon.get(word) == ((word,),) for word in words)
    few = different <= A_FEW_WORDS and (lexicon is None or whole)
    suits: Mapping[str, Any] = {} if few else MANY_WORDS
    if len(words) < FREE_TEXT_USES * different:
        suits = FREE_TEXT if lexicon is None else FREE_TEXT_IN_PHONES
    if lexicon is not None:
        shift = 0.0 if whole else _OF_PHONES * suits.get("join_shift", 0.0)
        suits = {**suits, "join_shift": shift}
    if whole:
        # Closures are words themselves, as TIMIT has them, and as quiet as silence.
        suits = {**suits, "quiet_score": 0.0}
    return BoundaryConfig.from_json({**suits, **(values or {})})
