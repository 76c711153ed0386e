"""From words to the units that have states of their own: letters of any script, or a lexicon's phones."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats.kaldi import fields_of, numbered_lines
from espnet_ottc.alignment.text.spelling import WILDCARD

SILENCE = "<sil>"
# Words of texts of phones that are silence: TIMIT's, HTK's and MFA's, BAS's.
PAUSES = frozenset({"h#", "pau", "epi", "sil", "sp", "SIL", "<p:>"})
# What rare letters and words without letters are.
OTHER = "<other>"
# What nobody can spell; it stands behind all names, and only in searches.
ANYTHING = "<wildcard>"
_MOST_SPELLINGS = 8
_VARIANT = re.compile(r"(?<=.)\(\d+\)$")
_PROBABILITY = re.compile(r"\d*\.\d+(?:[eE][-+]?\d+)?")
# Between a unit's symbol and the word or the neighbours that it belongs to; neither letters nor phones hold
# one.
_OF = " "
# Between neighbours; beside a word's first and last unit is its edge.
_BESIDE, _EDGE = "<>", "#"
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

    A word that comes again and again may have units of its own: the E of NINE is silent, that of SEVEN is
    not.  Elsewhere its letters are other units.

    Args:
        known: the units besides silence, in order; names of units of a word are those that `of` gave them.
            Models of before have units beside neighbours, too: "e n<>#" is the last E of a word behind N.
        lexicon: pronunciations; None spells by letters.

    Attributes:
        names: `known`, then `OTHER` if it is not among them, then silence.
        symbols: of each the letter or phone, without the word or the neighbours that it belongs to.
    """

    def __init__(self, known: Sequence[str], lexicon: Pronunciations | None = None) -> None:
        inner = list(known)
        if OTHER not in inner:
            inner.append(OTHER)
        self.names = (*inner, SILENCE)
        self.symbols = tuple(name.split(_OF)[0] for name in self.names)
        self.lexicon = None if lexicon is None else dict(lexicon)
        self._index = {name: i for i, name in enumerate(self.names)}
        # A letter that is heard in such places alone is elsewhere what it is in the first of them.
        for i, symbol in enumerate(self.symbols):
            self._index.setdefault(symbol, i)
        parts = [name.split(_OF) for name in self.names]
        self._own = {name[1] for name in parts if len(name) == len(("unit", "word", "place"))}
        self._beside = {
            _OF.join(name) for name in parts if len(name) == len(("unit", "neighbours"))
        }
        self._folded = {} if lexicon is None else {word.casefold(): word for word in lexicon}

    @classmethod
    def of(
        cls,
        texts: Iterable[Sequence[str]],
        least_count: int,
        lexicon: Pronunciations | None = None,
        *,
        own_uses: int = 0,
        own_units: int = 0,
    ) -> "Units":
        """The units of texts.

        Args:
            texts: words of each utterance.
            least_count: a unit that occurs less often is its letter without marks if that occurs as often,
                else `OTHER`.
            lexicon: pronunciations; a word that it lacks is spelled by letters.
            own_uses: how often a word occurs at least that has units of its own.
            own_units: at most so many, of the words that occur most; 0 for none.
        """
        spelling = cls((), lexicon)
        parts = Counter(part for words in texts for word in words for part in word.split())
        uses: Counter[str] = Counter()
        for part, count in parts.items():
            uses[spelling.heard_as(part)] += count
        found: dict[str, set[str]] = {}
        for part in sorted(parts, key=lambda one: (-uses[spelling.heard_as(one)], one)):
            key = spelling.heard_as(part)
            if uses[key] >= own_uses and key not in found:
                own = {name for spelt in spelling.alone(part) for name in _of_word(spelt, key)}
                if sum(map(len, found.values())) + len(own) > own_units:
                    break
                found[key] = own
        alone: Counter[str] = Counter()
        for part, count in parts.items():
            if spelling.heard_as(part) not in found:
                for unit in itertools.chain.from_iterable(spelling.alone(part)):
                    alone[unit] += count
        bare: Counter[str] = Counter()
        for unit, count in alone.items():
            bare[unit if count >= least_count else _without_marks(unit)] += count
        known = sorted(unit for unit, count in bare.items() if count >= least_count and unit)
        return cls([*known, *(name for own in found.values() for name in sorted(own))], lexicon)

    @property
    def silence(self) -> int:
        """The index of silence."""
        return len(self.names) - 1

    @property
    def other(self) -> int:
        """The index of `OTHER`."""
        return self.names.index(OTHER)

    @property
    def anything(self) -> int:
        """The index of `ANYTHING`."""
        return len(self.names)

    def raw(self, word: str, *, wildcards: bool = False) -> tuple[tuple[str, ...], ...]:
        """The spellings of a word before rare units are taken together; at least one, none is empty.

        Args:
            word: what is said for it; of several words, such as a number's, the spellings are joined.
            wildcards: spell wildcards by `ANYTHING`; else nothing is said for them.
        """
        spellings: list[tuple[str, ...]] = [()]
        for part in word.split():
            found = self.alone(part)
            if wildcards and WILDCARD in part:
                found = (_with_wildcards(part),)
            elif (key := self.heard_as(part)) in self._own:
                found = tuple(_of_word(units, key) for units in found)
            elif self._beside:
                found = tuple(tuple(map(self._among, _beside(units))) for units in found)
            spellings = [left + right for left in spellings for right in found]
            # a number of many words with two pronunciations each
            spellings = spellings[:_MOST_SPELLINGS]
        return tuple(spelled or (OTHER,) for spelled in spellings)

    def heard_as(self, word: str) -> str:
        """What words share that are one word to the ear: case and punctuation are not heard."""
        entry = self._entry(word)
        return "".join(letters(word)) if entry is None else entry.casefold()

    def alone(self, word: str) -> tuple[tuple[str, ...], ...]:
        """The spellings of a word without spaces in letters or phones, be they its own or not."""
        entry = self._entry(word)
        return (letters(word),) if entry is None or self.lexicon is None else self.lexicon[entry]

    def _entry(self, word: str) -> str | None:
        if self.lexicon is None:
            return None
        return word if word in self.lexicon else self._folded.get(word.casefold())

    def spell(self, word: str, *, wildcards: bool = False) -> tuple[tuple[int, ...], ...]:
        """The spellings of a word as indices into `names`, and `anything`; see `raw`."""
        spelled = self.raw(word, wildcards=wildcards)
        return tuple(tuple(self._place(unit) for unit in units) for units in spelled)

    def pooled(self) -> tuple[int, ...]:
        """For each unit, the first unit that sounds alike: vowels, stops, hisses, the rest, silence."""
        kinds = [_kind(name) for name in self.names]
        return tuple(kinds.index(kind) for kind in kinds)

    def _among(self, names: Sequence[str]) -> str:
        """The first that is a unit; else the last, which is the unit by itself."""
        return next((name for name in names if name in self._beside), names[-1])

    def _place(self, unit: str) -> int:
        if unit == ANYTHING:
            return self.anything
        symbol = unit.split(_OF)[0]
        for name in (unit, symbol, _without_marks(symbol)):
            if name in self._index:
                return self._index[name]
        return self._index[OTHER]


def _of_word(units: Sequence[str], word: str) -> tuple[str, ...]:
    """The names of a word's own units; one that it has twice is two."""
    return tuple(
        f"{unit}{_OF}{word}{_OF}{units[:place].count(unit)}" for place, unit in enumerate(units)
    )


def _beside(units: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Of each unit its names between its neighbours, before one, behind one, and by itself."""
    edged = (_EDGE, *units, _EDGE)
    for before, unit, behind in zip(edged, units, edged[2:], strict=False):
        yield (
            f"{unit}{_OF}{before}{_BESIDE}{behind}",
            f"{unit}{_OF}{_BESIDE}{behind}",
            f"{unit}{_OF}{before}{_BESIDE}",
            unit,
        )


def _with_wildcards(word: str) -> tuple[str, ...]:
    first, *others = map(letters, word.split(WILDCARD))
    return (*first, *(unit for one in others for unit in (ANYTHING, *one)))


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
