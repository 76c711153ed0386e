"""What scores of sets of any size are made of: sums, medians and intervals in little memory."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.alignment.metrics import bootstrap, bootstrap_ratio, ordered
from espnet_ottc.alignment.metrics.bootstrap import GroupSums
from espnet_ottc.alignment.metrics.exact import exact_sum, rounded
from espnet_ottc.alignment.metrics.ordered import Magnitudes, median

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64, max_value=1e300))


@settings(max_examples=60)
@given(NUMBERS.map(lambda some: [one for one in some if abs(one) < 1e300]), st.integers(0, 50))
def test_sums_are_exact_however_they_are_divided(numbers: list[float], place: int) -> None:
    parts = np.array(numbers[:place]), np.array(numbers[place:])
    assert rounded(sum(map(exact_sum, parts))) == math.fsum(numbers)


@settings(max_examples=50)
@given(
    st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.1, 1e-300, 1e9])), min_size=1),
    st.sampled_from([1, 3, 1000]),
)
def test_medians_are_those_of_all_sizes_in_memory(numbers: list[float], held: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ordered, "_ORDERED", held)
        patched.setattr(ordered, "_READ", 16)
        patched.setattr(ordered, "_KEPT", 32)  # the rest lies in a file
        stores = Magnitudes(), Magnitudes()
        for place, number in enumerate(numbers):
            stores[place % 2].add(np.array([number]))
        assert median(*stores) == statistics.median(map(abs, numbers))
        assert list(map(len, stores)) == [-(-len(numbers) // 2), len(numbers) // 2]


def test_there_is_no_median_of_nothing() -> None:
    assert median(Magnitudes()) is None


@pytest.mark.parametrize("at_a_time", [1, 3, 7, 100])
def test_groups_are_the_same_however_many_utterances_come_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(bootstrap, "GROUPS", 5)
    values = np.random.default_rng(1).random((23, 2))
    groups = GroupSums(2)
    for first in range(0, len(values), at_a_time):
        groups.add(values[first : first + at_a_time])
    expected = np.zeros((5, 2))
    for place, row in enumerate(values):
        expected[place % 5] += row
    assert groups.sums.tolist() == expected.tolist()


def test_few_utterances_are_a_group_each() -> None:
    values = np.random.default_rng(1).random((8, 2))
    groups = GroupSums(2)
    groups.add(values[:3])
    groups.add(values[3:])
    assert groups.sums.tolist() == values.tolist()


def test_intervals_of_groups_are_as_wide_as_those_of_utterances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(2)
    words = generator.integers(1, 30, 40_000).astype(float)
    errors = generator.binomial(words.astype(int), generator.beta(1, 9, len(words))).astype(float)
    rate = errors.sum() / words.sum()
    # By the variance of a ratio of sums.
    width = 2 * 1.96 * math.sqrt(((errors - rate * words) ** 2).sum()) / words.sum()
    for groups in (10_000, 15_000):  # of as many utterances each, or not
        monkeypatch.setattr(bootstrap, "GROUPS", groups)
        found = bootstrap_ratio(errors.tolist(), words.tolist(), resamples=1000)
        assert found is not None
        assert found.low < rate < found.high
        assert found.high - found.low == pytest.approx(width, rel=0.1)
