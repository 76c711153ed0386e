"""Which words of a hypothesis stand for which of the reference, for many utterances at once.

The same alignment as `edit_alignment` with times finds, its table filled for many utterances at a time: an
utterance alone has too few cells to be worth NumPy's calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espnet_ottc.alignment.metrics.edit_distance import STEPS, WHOLE_TABLE, edit_alignment, nearness

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Row = npt.NDArray[Any]

# Cells of the tables that are filled at a time (16 MB).
_CELLS = 2_000_000


@dataclass(frozen=True, eq=False)
class Side:
    """The words of one side of some utterances.

    Attributes:
        words: numbers of words, of all utterances.
        middles: seconds, the middle of each word.
        rows: first and one past the last word of each utterance.
    """

    words: "npt.NDArray[np.int64]"
    middles: "npt.NDArray[np.float64]"
    rows: "npt.NDArray[np.int64]"


def equal_pairs(reference: Side, hypothesis: Side) -> "npt.NDArray[np.int64]":
    """The pairs of equal words of all utterances.

    By order where the two texts agree, else those of a minimum edit-distance alignment; of alignments with as
    few edits, the one whose words lie nearest in time.

    Args:
        reference: words with times.
        hypothesis: likewise, of as many utterances.

    Returns:
        (3, M) utterance, position among the reference's words and among the hypothesis's, in order.
    """
    import numpy as np

    sizes = np.stack([side.rows[:, 1] - side.rows[:, 0] for side in (reference, hypothesis)])
    same = np.flatnonzero(sizes[0] == sizes[1])
    pairs = _in_order(reference, hypothesis, same, sizes[0])
    differ = np.zeros(len(sizes[0]), bool)
    differ[sizes[0] != sizes[1]] = True
    unequal = reference.words[pairs[1]] != hypothesis.words[pairs[2]]
    differ[pairs[0][unequal]] = True
    found = [pairs[:, ~differ[pairs[0]]]]
    # A side without words has no pairs.
    rest = np.flatnonzero(differ & (sizes.min(0) > 0))
    large = sizes[0, rest] * sizes[1, rest] > WHOLE_TABLE
    for number in rest[large]:
        found.append(_large(reference, hypothesis, int(number)))
    for batch in _batches(rest[~large], sizes):
        found.append(_batch(reference, hypothesis, batch, sizes[:, batch]))
    pairs = np.concatenate(found, axis=1)
    return pairs[:, np.lexsort(pairs[1::-1])]


def _in_order(reference: Side, hypothesis: Side, which: "Row", sizes: "Row") -> "Row":
    """(3, M) all words of some utterances in order, each with its like on the other side."""
    import numpy as np

    counts = sizes[which]
    utterances = np.repeat(which, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack(
        [
            utterances,
            reference.rows[utterances, 0] + within,
            hypothesis.rows[utterances, 0] + within,
        ]
    )


def _batches(which: "Row", sizes: "Row") -> Iterator["Row"]:
    """Utterances of like sizes together, no more than fit into the memory for tables."""
    import numpy as np

    which = which[np.lexsort(sizes[:, which])]
    first = 0
    while first < len(which):
        last, rows, columns = first, 0, 0
        while last < len(which):
            rows = max(rows, int(sizes[0, which[last]]) + 1)
            columns = max(columns, int(sizes[1, which[last]]) + 1)
            if last > first and (last + 1 - first) * rows * columns > _CELLS:
                break
            last += 1
        yield which[first:last]
        first = last


def _large(reference: Side, hypothesis: Side, number: int) -> "Row":
    import numpy as np

    (i0, i1), (j0, j1) = reference.rows[number], hypothesis.rows[number]
    words, guesses = reference.words[i0:i1].tolist(), hypothesis.words[j0:j1].tolist()
    times = (reference.middles[i0:i1].tolist(), hypothesis.middles[j0:j1].tolist())
    pairs = [
        (number, i0 + i, j0 + j)
        for i, j in edit_alignment(words, guesses, times=times)
        if i is not None and j is not None and words[i] == guesses[j]
    ]
    found: Row = np.array(pairs, np.int64).reshape(-1, 3).T
    return found


def _batch(reference: Side, hypothesis: Side, which: "Row", sizes: "Row") -> "Row":
    """The equal pairs of some utterances, by tables (n, B, m) of costs as in `edit_alignment`."""
    import numpy as np

    left, left_times = _padded(reference, which, sizes[0])
    right, right_times = _padded(hypothesis, which, sizes[1])
    gap = STEPS * (sizes.min(0) + 1)[:, None]
    substitution = gap + STEPS // 2
    rows = [np.zeros((len(which), right.shape[1] + 1), np.int64)]
    costs = []
    for i in range(left.shape[1]):
        equal = right == left[:, i, None]
        distance = np.abs(right_times - left_times[:, i, None])
        costs.append(np.where(equal, nearness(distance), substitution) - gap)
        best = rows[-1] + gap
        np.minimum(best[:, 1:], rows[-1][:, :-1] + costs[-1], out=best[:, 1:])
        rows.append(np.minimum.accumulate(best, axis=1, out=best))
    found = _walked(np.stack(rows), np.stack(costs), gap[:, 0], sizes)
    found = found[:, left[found[0], found[1]] == right[found[0], found[2]]]
    return np.stack(
        [
            which[found[0]],
            reference.rows[which[found[0]], 0] + found[1],
            hypothesis.rows[which[found[0]], 0] + found[2],
        ]
    )


def _padded(side: Side, which: "Row", sizes: "Row") -> tuple["Row", "Row"]:
    """(B, n) words and middles; what lies beyond an utterance's end is never reached."""
    import numpy as np

    places = side.rows[which, 0][:, None] + np.arange(sizes.max())
    places = np.minimum(places, len(side.words) - 1)
    return side.words[places], side.middles[places]


def _walked(rows: "Row", costs: "Row", gap: "Row", sizes: "Row") -> "Row":
    """(3, M) utterance of the batch and positions of all pairs on the best paths, from their ends."""
    import numpy as np

    b = np.arange(rows.shape[1])
    i, j = sizes[0].copy(), sizes[1].copy()
    found: list[Row] = []
    while len(b):
        here = rows[i, b, j]
        up = np.maximum(i - 1, 0)
        before = np.maximum(j - 1, 0)
        pair = (i > 0) & (j > 0) & (here == rows[up, b, before] + costs[up, b, before])
        found.append(np.stack([b, up, before])[:, pair])
        left_out = ~pair & (i > 0) & (here == rows[up, b, j] + gap[b])
        i = i - (pair | left_out)
        j = j - ~left_out
        going = (i > 0) & (j > 0)
        b, i, j = b[going], i[going], j[going]
    return np.concatenate(found, axis=1) if found else np.zeros((3, 0), np.int64)
