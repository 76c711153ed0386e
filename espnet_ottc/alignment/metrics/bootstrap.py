"""Bootstrap confidence intervals over utterances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

# Resampled counts are drawn in blocks of about this many entries (32 MB).
_BLOCK = 4_000_000
# Utterances, and beyond these groups of utterances, that are drawn.
GROUPS = 10_000


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low, high: its ends, in the metric's own unit.
        level: the confidence, in (0, 1).
    """

    low: float
    high: float
    level: float = 0.95


class GroupSums:
    """What utterances add to some sums, each alone, or from `GROUPS` on in groups: memory stays the same.

    Utterance number i belongs to group i mod `GROUPS`.

    Args:
        columns: sums.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._count = 0
        # Not before the first is added: NumPy may start threads, and a process that has some is not forked.
        self._sums: Values | None = None

    @property
    def sums(self) -> "Values":
        """(groups, columns), in order of their first utterances."""
        import numpy as np

        return np.zeros((0, self._columns)) if self._sums is None else self._sums

    def add(self, values: "Values") -> None:
        """Add utterances behind those that are there.

        Args:
            values: (N, columns).
        """
        import numpy as np

        new = max(min(GROUPS - self._count, len(values)), 0)
        self._sums = np.concatenate([self.sums, values[:new]])
        self._count += new
        # One after the other, so that it does not matter how many come at a time.
        for first in range(new, len(values), GROUPS):
            some = values[first : first + GROUPS]
            places = (self._count + np.arange(len(some))) % GROUPS
            self._sums[places] += some
            self._count += len(some)


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """The percentile bootstrap interval of Σ numerators / Σ denominators over utterances.

    Utterances are drawn with replacement, as many as there are, and the ratio of the sums is taken
    (Bisani and Ney, ICASSP 2004, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation").  Of more than `GROUPS` utterances groups are drawn, see `GroupSums`: sums of so many drawn
    groups vary as those of the utterances do.

    Args:
        numerators: (N,) errors, hits or seconds of each utterance.
        denominators: (N,) words, boundaries or seconds of each utterance, ≥ 0.
        level: the confidence, in (0, 1).
        resamples: how many times to draw, ≥ 1.
        seed: of the random generator; the same seed gives the same interval.

    Returns:
        The interval; None where the denominators' sum is 0, or that of every draw.  Draws whose
        denominator is 0 are left out.

    Raises:
        ValueError: sequences of different lengths, a level or count out of range.
        ImportError: NumPy is not installed.
    """
    if len(numerators) != len(denominators):
        raise ValueError(
            "each utterance needs both terms of the ratio, "
            f"got {len(numerators)} and {len(denominators)}"
        )
    (found,) = bootstrap_ratios(
        [(numerators, denominators)], level=level, resamples=resamples, seed=seed
    )
    return found


def bootstrap_ratios(
    ratios: "Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]",
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Interval | None]:
    """The interval of each ratio as `bootstrap_ratio` gives it, all from the same draws.

    Args:
        ratios: numerators and denominators, (N,) each, of utterances or of groups as `GroupSums` has them.
        level: the confidence, in (0, 1).
        resamples: how many times to draw, ≥ 1.
        seed: of the random generator.

    Raises:
        ValueError: a level or count out of range.
        ImportError: NumPy is not installed.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    require_extra("align", "a bootstrap interval", ("numpy",))
    import numpy as np

    terms = [_in_groups(np.array(ratio, dtype=np.float64)) for ratio in ratios]
    known = [place for place, one in enumerate(terms) if one[1].sum() > 0]
    if not known:
        return [None] * len(terms)
    drawn: dict[int, list[Values]] = {place: [] for place in known}
    for times in _times_drawn(terms[known[0]].shape[1], resamples, seed):
        for place in known:
            sums = times @ terms[place].T
            sums = sums[sums[:, 1] > 0]
            drawn[place].append(sums[:, 0] / sums[:, 1])
    found: list[Interval | None] = [None] * len(terms)
    tail = (1 - level) / 2
    for place, parts in drawn.items():
        values = np.concatenate(parts)
        if len(values):
            low, high = np.quantile(values, [tail, 1 - tail])
            found[place] = Interval(float(low), float(high), level)
    return found


def _in_groups(terms: "Values") -> "Values":
    groups = GroupSums(len(terms))
    groups.add(terms.T)
    found: Values = groups.sums.T
    return found


def _times_drawn(count: int, resamples: int, seed: int) -> "Iterator[Values]":
    """How often each utterance is drawn, (resamples of a block, count)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for first in range(0, resamples, block):
        times = np.empty((min(block, resamples - first), count))
        for row in times:
            # Ten times as fast as a multinomial draw of the same distribution.
            row[:] = np.bincount(generator.integers(count, size=count), minlength=count)
        yield times
