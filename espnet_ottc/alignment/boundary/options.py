"""`boundary_conf`: how a configuration's YAML says what a boundary model is like."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.suited import suited_config
from espnet_ottc.alignment.boundary.units import Pronunciations

UNITS = ("auto", "letters", "words")
# Longer words are no phones.
_LONGEST_PHONE = 3


@dataclass(frozen=True)
class HeadOptions:
    """`boundary_conf`: `units`, and the fields of `BoundaryConfig`.

    Attributes:
        units: "letters", words are spelled; "words", each word is a unit, as where the words are phones;
            "auto", the latter where the tokens are whole words and no word has more than three letters.
        values: of `BoundaryConfig`'s fields that are given; the others are what suits the texts.
        config: where nothing but what is given counts.
    """

    units: str
    values: Mapping[str, Any]
    config: BoundaryConfig

    def suited(self, texts: Iterable[Sequence[str]]) -> BoundaryConfig:
        """The settings of a boundary model that learns from texts.

        Args:
            texts: the words of each utterance.
        """
        return suited_config(texts, self.values)

    def lexicon(self, words: Iterable[str], *, whole: bool) -> Pronunciations | None:
        """Each word as a unit, if the options say so; None spells by letters.

        Args:
            words: of all texts.
            whole: whether the tokens are whole words.
        """
        every = sorted(set(words))
        phones = whole and all(len(word) <= _LONGEST_PHONE for word in every)
        if self.units == "letters" or (self.units == "auto" and not phones):
            return None
        return {word: ((word,),) for word in every}


def parse_boundary_conf(
    conf: Mapping[str, Any] | None, defaults: Mapping[str, Any] | None = None
) -> HeadOptions:
    """The options of a boundary model.

    Args:
        conf: as the YAML has them.
        defaults: of those that it does not name, where they are others than `BoundaryConfig`'s.

    Raises:
        ValueError: an unknown option, or a value out of range.
    """
    values = {**(defaults or {}), **(conf or {})}
    units = values.pop("units", UNITS[0])
    if units not in UNITS:
        raise ValueError(f"boundary_conf: units must be one of {', '.join(UNITS)}; got {units!r}")
    known = {field.name for field in fields(BoundaryConfig)}
    if unknown := sorted(set(values) - known):
        raise ValueError(
            f"boundary_conf has no {', '.join(unknown)}; it has units, {', '.join(sorted(known))}"
        )
    try:
        return HeadOptions(units, values, BoundaryConfig.from_json(values))
    except (TypeError, ValueError) as fault:
        raise ValueError(f"boundary_conf: {fault}") from fault
