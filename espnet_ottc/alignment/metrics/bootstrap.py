"""Bootstrap confidence intervals over utterances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Counts = npt.NDArray[np.integer]
    Values = npt.NDArray[np.float64]

# Resampled counts are drawn in blocks of about this many entries (32 MB).
_BLOCK = 4_000_000
# Bytes of draws that are kept where they are drawn ahead.
_ROOM = 400_000_000


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
    evaluation").

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
    draws = Draws(len(numerators), resamples, seed)
    (found,) = draws.intervals([(numerators, denominators)], level)
    return found


class Draws:
    """How often each utterance is drawn in each resample: the same for all ratios of a seed.

    Args:
        count: utterances.
        resamples: how many times to draw, ≥ 1.
        seed: of the random generator.

    Raises:
        ValueError: a number of resamples out of range.
        ImportError: NumPy is not installed.
    """

    def __init__(self, count: int, resamples: int = 1000, seed: int = 0) -> None:
        require_extra("align", "a bootstrap interval", ("numpy",))
        if resamples < 1:
            raise ValueError(f"resamples must be at least 1, got {resamples}")
        self.count = count
        self._blocks = _blocks(count, resamples, seed) if count else iter(())
        self._ahead: list[Counts] = []

    def draw_ahead(self) -> "Draws":
        """Draw as much as `_ROOM` holds, so that it can be done beside other work in a thread."""
        import numpy as np

        room = _ROOM
        for block in self._blocks:
            # Nothing is drawn as often as 256 times, unless there are next to no others.
            small = block.astype(np.uint8) if block.max() < 256 else block
            self._ahead.append(small)
            room -= small.nbytes
            if room < small.nbytes:
                break
        return self

    def intervals(
        self, ratios: "Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]", level: float = 0.95
    ) -> list[Interval | None]:
        """The interval of each ratio, as of `bootstrap_ratio`; draws serve once.

        Args:
            ratios: numerators and denominators, (count,) each.
            level: the confidence, in (0, 1).

        Raises:
            ValueError: a level out of range.
        """
        import numpy as np

        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), got {level}")
        terms = [np.array(ratio, dtype=np.float64) for ratio in ratios]
        known = [place for place, one in enumerate(terms) if one[1].sum() > 0]
        drawn: dict[int, list[Values]] = {place: [] for place in known}
        for block in chain(self._ahead, self._blocks if known else ()):
            times = block.astype(np.float64)
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


def _blocks(count: int, resamples: int, seed: int) -> "Iterator[Counts]":
    import numpy as np

    generator = np.random.default_rng(seed)
    shares = np.full(count, 1.0 / count)
    block = max(1, _BLOCK // count)
    for first in range(0, resamples, block):
        yield generator.multinomial(count, shares, size=min(block, resamples - first))
