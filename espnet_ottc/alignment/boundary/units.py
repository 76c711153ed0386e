"""From words to the units that have states of their own: letters of any script, or a lexicon's phones."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats.kaldi import fields_of, numbered_lines

SILENCE = "<sil>"
# What rare letters and words without letters are.
OTHER = "<other>"
_MOST_SPELLINGS = 8
_VARIANT = re.compile(r"(?<=.)\(\d+\)$")
_PROBABILITY = re.compile(r"\d*\.\d+(?:[eE][-+]?\d+)?")
Pronunciations = Mapping[str, tuple[tuple[str, ...], ...]]

_VOWELS = set("aeiouyæøœıəɨɪʊаеёиоуыэюяієїαεηιουω")
_STOPS = set("bcdgkpqtбвгдкптцчβγδκπτ")
_HISSES = set("fhjsvxzçšžßжзсфхшщσςφχζξψθ")


def letters(word: str) -> tuple[str, ...]:
    """The letters and digits of a word, without case; marks belong to the letter before them.

    Unicode decides what is a letter (categories L and N) and what a mark (M); both are in their composed
    compatibility form (NFKC).  Punctuation and symbols are no sounds.
    """
    found: list[str] = []
    for character in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold()):
        kind = unicodedata.category(character)[0]
        if kind in "LN":
            found.append(character)
        elif kind == "M" and found:
            # A mark that is written twice is one.
            found[-1] = found[-1].removesuffix(character) + character
    return tuple(found)


def read_lexicon(path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Read `WORD phone phone ...` lines; further lines of a word are further pronunciations.

    What CMUdict, Kaldi and MFA write besides is no phone: comments, `(2)` behind a word, probabilities before
    the phones.

    Raises:
        ValueError: a line without phones, or no line at all; bytes that are not UTF-8.
        OSError: the file cannot be read.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for number, line in numbered_lines(path):
        if line.startswith(";;;"):
            continue
        word, *phones = fields_of(line)
        word = _VARIANT.sub("", word)
        phones = phones[: phones.index("#")] if "#" in phones else phones
        while phones and _PROBABILITY.fullmatch(phones[0]):
            del phones[0]
        if not phones:
            raise ValueError(f"{path}:{number}: a word needs phones, got {line!r}")
        variants = found.setdefault(word, [])
        if tuple(phones) not in variants:
            variants.append(tuple(phones))
    if not found:
        raise ValueError(f"{path}: a lexicon must have a line")
    return {word: tuple(variants) for word, variants in found.items()}


class Units:
    """The inventory of units, and how words are spelled in it.

    Args:
        known: the units besides silence, in order.
        lexicon: pronunciations; None spells by letters.

    Attributes:
        names: `known`, then `OTHER` if it is not among them, then silence.
    """

    def __init__(self, known: Sequence[str], lexicon: Pronunciations | None = None) -> None:
        inner = list(known)
        if OTHER not in inner:
            inner.append(OTHER)
        self.names = (*inner, SILENCE)
        self.lexicon = None if lexicon is None else dict(lexicon)
        self._index = {name: i for i, name in enumerate(self.names)}
        self._folded = {} if lexicon is None else {word.casefold(): word for word in lexicon}

    @classmethod
    def of(
        cls, texts: Iterable[Sequence[str]], least_count: int, lexicon: Pronunciations | None = None
    ) -> "Units":
        """The units of texts.

        Args:
            texts: words of each utterance.
            least_count: a unit that occurs less often is its letter without marks if that occurs as often,
                else `OTHER`.
            lexicon: pronunciations; a word that it lacks is spelled by letters.
        """
        spelling = cls((), lexicon)
        counts = Counter(
            unit
            for words in texts
            for word in words
            for spelled in spelling.raw(word)
            for unit in spelled
        )
        bare: Counter[str] = Counter()
        for unit, count in counts.items():
            bare[unit if count >= least_count else _without_marks(unit)] += count
        known = sorted(unit for unit, count in bare.items() if count >= least_count and unit)
        return cls(known, lexicon)

    @property
    def silence(self) -> int:
        """The index of silence."""
        return len(self.names) - 1

    def raw(self, word: str) -> tuple[tuple[str, ...], ...]:
        """The spellings of a word before rare units are taken together; at least one, none is empty.

        Args:
            word: what is said for it; of several words, such as a number's, the spellings are joined.
        """
        spellings: list[tuple[str, ...]] = [()]
        for part in word.split():
            spellings = [left + right for left in spellings for right in self._one(part)]
            # a number of many words with two pronunciations each
            spellings = spellings[:_MOST_SPELLINGS]
        return tuple(spelled or (OTHER,) for spelled in spellings)

    def _one(self, word: str) -> tuple[tuple[str, ...], ...]:
        if self.lexicon is not None:
            entry = word if word in self.lexicon else self._folded.get(word.casefold())
            if entry is not None:
                return self.lexicon[entry]
        return (letters(word),)

    def spell(self, word: str) -> tuple[tuple[int, ...], ...]:
        """The spellings of a word as indices into `names`."""
        return tuple(tuple(self._place(unit) for unit in units) for units in self.raw(word))

    def pooled(self) -> tuple[int, ...]:
        """For each unit, the first unit that sounds alike: vowels, stops, hisses, the rest, silence."""
        kinds = [_kind(name) for name in self.names]
        return tuple(kinds.index(kind) for kind in kinds)

    def _place(self, unit: str) -> int:
        for name in (unit, _without_marks(unit)):
            if name in self._index:
                return self._index[name]
        return self._index[OTHER]


def _without_marks(unit: str) -> str:
    parts = unicodedata.normalize("NFD", unit)
    return "".join(c for c in parts if unicodedata.category(c)[0] != "M")


def _kind(name: str) -> str:
    if name == SILENCE:
        return "silence"
    first = _without_marks(name)[:1].casefold()
    for kind, members in (("vowel", _VOWELS), ("stop", _STOPS), ("hiss", _HISSES)):
        if first in members:
            return kind
    return "rest"
