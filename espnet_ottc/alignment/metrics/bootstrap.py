"""Bootstrap confidence intervals over utterances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    pass

# Resampled counts are drawn in blocks of about this many entries (32 MB).
_BLOCK = 4_000_000


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
        The interval; None where a denominator's sum is 0.  Draws whose denominator is 0 are left
        out.

    Raises:
        ValueError: sequences of different lengths, a level or count out of range.
        ImportError: NumPy is not installed.
    """
    require_extra("align", "a bootstrap interval", ("numpy",))
    import numpy as np

    if len(numerators) != len(denominators):
        raise ValueError(
            "each utterance needs both terms of the ratio, "
            f"got {len(numerators)} and {len(denominators)}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    terms = np.array([numerators, denominators], dtype=np.float64)
    count = terms.shape[1]
    if not terms[1].sum() > 0:
        return None
    generator = np.random.default_rng(seed)
    shares = np.full(count, 1.0 / count)
    ratios: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    block = max(1, _BLOCK // count)
    for first in range(0, resamples, block):
        times = generator.multinomial(count, shares, size=min(block, resamples - first))
        sums = times @ terms.T
        drawn = sums[sums[:, 1] > 0]
        ratios.append(drawn[:, 0] / drawn[:, 1])
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(ratios), [tail, 1 - tail])
    return Interval(float(low), float(high), level)
