"""Texts split into words, as they are given."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

from espnet_ottc.utils.extras import require_extra

# Scripts that write no spaces between words: each character is a unit of its own.
UNSPACED = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
# A no-break space (of any width) inside a number belongs to it: 3 000,50 in French.
_NO_BREAK = "\u00a0\u2007\u202f"
_WORD = re.compile(rf"(?:\S|(?<=\d)[{_NO_BREAK}](?=\d))+")
# What transcripts write for sounds that are no words: [laughter], <eps>, [background noise].
_NOTE = re.compile(r"\[[^\[\]\n]*\]|<(?=[^\s<>])[^<>\n]*>")
_SENTENCE_END = re.compile(r"[.!?…。！？؟।]['\"”’»)\]]*$")


@dataclass(frozen=True)
class GivenWord:
    """A word of a text, letter for letter.

    Attributes:
        text: the word with all that stands beside it without a space; not empty.
        said: the same without notes of transcripts (see `without_notes`); may be empty.
        start: its first character's place in the text, counted from 0.
        end: the place after its last character.
        sentence: index of its sentence, counted from 0.
    """

    text: str
    said: str
    start: int
    end: int
    sentence: int


def without_notes(text: str) -> str:
    """A text without what stands in square or angle brackets on one line."""
    return _NOTE.sub("", text)


def split_words(text: str) -> list[GivenWord]:
    """The words of a text; between them stands white space alone, or nothing in scripts without spaces.

    A character of a script without spaces (Chinese, Japanese, Thai, ...) is a word, with its marks and the
    punctuation after it.  A sentence ends at a line's end, and after a word that closes with `.`, `!`, `?`,
    `…` or what other scripts write for them.  What nobody sees, as a zero-width space alone, is no word.

    Args:
        text: any.

    Raises:
        ImportError: the package `regex` is not installed.
    """
    words: list[GivenWord] = []
    sentence = 0
    last = 0
    noted = {place for note in _NOTE.finditer(text) for place in range(*note.span())}
    for match in _WORD.finditer(text):
        run = match.group()
        if not run.isascii() and all(unicodedata.category(one) == "Cf" for one in run):
            continue
        if words and ("\n" in text[last : match.start()] or _SENTENCE_END.search(words[-1].text)):
            sentence += 1
        last = match.end()
        start = match.start()
        for piece in _pieces(run):
            if words and words[-1].end == start and _SENTENCE_END.search(words[-1].text):
                sentence += 1
            end = start + len(piece)
            said = piece
            if noted:
                said = "".join(text[place] for place in range(start, end) if place not in noted)
            words.append(GivenWord(piece, said, start, end, sentence))
            start = end
    return words


def _pieces(word: str) -> list[str]:
    """A run without white space as one word, or as the characters of a script without spaces."""
    if word.isascii():
        return [word]
    pieces: list[str] = []
    for found in _units().finditer(word):
        unit = found.group()
        # Punctuation that closes belongs to the character before it, and other punctuation to the one after.
        while pieces and unit and unicodedata.category(unit[0]) in ("Pe", "Pf", "Po"):
            pieces[-1] += unit[0]
            unit = unit[1:]
        if not unit:
            continue
        silent = not any(character.isalnum() for character in unit)
        opened = pieces and not any(character.isalnum() for character in pieces[-1])
        if pieces and (silent or opened):
            pieces[-1] += unit
        else:
            pieces.append(unit)
    return pieces


@cache
def _units() -> Any:
    require_extra("align", "a text in any script", ("regex",))
    import regex

    scripts = "".join(rf"\p{{Script={name}}}" for name in UNSPACED)
    # A character with its marks (and the marks that lengthen one), or a run of anything else.
    return regex.compile(rf"(?=[{scripts}])\X[ーｰ]?|(?:(?![{scripts}])\X)+")
