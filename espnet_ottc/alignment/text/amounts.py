"""Amounts of money and of units, as they are said: the number and what is counted.

Names of units come from Babel; those of currencies from num2words where it has them in the language, or else
from Babel.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from inspect import signature
from typing import Any

from espnet_ottc.alignment.text.numerals import NUMBER, SIGNS, Numerals

# Those that mean one currency in texts of any place; Babel has the others.
CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW"} | {
    "₺": "TRY", "₴": "UAH", "₪": "ILS", "zł": "PLN", "kr": "SEK", "CHF": "CHF", "¢": "USD",
    "EUR": "EUR", "USD": "USD", "GBP": "GBP", "US$": "USD", "Kč": "CZK",
}  # fmt: skip
# Said without the country.
_PLAIN_NAMES = {
    "US dollars": "dollars", "US dollar": "dollar", "British pounds": "pounds", "British pound": "pound",
    "Japanese yen": "yen", "Indian rupees": "rupees", "Indian rupee": "rupee", "US-Dollar": "Dollar",
    "Russian rubles": "rubles", "dollars des États-Unis": "dollars", "dólares estadounidenses": "dólares",
    "Swiss francs": "francs", "Swiss franc": "franc", "Schweizer Franken": "Franken",
    "Brazilian reals": "reais", "Brazilian real": "real",
    "Reais brasileiros": "reais", "Real brasileiro": "real",
}  # fmt: skip
_UNITS = {
    "%": "percent", "‰": "permille", "°": "degree", "°C": "celsius", "°F": "fahrenheit",
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "mg": "milligram",
    "ml": "milliliter", "km/h": "kilometer-per-hour", "mph": "mile-per-hour", "GB": "gigabyte",
    "MB": "megabyte", "kB": "kilobyte", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz",
    "GHz": "gigahertz", "m²": "square-meter", "km²": "square-kilometer",
}  # fmt: skip
_LARGE = {"k": 3, "K": 3, "m": 6, "M": 6, "bn": 9, "B": 9}
# Stands between the two parts of an amount in num2words' answer.
_BETWEEN = "|"


@dataclass(frozen=True)
class Amount:
    """An amount in words.

    Attributes:
        number: all but the last name: `three dollars and fifty`.
        unit: what is counted last: `cents`.
    """

    number: str
    unit: str

    def __str__(self) -> str:
        return f"{self.number} {self.unit}"


@dataclass(frozen=True)
class Amounts:
    """Reads amounts.

    Attributes:
        numerals: of the language.
    """

    numerals: Numerals

    def read(self, text: str) -> Amount | None:
        """An amount with its sign before or after it; None for anything else.

        Args:
            text: with at most one space, between the sign and the number.
        """
        return self._currency(text) or self._unit(text)

    def name(self, sign: str, count: int = 1) -> str | None:
        """What a sign or a unit is called; None for what is none, and where the language has no word.

        Args:
            sign: as `%`, `€`, `km`.
            count: of what it names.
        """
        if sign in _UNITS:
            return self._unit_name(Decimal(count), _UNITS[sign])
        if sign not in self._currencies:
            return None
        if sign == "¢":
            return self.money(Decimal(count) / 100, "USD").unit
        return self._money_name(Decimal(count), self._currencies[sign])

    @cached_property
    def _currencies(self) -> dict[str, str]:
        """Sign -> code."""
        from babel import Locale

        found = {}
        for locale in (self.numerals.locale, Locale.parse("en")):
            for code, sign in locale.currency_symbols.items():
                if any(unicodedata.category(one) == "Sc" for one in sign) and code != "XXX":
                    found[sign] = code
        return found | CURRENCIES

    @cached_property
    def _signs(self) -> str:
        """A pattern of those signs."""
        return "|".join(map(re.escape, sorted(self._currencies, key=len, reverse=True)))

    def _currency(self, text: str) -> Amount | None:
        signs = self._signs
        match = re.fullmatch(
            rf"([{SIGNS}])?({signs})?\s?([{SIGNS}])?({NUMBER})(k|K|m|M|bn|B)?\s?({signs})?", text
        )
        if match is None or bool(match[2]) == bool(match[6]) or (match[1] and match[3]):
            return None
        value = self.numerals.value(match[4])
        if value is None:
            return None
        sign = match[2] or match[6]
        currency = self._currencies[sign]
        if match[5]:
            found = self._shortened(value, _LARGE[match[5]], currency)
        else:
            found = self.money(value / 100 if sign == "¢" else value, currency)
        before = self.numerals.sign_word(match[1] or match[3])
        return Amount(f"{before} {found.number}".strip(), found.unit)

    def large(self, number: str, scale: str) -> Amount | None:
        """`$3.5 million` in two words: the number, and the second word with the currency's name.

        Args:
            number: with the sign of a currency.
            scale: as the language writes it.
        """
        match = re.fullmatch(rf"({self._signs})({NUMBER})", number)
        zeros = self._scales.get(scale.casefold())
        value = None if match is None or zeros is None else self.numerals.value(match[2])
        if match is None or zeros is None or value is None:
            return None
        name = self._money_name(value * 10**zeros, self._currencies[match[1]])
        return Amount(self.numerals.cardinal(value), f"{scale} {name}")

    @cached_property
    def _scales(self) -> dict[str, int]:
        """Names of large numbers -> their zeros."""
        return {self._scale(zeros, one).casefold(): zeros for zeros in (6, 9, 12) for one in (1, 2)}

    def _scale(self, zeros: int, count: int = 2) -> str:
        """The word for one or more of a large number."""
        return self.numerals.words(count * 10**zeros).split()[-1]

    def _shortened(self, value: Decimal, zeros: int, currency: str) -> Amount:
        """`$2.5M`: two point five million dollars."""
        whole = value * 10**zeros
        if value == int(value) or zeros == _LARGE["k"]:
            return self.money(Decimal(int(whole)), currency)
        number = f"{self.numerals.cardinal(value)} {self._scale(zeros)}"
        return Amount(number, self._money_name(whole, currency))

    def money(self, amount: Decimal, currency: str) -> Amount:
        """An amount of a currency by its code."""
        from babel.numbers import get_currency_precision

        whole = int(amount)
        places = len(str(amount).partition(".")[2])
        if amount == whole:
            # Whole amounts are said without the smaller unit.
            return Amount(self._count(whole, currency), self._money_name(Decimal(whole), currency))
        if places > get_currency_precision(currency):
            return Amount(self.numerals.cardinal(amount), self._money_name(amount, currency))
        small = int((amount - whole) * 100)
        major = f"{self._count(whole, currency)} {self._money_name(Decimal(whole), currency)}"
        minor = self._parts(amount, currency)[1]
        if minor is None:
            return Amount(major, self.numerals.words(small))
        joined = f"{major} and" if self.numerals.code == "en" else major
        number, _, name = minor.rpartition(" ")
        return Amount(f"{joined} {number}" if whole else number, name)

    @cached_property
    def _forms(self) -> tuple[str, Mapping[str, Any]]:
        """num2words' name of the language for money, and its names of currencies.

        Some places (`pt_BR`) have less than their language, and what a language inherits is English.
        """
        from num2words import CONVERTER_CLASSES
        from num2words.lang_EU import Num2Word_EU

        for name in (self.numerals.tag, self.numerals.code):
            converter = CONVERTER_CLASSES.get(name)
            forms = getattr(converter, "CURRENCY_FORMS", {})
            inherited = forms is Num2Word_EU.CURRENCY_FORMS and self.numerals.code != "en"
            if forms and not inherited:
                known = signature(converter.to_currency).parameters
                if "currency" in known and "separator" in known:
                    return name, forms
        return "", {}

    def _parts(self, amount: Decimal, currency: str) -> tuple[str | None, str | None]:
        """The whole part and the smaller one as num2words has them."""
        name, forms = self._forms
        if currency not in forms:
            return None, None
        said = self.numerals.asked(
            float(amount), to="currency", currency=currency, lang=name, separator=f" {_BETWEEN}"
        )
        major, between, minor = said.partition(_BETWEEN)
        return major.strip() or None, (minor.strip() or None) if between else None

    def _count(self, whole: int, currency: str) -> str:
        """The number before a currency's name: German has `ein Euro`, not `eins`."""
        major = self._parts(Decimal(whole), currency)[0]
        if major is not None:
            for form in self._forms[1][currency][0]:
                if major.endswith(f" {form}"):
                    return major.removesuffix(f" {form}")
        return self.numerals.words(whole)

    def _money_name(self, amount: Decimal, currency: str) -> str:
        from babel.numbers import get_currency_name

        # In English num2words has `euro` for many, and `pounds sterling`.
        if self.numerals.code != "en" and amount == int(amount):
            major = self._parts(amount, currency)[0]
            if major is not None:
                return major.removeprefix(self._count(int(amount), currency)).strip()
        name = get_currency_name(currency, count=amount, locale=self.numerals.locale)
        return _PLAIN_NAMES.get(name, name)

    def _unit(self, text: str) -> Amount | None:
        names = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
        match = re.fullmatch(rf"([{SIGNS}]?(?:{NUMBER}))\s?({names})", text)
        return None if match is None else self.of_unit(match[1], _UNITS[match[2]])

    def of_unit(self, number: str, unit: str) -> Amount | None:
        """A number of a unit that Babel knows by its name.

        Args:
            number: as it is written.
            unit: as `kilometer`.
        """
        said = self.numerals.number(number)
        # The number is said by num2words; the unit's form goes by it.
        name = self._unit_name(self.numerals.value(number.lstrip(SIGNS)) or Decimal(0), unit)
        return None if said is None or name is None else Amount(said, name)

    def _unit_name(self, value: Decimal, unit: str) -> str | None:
        from babel.units import UnknownUnitError, format_unit

        try:
            shown = format_unit(value, unit, "long", locale=self.numerals.locale)
        except UnknownUnitError:
            return None
        name = re.sub(r"[-−\d.,\s\u00a0\u202f]+", " ", shown).strip()
        return name if any(map(str.isalpha, name)) else None
