"""Word and character error rates with sclite's counts."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from itertools import compress, count
from operator import eq, ne
from typing import Any

from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratio
from espnet_ottc.alignment.metrics.edit_distance import EditCosts, Positions, edit_alignment
from espnet_ottc.utils.extras import require_extra

# Stands for no word, unless there is such a word.
_GAP = "\n\n"
# Cells of the largest table that kaldialign gets; beyond, memory would be the limit.
_LARGEST_TABLE = 25_000_000


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of an alignment of words (or characters), in sclite's columns.

    Attributes:
        sentences: utterances (Snt).
        words: reference words (Wrd).
        correct: Corr.
        substitutions: Sub.
        deletions: Del.
        insertions: Ins.
        wrong_sentences: utterances with an error (S.Err).
    """

    sentences: int = 0
    words: int = 0
    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    wrong_sentences: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.sentences + other.sentences,
            self.words + other.words,
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.wrong_sentences + other.wrong_sentences,
        )

    @property
    def errors(self) -> int:
        """Sub + Del + Ins (Err)."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Err / Wrd, a fraction that may exceed 1; None without reference words."""
        return self.errors / self.words if self.words else None

    @property
    def sentence_rate(self) -> float | None:
        """S.Err / Snt; None without utterances."""
        return self.wrong_sentences / self.sentences if self.sentences else None


def count_errors(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    *,
    sclite_costs: bool = False,
    optional: AbstractSet[int] = frozenset(),
    optional_hypothesis: AbstractSet[int] = frozenset(),
) -> ErrorCounts:
    """Align one utterance's words (or characters) by minimum edit distance and count.

    Args:
        reference: what is right.
        hypothesis: what the system said.
        sclite_costs: substitutions cost 4, deletions and insertions 3, as in NIST's sclite, which
            may count more errors than the minimum that equal costs (Kaldi's, the default) give.
        optional: places of reference words that may be missing: a deletion of one is no error, and the word
            does not count then.
        optional_hypothesis: places of hypothesis words whose insertion is no error.

    Raises:
        ImportError: kaldialign is not installed.
    """
    if optional or optional_hypothesis:
        free = (optional, optional_hypothesis)
        pairs = edit_alignment(reference, hypothesis, edit_costs(sclite_costs), free=free)
        return _counts(reference, hypothesis, pairs, free)
    substitutions, deletions, insertions = count_edits(reference, hypothesis, sclite_costs)
    return ErrorCounts(
        sentences=1,
        words=len(reference),
        correct=len(reference) - substitutions - deletions,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        wrong_sentences=int(substitutions + deletions + insertions > 0),
    )


def count_edits(
    reference: Sequence[str], hypothesis: Sequence[str], sclite_costs: bool = False
) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of an utterance, as `count_errors` counts them.

    Args:
        reference: words, or a text as its characters.
        hypothesis: likewise.
        sclite_costs: as there.

    Raises:
        ImportError: kaldialign is not installed.
    """
    if reference == hypothesis:
        return 0, 0, 0
    if len(reference) * len(hypothesis) > _LARGEST_TABLE:
        pairs = edit_alignment(reference, hypothesis, edit_costs(sclite_costs))
        counts = _counts(reference, hypothesis, pairs, (frozenset(), frozenset()))
        return counts.substitutions, counts.deletions, counts.insertions
    # Words that both begin with are pairs of some best alignment, and leave the choice among others as it is.
    start = _shared(reference, hypothesis)
    left, right = reference[start:], hypothesis[start:]
    end = _shared(left[::-1], right[::-1])
    # One word for another, or words on one side only: there is no cheaper way, nor another as cheap.
    if len(left) == len(right) == end + 1:
        return 1, 0, 0
    if end == min(len(left), len(right)):
        return 0, len(left) - end, len(right) - end
    return _edits_before_end(left, right, end, sclite_costs)


def _edits_before_end(
    left: Sequence[str], right: Sequence[str], end: int, sclite_costs: bool
) -> tuple[int, int, int]:
    """Edits of texts that share their last `end` words.

    Where costs tie, kaldialign's way back from the end takes a gap before a pair.  Costs never fall along a
    diagonal, and among words that both end with they stay as they are.  So if it goes through the first of
    these by a pair, it came there by pairs, and the others need no table.  If not, all count.
    """
    extra = end - 1
    if extra > 0:
        aligned = _aligned(left[:-extra], right[:-extra], sclite_costs)
        if aligned.ends_in_pair:
            return aligned.edits
    return _aligned(left, right, sclite_costs).edits


@dataclass(frozen=True)
class _Aligned:
    edits: tuple[int, int, int]
    ends_in_pair: bool


def _aligned(left: Sequence[str], right: Sequence[str], sclite_costs: bool) -> _Aligned:
    """Substitutions, deletions and insertions of a best alignment, and whether its last is none of a gap."""
    gap = _GAP
    while gap in left or gap in right:
        gap += _GAP
    firsts, seconds = zip(*_align()(left, right, gap, sclite_mode=sclite_costs), strict=True)
    insertions, deletions = firsts.count(gap), seconds.count(gap)
    same = sum(map(eq, firsts, seconds))
    edits = len(firsts) - same - insertions - deletions, deletions, insertions
    return _Aligned(edits, gap not in (firsts[-1], seconds[-1]))


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words both begin with."""
    return next(compress(count(), map(ne, first, second)), min(len(first), len(second)))


