"""What utterances add to the metrics of times, in columns."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from espnet_ottc.alignment.metrics.equal_pairs import Side, equal_pairs
from espnet_ottc.alignment.span_table import SpanTable
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = npt.NDArray[Any]

COLLAR = 0.2
STRICT = 0.02

# Decimal times are not exact in binary: an error of exactly the collar counts as within it.
_ROUNDING = 1e-9
# Utterances that are compared at a time.
_BLOCK = 10_000


def _integers() -> "array[int]":
    return array("q")


def _reals() -> "array[float]":
    return array("d")


@dataclass
class ComparedTimes:
    """What utterances add to the metrics: an entry for each, and for each matched word.

    Attributes:
        reference_words: words of the reference.
        hypothesis_words: words of the hypothesis.
        matched: reference words that found their time.
        starts_within: matched words whose start lies within the collar.
        strict_within: matched words whose start and end both lie within 20 ms.
        overlap: seconds that matched words share with their references.
        reference_seconds: seconds of all reference words, matched or not.
        iou_sum: Σ of intersection over union of matched words.
        absolute_error: Σ |error| over starts and ends, seconds.
        start_errors: seconds, hypothesis − reference, of each matched word in order.
        end_errors: likewise for ends.
    """

    reference_words: "array[int]" = field(default_factory=_integers)
    hypothesis_words: "array[int]" = field(default_factory=_integers)
    matched: "array[int]" = field(default_factory=_integers)
    starts_within: "array[int]" = field(default_factory=_integers)
    strict_within: "array[int]" = field(default_factory=_integers)
    overlap: "array[float]" = field(default_factory=_reals)
    reference_seconds: "array[float]" = field(default_factory=_reals)
    iou_sum: "array[float]" = field(default_factory=_reals)
    absolute_error: "array[float]" = field(default_factory=_reals)
    start_errors: "array[float]" = field(default_factory=_reals)
    end_errors: "array[float]" = field(default_factory=_reals)

    @classmethod
    def of(cls, parts: "Iterable[ComparedTimes]") -> "ComparedTimes":
        """Those of all parts together.

        Args:
            parts: of some utterances each.
        """
        whole = cls()
        for part in parts:
            for column in fields(cls):
                getattr(whole, column.name).extend(getattr(part, column.name))
        return whole


def compare_spans(
    reference: Sequence[Span],
    hypothesis: Sequence[Span],
    *,
    collar: float = COLLAR,
) -> ComparedTimes:
    """Compare the word spans of one utterance; see `compare_tables`.

    Args:
        reference: in order of time.
        hypothesis: in order of time.
        collar: seconds by which a start may be off.

    Raises:
        ValueError: a collar that is negative or not finite.
        ImportError: NumPy is not installed.
    """
    tables = SpanTable.of({"": reference}), SpanTable.of({"": hypothesis})
    rows = [(range(len(reference)), range(len(hypothesis)))]
    return ComparedTimes.of(compare_tables(*tables, rows, collar=collar))


def compare_tables(
    reference: SpanTable,
    hypothesis: SpanTable,
    rows: Sequence[tuple[range, range]],
    *,
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    collar: float = COLLAR,
    inner: SpanTable | None = None,
) -> Iterator[ComparedTimes]:
    """Compare the spans of many utterances.

    A hypothesis's word stands for one of the reference by order where the two texts agree, else where the two
    are an equal pair of a minimum edit-distance alignment; of alignments with as few edits, the one is taken
    whose words lie nearest in time.  A substituted word is another word and has no time.

    Args:
        reference: spans, in order of time.
        hypothesis: likewise.
        rows: of each utterance the positions of its spans in both tables.
        names: under which symbols are compared, in the order of both vocabularies; empty for those that are
            left out.  None: the symbols.
        collar: seconds by which a start may be off.
        inner: the reference's spans with other times; between both a boundary has no error.

    Returns:
        The comparison in parts of some thousand utterances.

    Raises:
        ValueError: a collar that is negative or not finite.
        ImportError: NumPy is not installed.
    """
    require_extra("align", "a comparison of times", ("numpy",))
    if not 0 <= collar < float("inf"):
        raise ValueError(f"collar must be a finite number of seconds >= 0, got {collar}")
    numbers: dict[str, int] = {"": -1}
    sides = [
        _Columns(table, [numbers.setdefault(one, len(numbers)) for one in compared])
        for table, compared in zip(
            (reference, hypothesis),
            names or (reference.vocabulary, hypothesis.vocabulary),
            strict=True,
        )
    ]
    second = None if inner is None else _Columns(inner, sides[0].numbers.tolist())
    return (
        _compared(
            sides[0].part([left for left, _ in block]),
            sides[1].part([right for _, right in block]),
            collar,
            None if second is None else second.part([left for left, _ in block]),
        )
        for block in (rows[first : first + _BLOCK] for first in range(0, len(rows), _BLOCK))
    )


class _Columns:
    """A table's columns for NumPy, and the number of each symbol among those of both sides."""

    def __init__(self, table: SpanTable, numbers: Sequence[int]) -> None:
        import numpy as np

        self.starts, self.ends = (
            np.frombuffer(column) if column else np.zeros(0)
            for column in (table.starts, table.ends)
        )
        self.symbols = np.frombuffer(table.symbols, np.int32) if table.symbols else np.zeros(0, int)
        self.numbers = np.array(numbers, np.int64)

    def part(self, rows: Sequence[range]) -> "_Part":
        """The words of some utterances that are compared.

        Args:
            rows: their positions.
        """
        import numpy as np

        counts = np.array([len(row) for row in rows])
        places = np.concatenate([np.arange(row.start, row.stop) for row in rows])
        words = self.numbers[self.symbols[places]]
        kept = words >= 0
        utterances = np.repeat(np.arange(len(rows)), counts)[kept]
        sizes = np.bincount(utterances, minlength=len(rows))
        ends = np.cumsum(sizes)
        places = places[kept]
        return _Part(
            self.starts[places],
            self.ends[places],
            words[kept],
            np.stack([ends - sizes, ends], axis=1),
        )


