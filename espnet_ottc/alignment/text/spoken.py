"""Numbers, currency, dates and times, as they are said.

Words of numbers come from num2words; conventions of places (orders of dates, names of months) from Babel,
which has those of Unicode's CLDR.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from espnet_ottc.alignment.text.amounts import Amount, Amounts
from espnet_ottc.alignment.text.numerals import NUMBER, YEAR, Numerals
from espnet_ottc.utils.extras import require_extra

_ORDINALS = {
    "en": r"(\d+)(?:st|nd|rd|th)", "fr": r"(\d+)(?:er|re|ère|e|ème|eme)", "es": r"(\d+)[.]?[ºª]",
    "it": r"(\d+)[.]?[ºª°]", "pt": r"(\d+)[.]?[ºª]", "nl": r"(\d+)(?:e|de|ste)", "sv": r"(\d+):[ea]",
    "de": r"(\d{1,2})[.]", "pl": r"(\d{1,2})[.]", "cs": r"(\d{1,2})[.]", "da": r"(\d{1,2})[.]",
    "fi": r"(\d{1,2})[.]", "nb": r"(\d{1,2})[.]", "no": r"(\d{1,2})[.]",
}  # fmt: skip
_HOURS = {"de": "Uhr", "fr": "heures", "nl": "uur", "pt": "horas", "sv": "", "da": ""}
_TIME = re.compile(
    r"(\d{1,2})(?:[:h](\d{2})(?::(\d{2}))?(?:\s*([ap])\.?m\.?)?|\s*([ap])\.?m\.?)", re.IGNORECASE
)
_HALF_DAY = re.compile(r"[ap]\.?m$", re.IGNORECASE)
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_SHORT_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})")
_TELEPHONE = re.compile(r"\+?\d{1,4}(?:-\d{2,4})*-\d{3,4}")
_FRACTION = re.compile(r"(\d*)\s?(\d)⁄(\d{1,2})|([-−+]?)(\d)/(\d{1,2})")
# Beyond this, `9/11` and `24/7` are two numbers.
_LARGEST_UNDER = 10
_FEET = re.compile(r"(\d{1,2})['′’](\d{1,2})[″”]?")
_SIGN = "[$€£¥₹₽₩₺₴₪¢%‰°]"
_DECADE = re.compile(r"'?(\d{2}|1\d\d0|20\d0)s")
OUTSIDE = "\"“”„«»‘’'()[]{}<>¿¡!?,;:…"


@dataclass(frozen=True)
class Reader:
    """Reads words with digits in a language.

    Attributes:
        language: its code, as `en`, `de`, `pt-BR`.  In one that num2words lacks, digits stay as they are.
    """

    language: str = "en"

    @cached_property
    def numerals(self) -> Numerals:
        """The language's numbers.

        Raises:
            ImportError: num2words or Babel is not installed.
        """
        require_extra("align", "a number or a sign in a text", ("num2words", "babel"))
        return Numerals(self.language)

    @cached_property
    def amounts(self) -> Amounts:
        """The language's money and units."""
        return Amounts(self.numerals)

    def amount(self, text: str) -> Amount | None:
        """An amount in two parts; None for what is none, or cannot be read in the language.

        Args:
            text: a number and its sign, with at most one space between them.
        """
        text = "".join(map(_plain_digit, text))
        try:
            if found := self.amounts.read(text):
                return found
            half = (
                self._time(text) if _HALF_DAY.search(text) and self.numerals.code == "en" else None
            )
        except (NotImplementedError, OverflowError):
            return None
        return Amount(half[: -len(" a m")], half[-len("a m") :]) if half else None

    def has_hours(self, time: str, word: str) -> bool:
        """Whether a word behind a time is said within it: 10:30 Uhr is `zehn Uhr dreißig`."""
        hours = _HOURS.get(self.numerals.code, "")
        return word.casefold() == hours.casefold() and _TIME.fullmatch(time) is not None

    def large(self, number: str, scale: str) -> Amount | None:
        """`$3.5 million`, with the currency after the second word; None for anything else."""
        try:
            return self.amounts.large("".join(map(_plain_digit, number)), scale)
        except (NotImplementedError, OverflowError):
            return None

    def name(self, sign: str, count: int = 1) -> str | None:
        """What a sign is called, as `%` or `€`; None for what is none, and where the language has no word.

        Args:
            sign: may stand in punctuation.
            count: of what it names.
        """
        if not self.numerals.has_locale:
            return None
        try:
            return self.amounts.name(sign.strip(OUTSIDE).rstrip("."), count)
        except NotImplementedError:
            return None

    def read(self, word: str) -> str | None:
        """How a word with digits is said; None where this cannot be known.

        Args:
            word: without white space, in composed form; may stand in punctuation.

        Raises:
            ImportError: num2words or Babel is not installed.
        """
        if found := self.amount(word.strip(OUTSIDE).rstrip(".")):  # m² as it is
            return _tidy(str(found))
        plain = unicodedata.normalize("NFKC", word) if _has_fraction(word) else word
        text = "".join(_plain_digit(character) for character in plain).strip(OUTSIDE)
        readings: tuple[Callable[[str], str | None], ...] = (
            self._date,
            self._time,
            self._ordinal,
            self._decade,
            self._feet,
            self._fraction,
            self._telephone,
            self.numerals.number,
        )
        try:
            # In some languages a dot after a number makes it ordinal; elsewhere it ends the sentence.
            for form in dict.fromkeys((text, text.rstrip("."))):
                for reading in readings:
                    if (said := reading(form)) is not None:
                        return _tidy(said)
            return _tidy(self._mixed(text))
        except (NotImplementedError, OverflowError):
            return None

    def _ordinal(self, text: str) -> str | None:
        pattern = _ORDINALS.get(self.numerals.code)
        match = re.fullmatch(pattern, text, re.IGNORECASE) if pattern else None
        return self.numerals.words(int(match[1]), "ordinal") if match else None

    def _decade(self, text: str) -> str | None:
        """`1990s` and `'90s`, in English."""
        match = _DECADE.fullmatch(text) if self.numerals.code == "en" else None
        if match is None:
            return None
        year = self.numerals.words(int(match[1]), "year")
        return year[:-1] + "ies" if year.endswith("y") else year + "s"

    def _time(self, text: str) -> str | None:
        match = _TIME.fullmatch(text)
        if match is None:
            return None
        hour, minute, half = int(match[1]), int(match[2] or 0), match[4] or match[5]
        if hour > (12 if half else 24) or minute > 59:
            return None
        hours = "" if half else _HOURS.get(self.numerals.code, "")
        said = [self.numerals.words(hour), hours]
        if minute or match[3]:
            zero = "oh " if self.numerals.code == "en" and 0 < minute < 10 else ""
            said.append(f"{zero}{self.numerals.words(minute)}")
        elif self.numerals.code == "en" and not half:
            said.append("o'clock" if hour <= 12 else "hundred")
        if match[3]:
            said.append(self.numerals.words(int(match[3])))
        if half:
            said.append(f"{half.lower()} m")
        return " ".join(said)

    def _date(self, text: str) -> str | None:
        if match := _ISO_DATE.fullmatch(text):
            year, month, day = (int(part) for part in match.groups())
        elif match := _SHORT_DATE.fullmatch(text):
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            short = str(self.numerals.locale.date_formats["short"].pattern)
            month_first = short.index("M") < short.index("d")
            month, day = (first, second) if month_first and first <= 12 else (second, first)
        else:
            return None
        try:
            date(year if year > 99 else 2000 + year, month, day)
        except ValueError:
            return None  # no day of a calendar: its numbers are read
        pattern = str(self.numerals.locale.date_formats["long"].pattern)
        # English and the languages that write a dot say the day as an ordinal.
        kind = "ordinal" if self.numerals.code == "en" or "d." in pattern else "cardinal"
        values = {
            "d": self.numerals.words(day, kind),
            "M": str(self.numerals.locale.months["format"]["wide"][month]),
            "y": self.numerals.words(year, "year"),
        }
        return re.sub(
            r"'([^']*)'|([dMy])\2*",
            lambda found: found[1] if found[1] is not None else values[found[2]],
            re.sub(r"'[^']*'\.", "", pattern).replace("d.", "d").replace("L", "M"),
        )

    def _fraction(self, text: str) -> str | None:
        """`3/4`, and `1⁄2` as the compatible form of ½ is, after a whole number or not."""
        match = _FRACTION.fullmatch(text)
        if match is None:
            return None
        over, under = int(match[2] or match[5]), int(match[3] or match[6])
        if match[5] and not over < under <= _LARGEST_UNDER:
            return None
        before = f"{self.numerals.words(int(match[1]))} {self.and_word}" if match[1] else ""
        before = before or self.numerals.sign_word(match[4])
        return f"{before} {self.numerals.fraction(over, under)}"

    def _feet(self, text: str) -> str | None:
        """`5'10"`, whose last sign may be gone with the punctuation."""
        match = _FEET.fullmatch(text)
        if match is None:
            return None
        names = ((match[1], "foot"), (match[2], "inch"))
        return " ".join(str(self.amounts.of_unit(number, unit)) for number, unit in names)

    def _telephone(self, text: str) -> str | None:
        first, _, last = text.partition("-")
        if not _TELEPHONE.fullmatch(text) or (YEAR.fullmatch(first) and YEAR.fullmatch(last)):
            return None
        digits = (self.numerals.words(int(digit)) for digit in text if digit.isdecimal())
        return " ".join([self.numerals.sign_word(text[0].strip("0123456789")), *digits])

    @cached_property
    def and_word(self) -> str:
        """The word for `&`; empty where it is not known."""
        pattern = str(self.numerals.locale.list_patterns["standard"]["2"])
        return pattern.replace("{0}", "").replace("{1}", "").strip()

    def _mixed(self, text: str) -> str:
        """Digits among letters, as in `B2B` or `5–10%`: the numbers and amounts, the rest as it is."""

        def said(found: re.Match[str]) -> str:
            return f" {self.amount(found[0]) or self.numerals.number(found[1]) or found[1]} "

        return re.sub(rf"{_SIGN}?({NUMBER}){_SIGN}?", said, text)


def _plain_digit(character: str) -> str:
    """The digit of any script as 0 to 9."""
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def _has_fraction(word: str) -> bool:
    """Whether a character is a number that is no digit, as ½ or ²."""
    return any(unicodedata.category(character) == "No" for character in word)


def _tidy(said: str) -> str:
    """Words alone: num2words joins with commas and hyphens."""
    return " ".join(said.replace(",", " ").replace("-", " ").split())