def _counts(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    pairs: Positions,
    optional: tuple[AbstractSet[int], AbstractSet[int]],
) -> ErrorCounts:
    allowed = 0
    correct = substitutions = deletions = insertions = 0
    for left, right in pairs:
        if left is None:
            insertions += right not in optional[1]
        elif right is None:
            allowed += left in optional[0]
            deletions += left not in optional[0]
        elif reference[left] == hypothesis[right]:
            correct += 1
        else:
            substitutions += 1
    return ErrorCounts(
        sentences=1,
        words=len(reference) - allowed,
        correct=correct,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        wrong_sentences=int(substitutions + deletions + insertions > 0),
    )


def edit_costs(sclite_costs: bool) -> EditCosts:
    """Equal costs, or those of sclite."""
    return EditCosts(substitution=4, gap=3) if sclite_costs else EditCosts()


@cache
def _align() -> Callable[..., Any]:
    # Late, so that the help of a command needs no package; kept, since it is called for every utterance.
    require_extra("align", "an edit distance", ("kaldialign",))
    from kaldialign import align

    found: Callable[..., Any] = align
    return found


def characters(words: Sequence[str]) -> list[str]:
    """The characters of an utterance's words; one space between words counts, as in ESPnet."""
    return list(" ".join(words))


def _numbers() -> "array[int]":
    return array("q")


@dataclass
class ErrorTotals:
    """The counts of some utterances: their sums, and what a bootstrap over them needs.

    Attributes:
        words: reference words of each utterance.
        errors: of each utterance.
        edits: substitutions, deletions and insertions of all.
        wrong: utterances with an error.
    """

    words: "array[int]" = field(default_factory=_numbers)
    errors: "array[int]" = field(default_factory=_numbers)
    edits: tuple[int, int, int] = (0, 0, 0)
    wrong: int = 0

    def add(self, words: int, edits: tuple[int, int, int]) -> None:
        """Add an utterance.

        Args:
            words: of its reference.
            edits: its substitutions, deletions and insertions.
        """
        self.words.append(words)
        errors = sum(edits)
        self.errors.append(errors)
        if errors:
            self.wrong += 1
            before = self.edits
            self.edits = (before[0] + edits[0], before[1] + edits[1], before[2] + edits[2])

    @property
    def counts(self) -> ErrorCounts:
        """Of all utterances together."""
        words = sum(self.words)
        substitutions, deletions, insertions = self.edits
        return ErrorCounts(
            sentences=len(self.words),
            words=words,
            correct=words - substitutions - deletions,
            substitutions=substitutions,
            deletions=deletions,
            insertions=insertions,
            wrong_sentences=self.wrong,
        )


def error_interval(
    counts: Iterable[ErrorCounts], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """The bootstrap interval of the error rate over utterances (see `bootstrap_ratio`).

    Args:
        counts: one for each utterance.
        level: the confidence, in (0, 1).
        resamples: how many times to draw, ≥ 1.
        seed: of the random generator.

    Returns:
        The interval of a fraction, not of percent; None without reference words.

    Raises:
        ValueError: a level or a number of resamples out of range.
        ImportError: NumPy is not installed.
    """
    each = list(counts)
    errors, words = [one.errors for one in each], [one.words for one in each]
    return bootstrap_ratio(errors, words, level=level, resamples=resamples, seed=seed)
