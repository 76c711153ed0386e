"""Sentences from templates and word classes; none is in two of training, dev and test."""

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from espnet_ottc.utils.files import data_lines

_SLOT = re.compile(r"\{(\w+)\}")
# Out of 20 equal shares of all sentences; the rest is for training.
_SHARES = {"test": 2, "dev": 1}
_SHARES_IN_ALL = 20
HESITATIONS = ("um", "uh", "erm", "hmm")


@dataclass(frozen=True)
class Grammar:
    """Templates with slots, and the words of each slot's class."""

    templates: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        for template in self.templates:
            unknown = [name for name in _SLOT.findall(template) if name not in self.classes]
            if unknown:
                raise ValueError(
                    f"template {template!r}: every slot must be a word class, got {unknown}"
                )

    def vocabulary(self) -> set[str]:
        """Every word that can occur, in lower case."""
        fixed = {word for template in self.templates for word in words_of(_SLOT.sub("", template))}
        return fixed.union(*self.classes.values())

    def sentence(self, draw: random.Random, role: str) -> str:
        """Draw a sentence that belongs to `role`: lower case, with commas for pauses.

        Args:
            draw: the source of randomness.
            role: "train", "dev" or "test".
        """
        while True:
            template = draw.choice(self.templates)
            sentence = _SLOT.sub(lambda slot: draw.choice(self.classes[slot[1]]), template)
            words = words_of(sentence)
            if len(set(words)) >= len(words) - 1 and role_of(sentence) == role:
                return sentence


def words_of(sentence: str) -> list[str]:
    """The words of a sentence without its punctuation."""
    return sentence.replace(",", " ").split()


def with_hesitations(sentence: str, draw: random.Random, rate: float) -> str:
    """The sentence with a hesitation and a pause before some of its words.

    Args:
        sentence: lower case, with commas for pauses.
        draw: the source of randomness.
        rate: of each word, the probability that one stands before it.
    """
    tokens: list[str] = []
    for token in sentence.split():
        if draw.random() < rate:
            tokens.append(f"{draw.choice(HESITATIONS)},")
        tokens.append(token)
    return " ".join(tokens)


def role_of(sentence: str) -> str:
    """The only role in which a sentence is used: "train", "dev" or "test".

    A hash of the words decides: the same for every seed, size and machine, and nothing has to be
    shared between the processes that draw sentences.
    """
    digest = hashlib.sha256(" ".join(words_of(sentence)).encode()).digest()
    place = int.from_bytes(digest[:4], "big") % _SHARES_IN_ALL
    for role, share in _SHARES.items():
        if place < share:
            return role
        place -= share
    return "train"


def load_grammar() -> Grammar:
    """The grammar that comes with the package."""
    classes = {}
    for line in data_lines(__package__, "words.txt"):
        name, _, words = line.partition(":")
        classes[name.strip()] = tuple(words.split())
    return Grammar(tuple(data_lines(__package__, "templates.txt")), classes)
