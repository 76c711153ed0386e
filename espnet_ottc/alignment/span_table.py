"""Spans of many utterances in columns: a tenth of the memory of objects, and ready for NumPy."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.extras import require_extra


@dataclass(frozen=True)
class SpanBlock:
    """Some spans as a reader finds them.

    Attributes:
        runs: utterance ids, each with the number of its spans that follow; an id may come again.
        starts, ends: seconds.
        symbols: numbers of the reader's vocabulary.
    """

    runs: Sequence[tuple[str, int]]
    starts: "array[float]"
    ends: "array[float]"
    symbols: "array[int]"


@dataclass
class SpanTable:
    """Spans by utterance id, without scores.

    Attributes:
        rows: utterance id -> the positions of its spans in the columns, in order of time.
        starts, ends: seconds.
        symbols: numbers of the vocabulary.
        vocabulary: the different symbols -> their numbers, in order.
    """

    rows: dict[str, range] = field(default_factory=dict)
    starts: "array[float]" = field(default_factory=lambda: array("d"))
    ends: "array[float]" = field(default_factory=lambda: array("d"))
    symbols: "array[int]" = field(default_factory=lambda: array("i"))
    vocabulary: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, spans: Mapping[str, Sequence[Span]]) -> "SpanTable":
        """A table of spans, which stay in their order.

        Args:
            spans: by utterance id.
        """
        table = cls()
        for name, items in spans.items():
            columns = zip(*((one.start, one.end, one.symbol) for one in items), strict=True)
            table._append(name, *(columns if items else ((), (), ())))
        return table

    def with_times_of(self, other: "SpanTable") -> "SpanTable":
        """The same spans with the times that another table has for them.

        Args:
            other: with the same symbols in the same order for each utterance; further ones do no harm.

        Raises:
            ValueError: other symbols, or an utterance that it lacks.
        """
        mine, theirs = list(self.vocabulary), list(other.vocabulary)
        starts, ends = array("d", self.starts), array("d", self.ends)
        for name, row in self.rows.items():
            places = other.rows.get(name, range(0))
            here = [mine[self.symbols[place]] for place in row]
            there = [theirs[other.symbols[place]] for place in places]
            if here != there:
                raise ValueError(
                    f"{name}: the inner reference must have the words of the reference, "
                    f"{' '.join(here)!r}; got {' '.join(there)!r}"
                )
            for place, source in zip(row, places, strict=True):
                starts[place], ends[place] = other.starts[source], other.ends[source]
        return SpanTable(self.rows, starts, ends, self.symbols, self.vocabulary)

    @classmethod
    def of_blocks(cls, blocks: Iterable[SpanBlock], vocabulary: dict[str, int]) -> "SpanTable":
        """A table of spans that come block by block.

        Args:
            blocks: of spans.
            vocabulary: of their symbols; it may grow while blocks come.

        Returns:
            Utterances in the order in which they came first, each one's spans in order of time.

        Raises:
            ImportError: NumPy is not installed.
        """
        table = cls(vocabulary=vocabulary)
        scattered: dict[str, list[range]] = {}
        for block in blocks:
            place = len(table.starts)
            table.starts.extend(block.starts)
            table.ends.extend(block.ends)
            table.symbols.extend(block.symbols)
            for name, count in block.runs:
                row = range(place, place + count)
                place = row.stop
                before = table.rows.setdefault(name, row)
                if before is row:
                    continue
                if before.stop == row.start and name not in scattered:
                    table.rows[name] = range(before.start, row.stop)
                else:
                    scattered.setdefault(name, [before]).append(row)
        return table._arranged(scattered)

    def _append(
        self, name: str, starts: Iterable[float], ends: Iterable[float], symbols: Iterable[str]
    ) -> None:
        first, numbers = len(self.starts), self.vocabulary
        self.starts.extend(starts)
        self.ends.extend(ends)
        for symbol in symbols:
            number = numbers.get(symbol)
            if number is None:
                number = numbers[symbol] = len(numbers)
            self.symbols.append(number)
        self.rows[name] = range(first, len(self.starts))

    def _arranged(self, scattered: Mapping[str, Sequence[range]]) -> "SpanTable":
        """The same with the spans of each utterance together and in order of time."""
        require_extra("align", "a table of spans", ("numpy",))
        import numpy as np

        falls = np.flatnonzero(np.diff(np.frombuffer(self.starts)) <= 0) + 1 if self.starts else ()
        first = {places.start for places in self.rows.values()}
        if not scattered and all(int(place) in first for place in falls):
            return self
        table = SpanTable(vocabulary=self.vocabulary)
        for name, row in self.rows.items():
            places = sorted(
                chain.from_iterable(scattered.get(name, [row])),
                key=lambda place: (self.starts[place], self.ends[place]),
            )
            begin = len(table.starts)
            table.starts.extend(self.starts[place] for place in places)
            table.ends.extend(self.ends[place] for place in places)
            table.symbols.extend(self.symbols[place] for place in places)
            table.rows[name] = range(begin, len(table.starts))
        return table
