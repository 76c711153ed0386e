"""Numbers in the words of a language.

Words come from num2words; signs of places from Babel, which has those of Unicode's CLDR.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from espnet_ottc.utils.extras import require_extra

# Beyond this, and with a zero in front, digits are said one by one.
_LONGEST = 15
# num2words lacks it.
_POINTS = {"it": "virgola"}
# Neither library has the word; elsewhere it is `plus`.
_PLUS = {"es": "más", "it": "più", "pt": "mais", "ro": "plus", "ru": "плюс", "uk": "плюс"} | {
    "ca": "més", "tr": "artı", "hu": "plusz",
}  # fmt: skip
# Fractions from ordinals: what these end with, the plural's ending, and those that are no ordinals.
_SHARES = {
    "en": ("", "s", {2: "half", 4: "quarter"}),
    "de": ("l", "", {2: "halb"}),
    "fr": ("", "s", {2: "demi", 3: "tiers", 4: "quart"}),
    "es": ("", "s", {2: "medio", 3: "tercio"}),
}
_ONE = {"de": "ein", "es": "un"}
# The dot of `1.2.3`, where a decimal sign has another name.
_DOTS = {"de": "Punkt", "fr": "point", "it": "punto", "pt": "ponto", "nl": "punt", "ru": "точка"}
_OVER = {"it": "su", "pt": "sobre", "nl": "gedeeld door", "pl": "przez", "sv": "genom"}
NUMBER = r"\d[\d.,'\u00a0\u2007\u202f’]*\d|\d"
SIGNS = "-−+"
YEAR = re.compile(r"1[1-9]\d\d|20\d\d")
# Signs between groups of three digits.
_GROUPING = re.compile(r"[\u00a0\u2007\u202f]|['’](?=\d{3}(?!\d))")


def check_language(language: str) -> None:
    """Refuse what is no code of a language.

    Args:
        language: two letters that Unicode's CLDR knows, or three, as MMS has them; a place or a script may
            follow.  Of three letters any are taken: there are thousands of languages.

    Raises:
        ValueError: another text.
    """
    require_extra("align", "a language", ("babel",))
    from babel import Locale
    from babel.core import get_global

    names = Locale.parse("en").languages
    match = re.fullmatch(r"([A-Za-z]{2,3})(?:[-_]\w+)*", language)
    code = match[1].lower() if match else ""
    if len(code) == 3 or code in names or code in get_global("language_aliases"):
        return
    meant = [code for code, name in names.items() if name.casefold() == language.casefold()]
    hint = f"; {language} is {meant[0]}" if meant else ""
    raise ValueError(
        f"the language must be a code as en, de, pt-BR or, of three letters, deu; got {language!r}{hint}"
    )


@dataclass(frozen=True)
class Numerals:
    """Numbers in words.

    Attributes:
        language: its code, as `en`, `de`, `pt-BR`.
    """

    language: str = "en"

    @cached_property
    def locale(self) -> Any:
        """Babel's; English where it has none."""
        from babel import Locale, UnknownLocaleError

        try:
            return Locale.parse(self.tag)
        except (UnknownLocaleError, ValueError):
            return Locale.parse("en")

    @property
    def has_locale(self) -> bool:
        """Whether Babel knows the language."""
        return str(self.locale.language) == self.code

    @cached_property
    def tag(self) -> str:
        """The language with `_`; of two letters where it has such a code (`deu`, as MMS has it, is `de`)."""
        from babel.core import get_global

        language, *place = self.language.replace("-", "_").split("_")
        known = get_global("language_aliases").get(language.lower(), language.lower())
        return "_".join([known, *place])

    @property
    def code(self) -> str:
        """The language without the place."""
        return self.tag.split("_")[0]

    @cached_property
    def in_num2words(self) -> str:
        """The language's name there.  It would take one that begins with the same two letters.

        Raises:
            NotImplementedError: num2words does not know the language.
        """
        from num2words import CONVERTER_CLASSES

        for name in (self.tag, self.code):
            if name in CONVERTER_CLASSES:
                return name
        raise NotImplementedError(f"num2words has no {self.language}")

    @property
    def converter(self) -> Any:
        """What num2words has for the language."""
        from num2words import CONVERTER_CLASSES

        return CONVERTER_CLASSES[self.in_num2words]

    @property
    def groups_by_spaces(self) -> bool:
        """Whether thousands are written with a space: 10 000."""
        symbols = self.locale.number_symbols
        return str(symbols.get("latn", symbols).get("group", "")).isspace()

    def words(self, number: int | Decimal, kind: str = "cardinal") -> str:
        """A number as num2words has it; `kind` is its `to`.

        Raises:
            NotImplementedError: it cannot say the number in the language.
        """
        if kind == "year" and not hasattr(self.converter, "to_year"):
            kind = "cardinal"
        return self.asked(number, lang=self.in_num2words, to=kind)

    def asked(self, number: int | float | Decimal, **how: str) -> str:
        """What num2words answers.

        Raises:
            NotImplementedError: nothing, or it fails, as it does for some numbers in some languages.
        """
        from num2words import num2words

        try:
            return str(num2words(number, **how))
        except Exception as error:  # of any kind: its languages differ
            raise NotImplementedError(f"num2words cannot say {number} by {how}") from error

    def number(self, text: str) -> str | None:
        """A whole or decimal number with signs of grouping, or numbers with dots between; None for others."""
        match = re.fullmatch(rf"([{SIGNS}]?)({NUMBER})", text)
        if match is None:
            return None
        sign, digits = match.groups()
        said = self._unsigned(digits, signed=bool(sign))
        return said and f"{self.sign_word(sign)} {said}".strip()

    def _unsigned(self, digits: str, *, signed: bool) -> str | None:
        if digits.isdecimal() and (
            (digits[0] == "0" and len(digits) > 1) or len(digits) > _LONGEST
        ):
            return " ".join(self.words(int(digit)) for digit in digits)
        value = self.value(digits)
        if value is None:
            parts = digits.split(".")
            if not all(map(str.isdecimal, parts)):
                return None
            dot = _DOTS.get(self.code, self.point)
            return f" {dot} ".join(self._unsigned(one, signed=True) or "" for one in parts)
        if not signed and YEAR.fullmatch(digits):
            return self.words(int(digits), "year")
        return self.cardinal(value)

    def sign_word(self, sign: str | None) -> str:
        """The word for `-` or `+`; empty where there is none."""
        if not sign:
            return ""
        if sign == "+":
            return _PLUS.get(self.code, "plus")
        return self.words(-1).replace(self.words(1), "").strip()

    def value(self, digits: str) -> Decimal | None:
        """The number that digits with signs stand for; as in English where the language's rules forbid it."""
        from babel.numbers import NumberFormatError, parse_decimal

        tidy = _GROUPING.sub("", digits)
        for locale in (self.locale, "en", "de"):
            try:
                return Decimal(parse_decimal(tidy, locale=locale, strict=True))
            except (NumberFormatError, InvalidOperation):
                continue
        return None

    @property
    def point(self) -> str:
        """The word for the decimal sign; empty where none is known."""
        known = getattr(self.converter, "pointword", "")
        word = known if isinstance(known, str) else known[0]  # some have it in several forms
        return word.strip("() ") or _POINTS.get(self.code, "")

    def cardinal(self, value: Decimal) -> str:
        """A number; the digits after a decimal sign one by one where a word stands for the sign."""
        whole = int(value)
        _, _, fraction = str(value).partition(".")
        if not fraction:
            return self.words(whole)
        if self.code in ("ru", "uk", "be", "kk") or not self.point:
            return self.words(value)  # they say the digits as a fraction
        return " ".join(
            [self.words(whole), self.point, *(self.words(int(one)) for one in fraction)]
        )

    def fraction(self, over: int, under: int) -> str:
        """A fraction: `three quarters`; in a language without a rule here `three over four` in its words."""
        if self.code not in _SHARES:
            parts = (self.words(over), _OVER.get(self.code, ""), self.words(under))
            return " ".join(part for part in parts if part)
        ending, plural, names = _SHARES[self.code]
        name = names.get(under) or self.words(under, "ordinal") + ending
        if over == 1:
            return f"{_ONE.get(self.code) or self.words(1)} {name}"
        return f"{self.words(over)} {name.replace('half', 'halve')}{plural * (name[-1] != plural)}"
