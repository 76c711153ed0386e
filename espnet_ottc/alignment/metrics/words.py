"""Word and character error rates with sclite's counts."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from typing import Any

from espnet_ottc.alignment.metrics.bootstrap import Interval, bootstrap_ratio
from espnet_ottc.alignment.metrics.edit_distance import EditCosts, edit_alignment
from espnet_ottc.utils.extras import require_extra

_GAP = -1
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
    allowed = 0
    correct = substitutions = deletions = insertions = 0
    if optional or optional_hypothesis:
        free = (optional, optional_hypothesis)
        pairs = edit_alignment(reference, hypothesis, _costs(sclite_costs), free=free)
    else:
        pairs = align_words(reference, hypothesis, sclite_costs=sclite_costs)
    for left, right in pairs:
        if left is None:
            insertions += right not in optional_hypothesis
        elif right is None:
            allowed += left in optional
            deletions += left not in optional
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


def _costs(sclite_costs: bool) -> EditCosts:
    return EditCosts(substitution=4, gap=3) if sclite_costs else EditCosts()


def align_words(
    reference: Sequence[str], hypothesis: Sequence[str], *, sclite_costs: bool = False
) -> list[tuple[int | None, int | None]]:
    """Align words (or characters) by minimum edit distance.

    Args:
        reference: what is right.
        hypothesis: what the system said.
        sclite_costs: as of `count_errors`.

    Returns:
        Pairs of positions in reference and hypothesis, both in order; None is a gap on that side.

    Raises:
        ImportError: kaldialign is not installed.
    """
    if len(reference) * len(hypothesis) > _LARGEST_TABLE:
        return edit_alignment(reference, hypothesis, _costs(sclite_costs))
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    pairs = _edit_alignment()(
        [numbers[word] for word in reference],
        [numbers[word] for word in hypothesis],
        _GAP,
        sclite_mode=sclite_costs,
    )
    positions: list[tuple[int | None, int | None]] = []
    left = right = 0
    for first, second in pairs:
        positions.append((None if first == _GAP else left, None if second == _GAP else right))
        left += first != _GAP
        right += second != _GAP
    return positions


@cache
def _edit_alignment() -> Callable[..., Any]:
    # Late, so that the help of a command needs no package; kept, since it is called for every utterance.
    require_extra("align", "an edit distance", ("kaldialign",))
    from kaldialign import align

    found: Callable[..., Any] = align
    return found


def characters(words: Sequence[str]) -> list[str]:
    """The characters of an utterance's words; one space between words counts, as in ESPnet."""
    return list(" ".join(words))


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
    return bootstrap_ratio(
        [float(c.errors) for c in each],
        [float(c.words) for c in each],
        level=level,
        resamples=resamples,
        seed=seed,
    )
