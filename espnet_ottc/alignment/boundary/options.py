"""`boundary_conf`: how a configuration's YAML says what a boundary model is like."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.suited import suited_config
from espnet_ottc.alignment.boundary.units import Pronunciations, read_lexicon

UNITS = ("auto", "letters", "words")
# Longer words are no phones.
_LONGEST_PHONE = 3


@dataclass(frozen=True)
class HeadOptions:
    """`boundary_conf`: `units`, `lexicon`, and the fields of `BoundaryConfig`.

    Attributes:
        units: "letters", words are spelled; "words", each word is a unit, as where the words are phones;
            "auto", the latter where the tokens are whole words and no word has more than three letters.
        dictionary: a file of pronunciations, which say what the units are; `lexicon` in the YAML.
        values: of `BoundaryConfig`'s fields that are given; the others are what suits the texts.
        config: where nothing but what is given counts.
    """

    units: str
    dictionary: Path | None
    values: Mapping[str, Any]
    config: BoundaryConfig

    def suited(
        self, texts: Iterable[Sequence[str]], lexicon: Pronunciations | None = None
    ) -> BoundaryConfig:
        """The settings of a boundary model that learns from texts.

        Args:
            texts: the words of each utterance.
            lexicon: their pronunciations; None where they are spelled by letters.
        """
        return suited_config(texts, self.values, lexicon)

    def check_dictionary(self) -> None:
        """Refuse one that cannot be read, before a training that needs it at its end.

        Raises:
            ValueError: a dictionary that is none.
            OSError: it cannot be read.
        """
        if self.dictionary is not None:
            read_lexicon(self.dictionary)

    def lexicon(self, words: Iterable[str], *, whole: bool) -> Pronunciations | None:
        """What the dictionary says, or each word as a unit if the options say so; None spells by letters.

        Args:
            words: of all texts.
            whole: whether the tokens are whole words.

        Raises:
            ValueError: a dictionary that is none.
            OSError: it cannot be read.
        """
        if self.dictionary is not None:
            return read_lexicon(self.dictionary)
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
    lexicon = values.pop("lexicon", None)
    if not (lexicon is None or (isinstance(lexicon, str) and lexicon)):
        raise ValueError(f"boundary_conf: lexicon must be the name of a file, got {lexicon!r}")
    if lexicon is not None and units != UNITS[0]:
        raise ValueError(f"boundary_conf: a lexicon says what the units are; got units {units!r}")
    known = {field.name for field in fields(BoundaryConfig)}
    if unknown := sorted(set(values) - known):
        raise ValueError(
            f"boundary_conf has no {', '.join(unknown)}; it has units, lexicon, "
            f"{', '.join(sorted(known))}"
        )
    try:
        dictionary = None if lexicon is None else Path(lexicon)
        return HeadOptions(units, dictionary, values, BoundaryConfig.from_json(values))
    except (TypeError, ValueError) as fault:
        raise ValueError(f"boundary_conf: {fault}") from fault
