"""Alignment of two sequences by minimum edit distance, in bounded memory; times choose between equals.

Rows of the table are filled by NumPy; a table that is too large is halved again and again (Hirschberg,
CACM 1975, "A linear space algorithm for computing maximal common subsequences").
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Row = npt.NDArray[Any]

Positions = list[tuple[int | None, int | None]]

# Cells of a table that is kept whole (32 MB).
WHOLE_TABLE = 4_000_000
# Steps into which the distance of two times is divided, to choose between alignments of equal cost.
STEPS = 1000


@dataclass(frozen=True)
class EditCosts:
    """What an edit costs.

    Attributes:
        substitution: of a word by another.
        gap: of a deletion or an insertion.
    """

    substitution: int = 1
    gap: int = 1


def edit_alignment(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    costs: EditCosts | None = None,
    *,
    times: tuple[Sequence[float], Sequence[float]] | None = None,
    free: tuple[AbstractSet[int], AbstractSet[int]] = (frozenset(), frozenset()),
) -> Positions:
    """Align two sequences by minimum edit distance.

    Args:
        reference: what is right.
        hypothesis: what the system said.
        costs: None: every edit costs 1.
        times: seconds of each item of both; of alignments that cost the same, the one is taken that has
            the most equal pairs, and of these the one whose pairs lie nearest, by Σ d / (1 + d) over the
            distances d in seconds.
        free: places in both of items that may be missing on the other side at no cost.

    Returns:
        Pairs of positions in reference and hypothesis, both in order; None is a gap on that side.

    Raises:
        ImportError: NumPy is not installed.
    """
    require_extra("align", "an edit distance", ("numpy",))
    import numpy as np

    numbers = {item: place for place, item in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    left = np.array([numbers[item] for item in reference], dtype=np.int32)
    right = np.array([numbers[item] for item in hypothesis], dtype=np.int32)
    scale = STEPS * (min(len(left), len(right)) + 1) if times else 1
    kept = None if times is None else (np.array(times[0], float), np.array(times[1], float))
    table = _Table(left, right, costs or EditCosts(), scale, kept, free)
    return table.path(0, len(left), 0, len(right))


def nearness(distances: "Row") -> "Row":
    """What pairs of equal words cost, less than an edit by far: whole steps, growing with the distance.

    Args:
        distances: in seconds.
    """
    import numpy as np

    found: Row = ((STEPS - 1) * distances / (1 + distances)).astype(np.int64)
    return found


class _Table:
    """Costs D(i,j) of aligning the first i items of the left with the first j of the right.

    Rows hold E(i,j) = D(i,j) - the gaps of the right's first j, so that the chain of insertions is a running
    minimum: E(i,j) = min over k ≤ j of min(E(i-1,k) + gap(i), E(i-1,k-1) + pair(i,k) - gap(k)).
    """

    def __init__(
        self,
        left: "Row",
        right: "Row",
        costs: EditCosts,
        scale: int,
        times: "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None",
        free: tuple[AbstractSet[int], AbstractSet[int]],
    ) -> None:
        import numpy as np

        self.left, self.right, self.times = left, right, times
        self.type = np.int32 if times is None else np.int64
        self.substitution = costs.substitution * scale
        # Of each item on the left and on the right.
        self.gaps = tuple(
            np.full(len(side), costs.gap * scale, self.type) for side in (left, right)
        )
        for gaps, places in zip(self.gaps, free, strict=True):
            gaps[sorted(places)] = 0
        if times is not None:
            # Two substitutions fewer are one equal pair more, at as many edits.
            self.substitution += STEPS // 2

    def pairs(self, i: int, start: int, end: int) -> "Row":
        """(end - start,) costs of pairing item i with each of the right's, less the gap of each."""
        import numpy as np

        differ = self.right[start:end] != self.left[i]
        found: Row = differ * self.type(self.substitution) - self.gaps[1][start:end]
        if self.times is not None:
            distance = np.abs(self.times[1][start:end] - self.times[0][i])
            found = found + np.where(differ, 0, nearness(distance))
        return found

    def row(self, i: int, above: "Row", pairs: "Row") -> "Row":
        """The row below `above`, of item i."""
        import numpy as np

        best = above + self.gaps[0][i]
        np.minimum(best[1:], above[:-1] + pairs, out=best[1:])
        return np.minimum.accumulate(best, out=best)

    def last_row(self, i0: int, i1: int, j0: int, j1: int, backward: bool) -> "Row":
        """The last row of a part of the table, from its other corner; D itself."""
        import numpy as np

        row = np.zeros(j1 - j0 + 1, self.type)
        for i in range(i1 - 1, i0 - 1, -1) if backward else range(i0, i1):
            pairs = self.pairs(i, j0, j1)
            row = self.row(i, row, pairs[::-1] if backward else pairs)
        gaps = self.gaps[1][j0:j1]
        row[1:] += np.cumsum(gaps[::-1] if backward else gaps, dtype=self.type)
        found: Row = row[::-1] if backward else row
        return found

    def path(self, i0: int, i1: int, j0: int, j1: int) -> Positions:
        """The best path through a part of the table."""
        # A stack of parts, since halving a long one by recursion would go deep.
        found: Positions = []
        parts = [(i0, i1, j0, j1)]
        while parts:
            i0, i1, j0, j1 = parts.pop()
            if i1 - i0 < 2 or (i1 - i0 + 1) * (j1 - j0 + 1) <= WHOLE_TABLE:
                found += self.whole(i0, i1, j0, j1)
                continue
            middle = (i0 + i1) // 2
            sums = self.last_row(i0, middle, j0, j1, False) + self.last_row(
                middle, i1, j0, j1, True
            )
            split = j0 + int(sums.argmin())
            parts += [(middle, i1, split, j1), (i0, middle, j0, split)]
        return found

    def whole(self, i0: int, i1: int, j0: int, j1: int) -> Positions:
        """The path through a part whose table is kept."""
        import numpy as np

        rows = [np.zeros(j1 - j0 + 1, self.type)]
        costs = []
        for i in range(i0, i1):
            costs.append(self.pairs(i, j0, j1))
            rows.append(self.row(i, rows[-1], costs[-1]))
        found: Positions = []
        i, j = i1 - i0, j1 - j0
        while i or j:
            if i and j and rows[i][j] == rows[i - 1][j - 1] + costs[i - 1][j - 1]:
                i, j = i - 1, j - 1
                found.append((i + i0, j + j0))
            elif i and rows[i][j] == rows[i - 1][j] + self.gaps[0][i0 + i - 1]:
                i -= 1
                found.append((i + i0, None))
            else:
                j -= 1
                found.append((None, j + j0))
        return found[::-1]
