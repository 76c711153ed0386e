"""Counts of the errors of words and characters, part by part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from espnet_ottc.alignment.formats.kaldi import WordsOfBytes, text_entries
from espnet_ottc.alignment.formats.stretches import Stretch
from espnet_ottc.alignment.formats.transcripts import refuse_other_kinds
from espnet_ottc.alignment.metrics import ErrorCounts, ErrorTotals, count_edits, count_errors
from espnet_ottc.alignment.metrics.bootstrap import GroupSums
from espnet_ottc.alignment.metrics.edit_distance import edit_alignment
from espnet_ottc.alignment.metrics.words import edit_costs
from espnet_ottc.alignment.scoring.glm import GlobalMapping
from espnet_ottc.alignment.scoring.options import Names, Pair, ScoringOptions
from espnet_ottc.alignment.scoring.parts import Columns, Ids, Part, Symbols, pairs_of_part
from espnet_ottc.utils.extras import require_extra

Totals = dict[str, ErrorTotals]


@dataclass(frozen=True, kw_only=True)
class WordScoringOptions(ScoringOptions):
    """Options of `score_words`.

    Attributes:
        sclite_costs: align with sclite's costs (substitution 4, others 3) instead of equal ones.
        mapping: spellings that count as the same; None where all words count as they are.
        optional_words: words in parentheses may be missing on either side, as in files of sclite; true for
            trn, stm and a mapping.
        characters: also the error rate of characters.
    """

    sclite_costs: bool = False
    mapping: GlobalMapping | None = None
    optional_words: bool = False
    characters: bool = True

    def as_json(self) -> dict[str, Any]:
        """All options as JSON values; the folding and the mapping by their names."""
        values = ScoringOptions.as_json(replace(self, mapping=None))
        return values | {"mapping": self.mapping and self.mapping.name}


@dataclass
class CountedWords:
    """The errors of a part of a set.

    Attributes:
        totals: by unit.
        symbols: the different words of both sides.
        ids: its utterances.
    """

    totals: Totals
    symbols: Symbols
    ids: Ids

    def columns(self) -> Columns:
        """All that is counted of each utterance, by name."""
        found: Columns = {"reference": self.ids.reference, "extra": self.ids.extra}
        for unit, total in self.totals.items():
            found |= {f"{unit} words": total.words, f"{unit} errors": total.errors}
        return found

    def sums(self) -> dict[str, Any]:
        """JSON values: the rest."""
        edits = {unit: [*total.edits, total.wrong] for unit, total in self.totals.items()}
        return {"edits": edits, "symbols": [*map(sorted, self.symbols)]}

    @classmethod
    def of(cls, columns: Columns, sums: Mapping[str, Any]) -> "CountedWords":
        """What `columns` and `sums` gave.

        Args:
            columns: of each utterance.
            sums: the rest.
        """
        totals = {
            unit: ErrorTotals(
                columns[f"{unit} words"],
                columns[f"{unit} errors"],
                (edits[0], edits[1], edits[2]),
                edits[3],
            )
            for unit, edits in sums["edits"].items()
        }
        left, right = map(frozenset, sums["symbols"])
        return cls(totals, (left, right), Ids(columns["reference"], columns["extra"]))


class WordSums:
    """The errors of all parts together.

    Attributes:
        counts: by unit.
    """

    def __init__(self) -> None:
        require_extra("align", "a score of words", ("numpy",))
        self.counts: dict[str, ErrorCounts] = {}
        self._groups: dict[str, GroupSums] = {}

    def add(self, part: CountedWords) -> None:
        """Add a part, behind those that are there.

        Args:
            part: of the set.
        """
        self.add_totals(part.totals)

    def add_totals(self, totals: Mapping[str, ErrorTotals]) -> None:
        """Add utterances.

        Args:
            totals: by unit.
        """
        import numpy as np

        for unit, total in totals.items():
            self.counts[unit] = self.counts.get(unit, ErrorCounts()) + total.counts
            groups = self._groups.setdefault(unit, GroupSums(2))
            groups.add(np.array([total.errors, total.words], float).T)

    def ratios(self) -> list[tuple[Any, Any]]:
        """Errors and words of each group of utterances, for each unit."""
        columns = (groups.sums.T for groups in self._groups.values())
        return [(errors, words) for errors, words in columns]


class WordCounter:
    """Counts the errors of utterances.

    Args:
        options: under which they count.
    """

    def __init__(self, options: WordScoringOptions) -> None:
        self.options = options
        self._names = Names(options)
        self._known = WordsOfBytes()

    def part(self, part: Part) -> CountedWords | None:
        """The errors of a part of two files of Kaldi text; None where only the whole can tell.

        Args:
            part: with `reference` and `hypothesis`.

        Raises:
            ValueError: a malformed line.
            OSError: a file cannot be read.
        """
        sides = [self._read(part[name]) for name in ("reference", "hypothesis")]
        try:
            for name, side in zip(("reference", "hypothesis"), sides, strict=True):
                refuse_other_kinds(part[name].path, side)
        except ValueError:
            return None  # unless other parts look otherwise
        pairs = pairs_of_part(self.options, *sides)
        if pairs is None:
            return None
        symbols = [frozenset(chain.from_iterable(side.values())) for side in sides]
        ids = Ids.of(sides[0], sides[1:], self.options.normalize)
        return CountedWords(
            self.totals(pairs, renamed=self.renames(chain(*symbols))), (symbols[0], symbols[1]), ids
        )

    def _read(self, stretch: Stretch) -> dict[str, list[str]]:
        texts: dict[str, list[str]] = {}
        path = stretch.path
        for number, name, words in text_entries(stretch.read(), path, stretch.line, self._known):
            if name in texts:
                raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
            texts[name] = words
        return texts

    def renames(self, symbols: Iterable[str]) -> bool:
        """Whether some words are compared under others than their own, or left out.

        Args:
            symbols: the words.
        """
        return not self._names.are(symbols)

    def totals(self, pairs: Sequence[Pair[str]], *, renamed: bool) -> Totals:
        """The counts of some utterances, by what is counted.

        Args:
            pairs: words of the reference and of the hypothesis, of each.
            renamed: whether some words are compared under others than their own, or left out.
        """
        options = self.options
        units = [options.unit]
        if options.characters and options.folding is None:
            units.append("char")
        totals = {unit: ErrorTotals() for unit in units}
        plain = not (renamed or options.mapping is not None or options.optional_words)
        for given in pairs:
            if plain and given[0] == given[1]:
                _add_right(totals, given[0])
                continue
            ref, hyp = (self._words(side, renamed) for side in given)
            for unit, total in totals.items():
                total.add(*_count(ref, hyp, unit, options.sclite_costs))
        return totals

    def _words(self, given: Sequence[str], renamed: bool) -> "_Words":
        options = self.options
        named = self._names.of(given) if renamed else list(given)
        if options.mapping is not None:
            named = self._names.of(options.mapping.of(named))
        if not options.optional_words:
            return _Words(named)
        optional = frozenset(
            place
            for place, word in enumerate(named)
            if len(word) > 2 and word[0] + word[-1] == "()"
        )
        words = [word[1:-1] if place in optional else word for place, word in enumerate(named)]
        return _Words(words, optional)


def _add_right(totals: Totals, words: Sequence[str]) -> None:
    """Add an utterance without errors."""
    for unit, total in totals.items():
        # As `characters` counts, a space between two words.
        letters = sum(map(len, words)) + max(len(words) - 1, 0)
        total.add(letters if unit == "char" else len(words), (0, 0, 0))


def _count(
    ref: "_Words", hyp: "_Words", unit: str, sclite_costs: bool
) -> tuple[int, tuple[int, int, int]]:
    """Words of the reference, or characters, and its edits."""
    if unit == "char":
        # As `characters` gives them.
        letters, others = map(" ".join, _needed(ref, hyp, sclite_costs))
        return len(letters), count_edits(letters, others, sclite_costs)
    if not (ref.optional or hyp.optional):
        return len(ref.words), count_edits(ref.words, hyp.words, sclite_costs)
    found = count_errors(
        ref.words,
        hyp.words,
        sclite_costs=sclite_costs,
        optional=ref.optional,
        optional_hypothesis=hyp.optional,
    )
    return found.words, (found.substitutions, found.deletions, found.insertions)


def _needed(ref: "_Words", hyp: "_Words", sclite_costs: bool) -> tuple[list[str], list[str]]:
    """The words of both without those that may be missing and are, on the other side."""
    if not (ref.optional or hyp.optional):
        return ref.words, hyp.words
    free = (ref.optional, hyp.optional)
    pairs = edit_alignment(ref.words, hyp.words, edit_costs(sclite_costs), free=free)
    left = [ref.words[i] for i, j in pairs if i is not None and (j is not None or i not in free[0])]
    right = [
        hyp.words[j] for i, j in pairs if j is not None and (i is not None or j not in free[1])
    ]
    return left, right


@dataclass(frozen=True)
class _Words:
    """The words of an utterance as they are compared, and the places of those that may be missing."""

    words: list[str]
    optional: frozenset[int] = frozenset()
