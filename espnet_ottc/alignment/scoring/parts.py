"""Sets that are scored in parts: which parts there are, and whether they tell of the whole."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from espnet_ottc.alignment.formats.stretches import Stretch, divide
from espnet_ottc.alignment.scoring.options import Item, Pair, ScoringOptions
from espnet_ottc.alignment.text.normal import normal_form

# Utterances that are scored at a time.
UTTERANCES = 10_000

Part = Mapping[str, Stretch]
# The different words of the reference, and of the hypothesis.
Symbols = tuple[frozenset[str], frozenset[str]]
Columns = dict[str, "array[Any]"]


class UnorderedError(Exception):
    """The files have their utterances in other orders, or are at fault: only the whole can tell."""


def _hashes() -> "array[int]":
    return array("Q")


@dataclass
class Ids:
    """Which utterances a part has, as numbers of their ids.

    Attributes:
        reference: of the reference, in order.
        extra: of what has no reference in this part.
    """

    reference: "array[int]" = field(default_factory=_hashes)
    extra: "array[int]" = field(default_factory=_hashes)

    @classmethod
    def of(cls, reference: Iterable[str], others: Iterable[Iterable[str]], form: str) -> "Ids":
        """Those of a part.

        Args:
            reference: ids of the reference.
            others: ids of each other file.
            form: in which ids are compared (`normal_form`).
        """
        known = [normal_form(name, form) for name in reference]
        there = set(known)
        formed = (normal_form(name, form) for names in others for name in names)
        extra = [name for name in formed if name not in there]
        return cls(_numbers(known), _numbers(extra))


def _numbers(names: Iterable[str]) -> "array[int]":
    # Eight bytes each: that two ids share them by chance only costs time.
    joined = b"".join(
        blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names
    )
    found = _hashes()
    found.frombytes(joined)
    return found


class Counted(Protocol):
    """What a part adds to the scores.

    Attributes:
        symbols: the different words of the reference, and of the hypothesis.
        ids: its utterances.
    """

    symbols: Symbols
    ids: Ids


CountedT = TypeVar("CountedT", bound=Counted)
OptionsT = TypeVar("OptionsT", bound=ScoringOptions)


class Sums(Protocol):
    """What all parts add up to."""

    def add(self, part: Any) -> None:
        """Add a part, behind those that are there.

        Args:
            part: of the set.
        """


SumsT = TypeVar("SumsT", bound=Sums)


class Whole(Generic[CountedT]):
    """Parts as they come, and what is known of them together.

    Args:
        parts: one after the other; None: a part that cannot be scored alone.
    """

    def __init__(self, parts: Iterable[CountedT | None]) -> None:
        self._parts = parts
        self._ids = Ids()
        self._symbols: tuple[set[str], set[str]] = (set(), set())

    @property
    def symbols(self) -> Symbols:
        """The different words of both sides, once all parts have come."""
        left, right = self._symbols
        return frozenset(left), frozenset(right)

    def __iter__(self) -> Iterator[CountedT]:
        """The parts.

        Raises:
            UnorderedError: an utterance has its words in several parts, or there is none at all.
        """
        for part in self._parts:
            if part is None:
                raise UnorderedError
            for mine, theirs in zip(self._symbols, part.symbols, strict=True):
                mine |= theirs
            self._ids.reference.extend(part.ids.reference)
            self._ids.extra.extend(part.ids.extra)
            yield part
        self._check()

    def _check(self) -> None:
        import numpy as np

        if not self._ids.reference:
            raise UnorderedError
        known = np.sort(np.frombuffer(self._ids.reference, np.uint64))
        if (known[1:] == known[:-1]).any():
            raise UnorderedError
        if self._ids.extra:
            extra = np.frombuffer(self._ids.extra, np.uint64)
            places = np.minimum(np.searchsorted(known, extra), len(known) - 1)
            if (known[places] == extra).any():
                raise UnorderedError


def count_parts(
    options: OptionsT,
    counted: Callable[[OptionsT], Iterable[CountedT | None]],
    sums: Callable[[], SumsT],
) -> tuple[SumsT, OptionsT, tuple[str, ...]]:
    """Add up all parts.

    Args:
        options: under which they are scored.
        counted: gives the parts, scored under some options.
        sums: makes a sum of none.

    Returns:
        The sum; the options with the symbols that the words' dialect leaves out; what a user should know.

    Raises:
        UnorderedError: the parts do not tell of the whole.
    """
    found, whole = sums(), Whole(counted(options))
    for part in whole:
        found.add(part)
    settled, notes = options.settled(*whole.symbols)
    if set(settled.skip) != set(options.skip):
        # Only now it is known what does not count.
        found = sums()
        for part in Whole(counted(settled)):
            found.add(part)
    return found, settled, notes


def pairs_of_part(
    options: ScoringOptions,
    references: Mapping[str, Sequence[Item]],
    hypotheses: Mapping[str, Sequence[Item]],
) -> list[Pair[Item]] | None:
    """Pairs of reference and hypothesis in the references' order; None where only the whole can tell.

    Args:
        options: what may be missing.
        references: words or spans by utterance id.
        hypotheses: likewise.
    """
    left, right = options.named(references), options.named(hypotheses)
    if left.keys() != right.keys():
        missing, extra = left.keys() - right.keys(), right.keys() - left.keys()
        if (missing and not options.missing_is_empty) or (extra and not options.ignore_extra):
            return None
    return [(items, right.get(name, ())) for name, items in left.items()]


def parts_of(
    files: Mapping[str, Path], utterances: int | None = None, *, utterance_bytes: int = 100
) -> list[dict[str, Stretch]]:
    """The parts in which files are scored: about `UTTERANCES` each.

    Args:
        files: by their names, the reference first.
        utterances: of the reference, where they are known.
        utterance_bytes: of the reference, for a guess where they are not.

    Returns:
        For each part its lines of each file; an empty list where the files cannot be divided.

    Raises:
        OSError: a file cannot be read.
    """
    count = utterances or next(iter(files.values())).stat().st_size // utterance_bytes
    return divide(files, max(-(-count // UTTERANCES), 1)) or []