@dataclass(frozen=True, eq=False)
class _Part:
    starts: "Column"
    ends: "Column"
    words: "Column"
    rows: "Column"

    @property
    def side(self) -> Side:
        return Side(self.words, (self.starts + self.ends) / 2, self.rows)


def _compared(
    reference: _Part, hypothesis: _Part, collar: float, inner: _Part | None = None
) -> ComparedTimes:
    import numpy as np

    utterances, left, right = equal_pairs(reference.side, hypothesis.side)
    (r0, r1), (h0, h1) = (
        (part.starts[places], part.ends[places])
        for part, places in ((reference, left), (hypothesis, right))
    )
    start_errors, end_errors = h0 - r0, h1 - r1
    if inner is not None:
        start_errors = _outside(h0, r0, inner.starts[left])
        end_errors = _outside(h1, r1, inner.ends[left])
    shared = np.maximum(np.minimum(r1, h1) - np.maximum(r0, h0), 0.0)
    starts_within = within(start_errors, collar)
    strict = within(start_errors, STRICT) & within(end_errors, STRICT)
    count = len(reference.rows)
    matched = np.bincount(utterances, minlength=count)
    ends = np.cumsum(matched)
    bounds = list(zip((ends - matched).tolist(), ends.tolist(), strict=True))
    found = ComparedTimes(
        reference_words=_column("q", reference.rows[:, 1] - reference.rows[:, 0]),
        hypothesis_words=_column("q", hypothesis.rows[:, 1] - hypothesis.rows[:, 0]),
        matched=_column("q", matched),
        starts_within=_column("q", np.bincount(utterances[starts_within], minlength=count)),
        strict_within=_column("q", np.bincount(utterances[strict], minlength=count)),
        overlap=_sums(shared, bounds),
        reference_seconds=_sums(reference.ends - reference.starts, reference.rows.tolist()),
        iou_sum=_sums(_over_union(shared, r0, r1, h0, h1), bounds),
        start_errors=_column("d", start_errors),
        end_errors=_column("d", end_errors),
    )
    starts, stops = _sums(np.abs(start_errors), bounds), _sums(np.abs(end_errors), bounds)
    found.absolute_error.extend(a + b for a, b in zip(starts, stops, strict=True))
    return found


def _outside(times: "Column", one: "Column", other: "Column") -> "Column":
    """Signed seconds from the nearest time between two; 0 between them."""
    import numpy as np

    nearest: Column = np.clip(times, np.minimum(one, other), np.maximum(one, other))
    return times - nearest


def _over_union(
    shared: "Column", r0: "Column", r1: "Column", h0: "Column", h1: "Column"
) -> "Column":
    """Shared seconds over the seconds either covers, in [0, 1]; 1 for two equal empty spans."""
    import numpy as np

    union = (r1 - r0) + (h1 - h0) - shared
    return np.where(union == 0, r0 == h0, shared / np.where(union == 0, 1, union))


def within(errors: "Column", collar: float) -> "Column":
    """Which errors are at most the collar.

    Args:
        errors: seconds.
        collar: seconds.
    """
    import numpy as np

    return np.abs(errors) <= collar + _ROUNDING


def _column(kind: str, values: "Column") -> "array[Any]":
    import numpy as np

    return array(kind, values.astype({"q": np.int64, "d": np.float64}[kind]).tobytes())


def _sums(values: "Column", bounds: Sequence[Sequence[int]]) -> "array[float]":
    """The sum of each utterance, added one after the other as Python does."""
    every = values.tolist()
    return array("d", [sum(every[first:last]) for first, last in bounds])
