"""Words spelled with the letters of a model's alphabet."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from espnet_ottc.alignment.text.phrases import read_phrases
from espnet_ottc.alignment.text.spoken import Reader
from espnet_ottc.alignment.text.words import split_words, without_notes

# Stands in a spelling for letters that the model does not have; no text has a use for it.
WILDCARD = "\ufffc"
APOSTROPHES = "'\u2019\u2018\u02bc\u02b9\uff07\u00b4`"
HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
# Between what are two words when spoken.
_BREAKS = frozenset(HYPHENS + "/\\_+&=<>|~@#*")
# What decomposition by Unicode leaves as it is, and Latin alphabets without the letter write so.
_LATIN = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th"}
    | {"Þ": "Th", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ı": "i", "ħ": "h", "Ħ": "H"}
)


@dataclass(frozen=True)
class Alphabet:
    """What a model can spell.

    Attributes:
        characters: its letters, and the apostrophe or punctuation if it has them; no blank, no separator.
        words: tokens that are whole words (or phones), for a model of words; empty for one of letters or
            pieces.
    """

    characters: frozenset[str]
    words: frozenset[str] = frozenset()

    def __contains__(self, character: str) -> bool:
        return character in self.characters


@dataclass(frozen=True)
class SpelledWord:
    """A given word, and how it is spelled for the model.

    Attributes:
        given: the word as it is in the text.
        spoken: the words that are said for it, in characters of the alphabet; `WILDCARD` stands for
            letters that it lacks.  Not empty.
        sentence: index of its sentence.
        glued: whether the next word follows without white space, as in scripts that write none.
    """

    given: str
    spoken: tuple[str, ...]
    sentence: int = 0
    glued: bool = False

    @property
    def has_wildcard(self) -> bool:
        """Whether the model lacks something of the word."""
        return any(WILDCARD in word for word in self.spoken)


@dataclass(frozen=True)
class Speller:
    """Spells words with an alphabet.

    Attributes:
        alphabet: of the model.
        language: code of the language (`en`, `de`, `pt-BR`) in which numbers are read, and whose letters
            are changed in case.
        romanize: gives Latin letters for a word of another script, for models with an alphabet of Latin
            letters for all languages; None where there is none.
        notes: of transcripts (`[laughter]`) that the model knows as words; others are wildcards.
    """

    alphabet: Alphabet
    language: str = "en"
    romanize: Callable[[str], str] | None = None
    notes: frozenset[str] = frozenset()
    _reader: Reader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", Reader(self.language))

    def spell_text(self, text: str) -> list[SpelledWord]:
        """Split a text into its words and spell each.

        Args:
            text: any.
        """
        words = split_words(text)
        if not words:
            return []
        ends = [*(word.start for word in words[1:]), -1]
        read = self._reads_numbers()
        phrases = read_phrases(words, self._reader) if read else {}
        return [
            replace(
                self._spelled(word.text, phrases[index], word.sentence)
                if index in phrases and word.said == word.text
                else self._spell(word.text, word.said, word.sentence),
                glued=word.end == following,
            )
            for index, (word, following) in enumerate(zip(words, ends, strict=True))
        ]

    def spell(self, word: str, sentence: int = 0) -> SpelledWord:
        """Spell one word.

        In this order: as given; Unicode's composed and decomposed forms; the other case; the other
        apostrophe; compatible forms; without marks.  Punctuation and symbols that the alphabet lacks are
        left out, hyphens and slashes divide.  Numbers, currency, dates and times are read unless the alphabet
        has digits.  A word of which nothing is left is one wildcard, and so is a note as `[laughter]`.

        Args:
            word: as given.
            sentence: index of its sentence.
        """
        return self._spell(word, without_notes(word), sentence)

    def _spell(self, word: str, said: str, sentence: int) -> SpelledWord:
        """A word of which a part is said: all but notes."""
        if word in self.notes or word in self.alphabet.words:
            said = word
        elif said != word and not any(map(str.isalnum, said)):
            return SpelledWord(word, (WILDCARD,), sentence)
        if self.alphabet.words:
            return SpelledWord(word, (self._whole(said),), sentence)
        text = unicodedata.normalize("NFC", said)
        # Most words are letters alone: neither a number nor a sign.
        return self._spelled(word, text if text.isalpha() else self._read(text), sentence)

    def _read(self, text: str) -> str:
        """How a number or a sign is said; anything else as it is."""
        if self._reads_numbers() and any(map(_is_number, text)):
            return self._reader.read(text) or text
        if any(map(_is_sign, text)) and not all(map(self.alphabet.__contains__, text)):
            return self._reader.name(text) or text
        return text

    def _spelled(self, word: str, text: str, sentence: int) -> SpelledWord:
        """A word for which a text is said."""
        if "&" in text and "&" not in self.alphabet:
            text = text.replace("&", f" {self._reader.and_word} ")
        spoken = [part for part in self._parts(text) if part]
        if self.romanize is not None and any(WILDCARD in part for part in spoken):
            spoken = [part for part in self._parts(self.romanize(text)) if part] or spoken
        return SpelledWord(word, tuple(spoken) or (WILDCARD,), sentence)

    def _reads_numbers(self) -> bool:
        """Whether numbers are spelled in letters: the alphabet has no digits, and no whole words."""
        return not self.alphabet.words and not all(map(self.alphabet.__contains__, "0123456789"))

    def _parts(self, text: str) -> Iterator[str]:
        """The spoken words of a text, each of letters and wildcards; some may be empty."""
        part = ""
        for character in text:
            if character.isspace() or (character in _BREAKS and self._form_of(character) is None):
                yield part
                part = ""
                continue
            form = self._form_of(character)
            if form is None:
                form = WILDCARD if character.isalnum() else ""
            # One wildcard stands for all letters in a row.
            part += "" if form == WILDCARD and part.endswith(WILDCARD) else form
        yield part

    def _form_of(self, character: str) -> str | None:
        """The character as the alphabet has it; None if it has it in no form."""
        for form in self._forms(character):
            if form and all(one in self.alphabet for one in form):
                return form
        return None

    def _forms(self, character: str) -> Iterator[str]:
        yield character
        decomposed = unicodedata.normalize("NFD", character)
        yield decomposed
        yield from self._cases(character)
        yield from self._cases(decomposed)
        for alike in (APOSTROPHES, HYPHENS):
            if character in alike:
                yield from alike
        compatible = unicodedata.normalize("NFKC", character)
        yield from self._cases(compatible)
        bare = _without_marks(unicodedata.normalize("NFKD", character))
        yield from self._cases(bare)
        yield from self._cases(bare.translate(_LATIN))

    def _cases(self, text: str) -> Iterator[str]:
        yield text
        if self.language.replace("_", "-").split("-")[0].lower() in ("tr", "az", "tur", "aze"):
            yield text.replace("i", "İ").replace("ı", "I").upper()
            yield text.replace("İ", "i").replace("I", "ı").lower()
        yield text.upper()
        yield text.lower()
        yield text.casefold()

    def _whole(self, word: str) -> str:
        """The word as a token; the wildcard where there is no such token."""
        text = unicodedata.normalize("NFC", word)
        bare = text.strip("".join(c for c in text if not c.isalnum()))
        for form in (word, text, bare):
            for cased in self._cases(form):
                if cased in self.alphabet.words:
                    return cased
        return WILDCARD


def _is_number(character: str) -> bool:
    return character.isdecimal() or unicodedata.category(character) == "No"


def _is_sign(character: str) -> bool:
    """Whether a sign of a currency or of a unit that is no letter."""
    return character in "%‰°" or unicodedata.category(character) == "Sc"


def _without_marks(text: str) -> str:
    return "".join(
        character for character in text if not unicodedata.category(character).startswith("M")
    )
