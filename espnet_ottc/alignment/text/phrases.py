"""Numbers whose parts are words of their own: `5 %`, `3 000,50 €`, `R$ 5,00`, `$3 million`, `10 am`."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from espnet_ottc.alignment.text.amounts import CURRENCIES
from espnet_ottc.alignment.text.numerals import NUMBER, SIGNS
from espnet_ottc.alignment.text.spoken import OUTSIDE, Reader
from espnet_ottc.alignment.text.words import GivenWord

_NUMBER = re.compile(rf"[{SIGNS}]?(?:{NUMBER})(?::\d\d)?")
# Groups of three digits, each a word.
_FIRST_GROUP = re.compile(rf"[{SIGNS}]?[1-9]\d{{0,2}}")
_GROUP = re.compile(r"\d{3}")
_LAST_GROUP = re.compile(r"\d{3}[.,]\d+")
_GROUP_SIGN = "\u202f"
# A sign, and all groups of the longest number that is no row of digits.
_MOST_WORDS = 6


def read_phrases(words: Sequence[GivenWord], reader: Reader) -> dict[int, str]:
    """How the words of such numbers are said, each by its index; other words are left out.

    The word of the sign has the name of what is counted.  A sign in front has the first word that is said,
    since the name is said last.

    Args:
        words: of a text.
        reader: of its language.
    """
    found: dict[int, str] = {}
    for first, word in enumerate(words):
        # Few words have to do with a number: the others cost nothing.
        if first not in found and _may_begin(word.text):
            found |= enumerate(_said(_texts(words[first : first + _MOST_WORDS]), reader), first)
    return found


def _may_begin(text: str) -> bool:
    if text.isalpha():
        return text in CURRENCIES
    return any(unicodedata.category(one) in ("Nd", "No", "Sc") for one in text)


def _texts(words: Sequence[GivenWord]) -> list[str]:
    """The words up to the first punctuation between two of them, without that around them."""
    texts: list[str] = []
    for word in words:
        text = unicodedata.normalize("NFC", word.text)
        if texts and (text[0] in OUTSIDE or word.sentence != words[0].sentence):
            break
        texts.append(text.strip(OUTSIDE).rstrip("."))
        if text[-1] in OUTSIDE + ".":
            break
    return texts


def _said(texts: Sequence[str], reader: Reader) -> list[str]:
    """What is said for each of the first words; nothing where they are no such number."""
    if len(texts) < 2 or not all(texts):
        return []
    count = _groups(texts)
    number = _GROUP_SIGN.join(texts[:count])
    if count < len(texts) and _NUMBER.fullmatch(number):
        amount = reader.amount(f"{number} {texts[count]}")
        if amount is not None:
            return [*_shared(amount.number, count), amount.unit]
    if count > 1 and reader.numerals.groups_by_spaces and (said := reader.read(number)):
        return _shared(said, count)
    if (large := reader.large(texts[0], texts[1])) is not None:
        return [large.number, large.unit]
    count = _groups(texts[1:])
    amount = reader.amount(f"{texts[0]} {_GROUP_SIGN.join(texts[1 : 1 + count])}")
    if amount is not None:
        return _shared(str(amount), 1 + count)
    if reader.has_hours(texts[0], texts[1]):
        return _shared(reader.read(texts[0]) or texts[0], 2)
    if unicodedata.category(texts[0][-1]) in ("Nd", "No") and (name := reader.name(texts[1], 2)):
        # The numbers are more than one, as in 5–10 %, or a fraction.
        return [reader.read(texts[0]) or texts[0], name]
    return []


def _groups(texts: Sequence[str]) -> int:
    """How many of the first words are one number in groups of three digits; 1 where it has none."""
    if not _FIRST_GROUP.fullmatch(texts[0]):
        return 1
    for count, text in enumerate(texts[1:], 1):
        if _LAST_GROUP.fullmatch(text):
            return count + 1
        if not _GROUP.fullmatch(text):
            return count
    return len(texts)


def _shared(said: str, count: int) -> list[str]:
    """What is said in so many parts, about equal; a word is divided where they are too few."""
    words = said.split()
    while len(words) < count:
        longest = max(range(len(words)), key=lambda index: len(words[index]))
        word = words[longest]
        words[longest : longest + 1] = [word[: len(word) // 2], word[len(word) // 2 :]]
    ends = [len(words) * number // count for number in range(count + 1)]
    return [" ".join(words[first:last]) for first, last in pairwise(ends)]
