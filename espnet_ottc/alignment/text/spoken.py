"""Numbers, currency, dates and times, as they are said.

Words of numbers come from num2words; conventions of places (decimal signs, orders of dates, names of months,
currencies and units) from Babel, which has those of Unicode's CLDR.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from espnet_ottc.utils.extras import require_extra

# Beyond this, and with a zero in front, digits are said one by one.
_LONGEST = 15
_CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW"} | {
    "₺": "TRY", "₴": "UAH", "₪": "ILS", "zł": "PLN", "kr": "SEK", "CHF": "CHF", "¢": "USD"
}  # fmt: skip
# Said without the country.
_PLAIN_NAMES = {
    "US dollars": "dollars", "US dollar": "dollar", "British pounds": "pounds", "British pound": "pound",
    "Japanese yen": "yen", "Indian rupees": "rupees", "Indian rupee": "rupee", "US-Dollar": "Dollar",
    "Russian rubles": "rubles", "dollars des États-Unis": "dollars", "dólares estadounidenses": "dólares",
}  # fmt: skip
_UNITS = {
    "%": "percent", "‰": "permille", "°": "degree", "°C": "celsius", "°F": "fahrenheit",
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "mg": "milligram",
    "ml": "milliliter", "km/h": "kilometer-per-hour", "mph": "mile-per-hour", "GB": "gigabyte",
    "MB": "megabyte", "kB": "kilobyte", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz",
    "GHz": "gigahertz", "m²": "square-meter", "km²": "square-kilometer",
}  # fmt: skip
_ORDINALS = {
    "en": r"(\d+)(?:st|nd|rd|th)", "fr": r"(\d+)(?:er|re|ère|e|ème|eme)", "es": r"(\d+)[.]?[ºª]",
    "it": r"(\d+)[.]?[ºª°]", "pt": r"(\d+)[.]?[ºª]", "nl": r"(\d+)(?:e|de|ste)", "sv": r"(\d+):[ea]",
    "de": r"(\d{1,2})[.]", "pl": r"(\d{1,2})[.]", "cs": r"(\d{1,2})[.]", "da": r"(\d{1,2})[.]",
    "fi": r"(\d{1,2})[.]", "nb": r"(\d{1,2})[.]", "no": r"(\d{1,2})[.]",
}  # fmt: skip
_HOURS = {"de": "Uhr", "fr": "heures", "nl": "uur", "pt": "horas", "sv": "", "da": ""}
# num2words lacks it.
_POINTS = {"it": "virgola"}
_NUMBER = r"\d[\d.,'\u00a0\u2007\u202f’]*\d|\d"
_TIME = re.compile(r"(\d{1,2})[:h](\d{2})(?::(\d{2}))?(?:\s*([ap])\.?m\.?)?", re.IGNORECASE)
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_SHORT_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})")
_YEAR = re.compile(r"1[1-9]\d\d|20\d\d")
_TELEPHONE = re.compile(r"\+?\d{1,4}(?:-\d{2,4})*-\d{3,4}")
_FRACTION = re.compile(r"(\d*)\s?(\d)⁄(\d{1,2})")
_LARGE = {"k": 3, "K": 3, "m": 6, "M": 6, "bn": 9, "B": 9}
_DECADE = re.compile(r"'?(\d{2}|1\d\d0|20\d0)s")
_OUTSIDE = "\"“”„«»‘’'()[]{}<>¿¡!?,;:…"


@dataclass(frozen=True)
class Reader:
    """Reads words with digits in a language.

    Attributes:
        language: its code, as `en`, `de`, `pt-BR`.  In one that num2words lacks, digits stay as they are.
    """

    language: str = "en"

    def read(self, word: str) -> str | None:
        """How a word with digits is said; None where this cannot be known.

        Args:
            word: without white space, in composed form; may stand in punctuation.

        Raises:
            ImportError: num2words or Babel is not installed.
        """
        require_extra("align", "a number in a text", ("num2words", "babel"))
        plain = unicodedata.normalize("NFKC", word) if _has_fraction(word) else word
        text = "".join(_plain_digit(character) for character in plain).strip(_OUTSIDE)
        readings: tuple[Callable[[str], str | None], ...] = (
            self._date,
            self._time,
            self._ordinal,
            self._decade,
            self._currency,
            self._unit,
            self._fraction,
            self._telephone,
            self._number,
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

    @cached_property
    def _locale(self) -> Any:
        from babel import Locale, UnknownLocaleError

        try:
            return Locale.parse(self._tag)
        except (UnknownLocaleError, ValueError):
            return Locale.parse("en")

    @cached_property
    def _tag(self) -> str:
        """The language with `_`; of two letters where it has such a code (`deu`, as MMS has it, is `de`)."""
        from babel.core import get_global

        language, *place = self.language.replace("-", "_").split("_")
        known = get_global("language_aliases").get(language.lower(), language.lower())
        return "_".join([known, *place])

    @property
    def _code(self) -> str:
        return self._tag.split("_")[0]

    @cached_property
    def _in_num2words(self) -> str:
        """The language's name there.  It would take one that begins with the same two letters."""
        from num2words import CONVERTER_CLASSES

        for name in (self._tag, self._code):
            if name in CONVERTER_CLASSES:
                return name
        raise NotImplementedError(f"num2words has no {self.language}")

    def _words(self, number: int | Decimal, kind: str = "cardinal") -> str:
        from num2words import num2words

        return str(num2words(number, lang=self._in_num2words, to=kind))

    def _number(self, text: str) -> str | None:
        """A whole or decimal number with signs of grouping, or None."""
        match = re.fullmatch(rf"([-−+]?)({_NUMBER})", text)
        if match is None:
            return None
        sign, digits = match.groups()
        if digits.isdecimal() and (
            (digits[0] == "0" and len(digits) > 1) or len(digits) > _LONGEST
        ):
            return " ".join(self._words(int(digit)) for digit in digits)
        value = self._value(digits)
        if value is None:
            return None
        if not sign and _YEAR.fullmatch(digits):
            return self._words(int(digits), "year")
        said = self._cardinal(value)
        return f"{self._minus()} {said}" if sign in ("-", "−") else said

    def _minus(self) -> str:
        return self._words(-1).replace(self._words(1), "").strip()

    def _value(self, digits: str) -> Decimal | None:
        """The number that digits with signs stand for; as in English where the language's rules forbid it."""
        from babel.numbers import NumberFormatError, parse_decimal

        tidy = re.sub("[\u00a0\u2007\u202f'’]", "", digits)
        for locale in (self._locale, "en", "de"):
            try:
                return Decimal(parse_decimal(tidy, locale=locale, strict=True))
            except NumberFormatError:
                continue
        return None

    def _cardinal(self, value: Decimal) -> str:
        """A number; the digits after a decimal sign one by one where a word stands for the sign."""
        from num2words import CONVERTER_CLASSES

        whole = int(value)
        _, _, fraction = str(value).partition(".")
        if not fraction:
            return self._words(whole)
        known = CONVERTER_CLASSES[self._in_num2words]
        point = str(getattr(known, "pointword", "")).strip("() ") or _POINTS.get(self._code, "")
        if self._code in ("ru", "uk", "be", "kk") or not point:
            return self._words(value)  # they say the digits as a fraction
        return " ".join([self._words(whole), point, *(self._words(int(one)) for one in fraction)])

    def _currency(self, text: str) -> str | None:
        signs = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
        match = re.fullmatch(rf"({signs})?\s?({_NUMBER})(k|K|m|M|bn|B)?\s?({signs})?", text)
        if match is None or bool(match[1]) == bool(match[4]):
            return None
        value = self._value(match[2])
        if value is None:
            return None
        sign = match[1] or match[4]
        if match[3]:
            value *= 10 ** _LARGE[match[3]]
        return self._money(value / 100 if sign == "¢" else value, _CURRENCIES[sign])

    def _money(self, amount: Decimal, currency: str) -> str:
        from babel.numbers import get_currency_name
        from num2words import num2words

        if amount != int(amount):
            try:
                said = str(
                    num2words(
                        float(amount),
                        to="currency",
                        currency=currency,
                        lang=self._in_num2words,
                        separator=" ",
                    )
                )
            except NotImplementedError:
                pass
            else:
                return self._with_and(said)
        # Whole amounts are said without the smaller unit.
        plural = get_currency_name(currency, count=amount, locale=self._locale)
        return f"{self._cardinal(amount)} {_PLAIN_NAMES.get(plural, plural)}"

    def _with_and(self, money: str) -> str:
        """English says `and` between dollars and cents."""
        if self._code != "en":
            return money
        money = re.sub(r"\b(dollars?|euros?|pounds?)\b (?!and)", r"\1 and ", money.replace(",", ""))
        return re.sub(r"^zero \w+ and ", "", money)

    def _unit(self, text: str) -> str | None:
        from babel.units import UnknownUnitError, format_unit

        names = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
        match = re.fullmatch(rf"([-−]?(?:{_NUMBER}))\s?({names})", text)
        if match is None or (number := self._number(match[1])) is None:
            return None
        value = self._value(match[1].lstrip("-−")) or Decimal(0)
        try:
            # The number is said by num2words; the unit's form goes by it.
            shown = format_unit(value, _UNITS[match[2]], "long", locale=self._locale)
        except UnknownUnitError:
            return None
        name = re.sub(r"[-−\d.,\s\u00a0\u202f]+", " ", shown)
        return f"{number} {name}"

    def _ordinal(self, text: str) -> str | None:
        pattern = _ORDINALS.get(self._code)
        match = re.fullmatch(pattern, text, re.IGNORECASE) if pattern else None
        return self._words(int(match[1]), "ordinal") if match else None

    def _decade(self, text: str) -> str | None:
        """`1990s` and `'90s`, in English."""
        match = _DECADE.fullmatch(text) if self._code == "en" else None
        if match is None:
            return None
        year = self._words(int(match[1]), "year")
        return year[:-1] + "ies" if year.endswith("y") else year + "s"

    def _time(self, text: str) -> str | None:
        match = _TIME.fullmatch(text)
        if match is None:
            return None
        hour, minute = int(match[1]), int(match[2])
        if hour > 24 or minute > 59:
            return None
        said = [self._words(hour), *([_HOURS[self._code]] if self._code in _HOURS else [])]
        if minute or match[3]:
            zero = "oh " if self._code == "en" and 0 < minute < 10 else ""
            said.append(f"{zero}{self._words(minute)}")
        elif self._code == "en" and not match[4]:
            said.append("o'clock" if hour <= 12 else "hundred")
        if match[3]:
            said.append(self._words(int(match[3])))
        if match[4]:
            said.append(f"{match[4]} m")
        return " ".join(said)

    def _date(self, text: str) -> str | None:
        if match := _ISO_DATE.fullmatch(text):
            year, month, day = (int(part) for part in match.groups())
        elif match := _SHORT_DATE.fullmatch(text):
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            short = str(self._locale.date_formats["short"].pattern)
            month_first = short.index("M") < short.index("d")
            month, day = (first, second) if month_first and first <= 12 else (second, first)
        else:
            return None
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        pattern = str(self._locale.date_formats["long"].pattern)
        # English and the languages that write a dot say the day as an ordinal.
        kind = "ordinal" if self._code == "en" or "d." in pattern else "cardinal"
        values = {
            "d": self._words(day, kind),
            "M": str(self._locale.months["format"]["wide"][month]),
            "y": self._words(year, "year"),
        }
        return re.sub(
            r"'([^']*)'|([dMy])\2*",
            lambda found: found[1] if found[1] is not None else values[found[2]],
            re.sub(r"'[^']*'\.", "", pattern).replace("d.", "d").replace("L", "M"),
        )

    def _fraction(self, text: str) -> str | None:
        """`1⁄2`, as the compatible form of ½ is, after a whole number or not."""
        match = _FRACTION.fullmatch(text)
        if match is None:
            return None
        over, under = int(match[2]), int(match[3])
        share = f"{self._words(over)} {self._words(under, 'ordinal')}"
        if self._code == "en":
            name = {2: "half", 4: "quarter"}.get(under, self._words(under, "ordinal"))
            share = (
                f"{self._words(over)} {name if over == 1 else name.replace('half', 'halve') + 's'}"
            )
        return f"{self._words(int(match[1]))} {self.and_word} {share}" if match[1] else share

    def _telephone(self, text: str) -> str | None:
        first, _, last = text.partition("-")
        if not _TELEPHONE.fullmatch(text) or (_YEAR.fullmatch(first) and _YEAR.fullmatch(last)):
            return None
        return " ".join(self._words(int(digit)) for digit in text if digit.isdecimal())

    @cached_property
    def and_word(self) -> str:
        """The word for `&`; empty where it is not known."""
        require_extra("align", "a sign in a text", ("babel",))
        pattern = str(self._locale.list_patterns["standard"]["2"])
        return pattern.replace("{0}", "").replace("{1}", "").strip()

    def _mixed(self, text: str) -> str:
        """Digits among letters, as in `B2B`: the digits as numbers, the rest as it is."""
        return re.sub(rf"{_NUMBER}", lambda found: f" {self._number(found[0]) or found[0]} ", text)


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
