"""Error counts and bootstrap intervals."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.alignment.metrics import (
    ErrorCounts,
    Interval,
    bootstrap_ratio,
    characters,
    count_errors,
    error_interval,
    pair_by_id,
)

SENTENCE = st.lists(st.sampled_from("abc"), max_size=6)


def _distance(reference: list[str], hypothesis: list[str], substitution: int, gap: int) -> int:
    """The cheapest alignment's cost, by plain recursion."""

    @cache
    def cost(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return gap * (i + j)
        change = 0 if reference[i - 1] == hypothesis[j - 1] else substitution
        return min(cost(i - 1, j - 1) + change, cost(i - 1, j) + gap, cost(i, j - 1) + gap)

    return cost(len(reference), len(hypothesis))


def test_counts_of_a_known_pair() -> None:
    counts = count_errors(["the", "cat", "sat", "on", "mat"], ["cat", "sat", "in", "the", "mat"])
    assert counts == ErrorCounts(
        sentences=1,
        words=5,
        correct=3,
        substitutions=1,
        deletions=1,
        insertions=1,
        wrong_sentences=1,
    )
    assert counts.rate == pytest.approx(0.6)


@settings(max_examples=150)
@given(SENTENCE, SENTENCE)
def test_errors_are_the_minimum_and_counts_add_up(
    reference: list[str], hypothesis: list[str]
) -> None:
    counts = count_errors(reference, hypothesis)
    assert counts.errors == _distance(reference, hypothesis, 1, 1)
    assert counts.correct + counts.substitutions + counts.deletions == len(reference)
    assert counts.correct + counts.substitutions + counts.insertions == len(hypothesis)
    assert counts.wrong_sentences == int(reference != hypothesis)


@settings(max_examples=150)
@given(SENTENCE, SENTENCE)
def test_sclite_costs_give_the_cheapest_alignment_under_them(
    reference: list[str], hypothesis: list[str]
) -> None:
    counts = count_errors(reference, hypothesis, sclite_costs=True)
    cost = 4 * counts.substitutions + 3 * (counts.deletions + counts.insertions)
    assert cost == _distance(reference, hypothesis, 4, 3)


def test_characters_count_the_spaces_between_words() -> None:
    assert characters(["AB", "C"]) == ["A", "B", " ", "C"]
    counts = count_errors(characters(["AB", "C"]), characters(["ABC"]))
    assert (counts.words, counts.deletions, counts.errors) == (4, 1, 1)


def test_counts_of_utterances_add_and_rates_exist_only_over_something() -> None:
    total = count_errors(["a"], ["b"]) + count_errors([], ["a"]) + count_errors(["c"], ["c"])
    assert total == ErrorCounts(3, 2, 1, 1, 0, 1, 2)
    assert total.sentence_rate == pytest.approx(2 / 3)
    assert ErrorCounts().rate is None
    assert ErrorCounts().sentence_rate is None
    assert count_errors([], ["a"]).rate is None


def test_the_interval_is_that_of_a_plain_resampling_loop() -> None:
    generator = np.random.default_rng(7)
    words = generator.integers(1, 20, 50)
    errors = generator.integers(0, 5, 50)
    interval = bootstrap_ratio(errors.tolist(), words.tolist(), resamples=4000, seed=1)
    assert interval is not None
    rates = []
    for _ in range(4000):
        chosen = generator.integers(0, 50, 50)
        rates.append(errors[chosen].sum() / words[chosen].sum())
    low, high = np.quantile(rates, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        errors = generator.binomial(10, 0.2, 100)
        interval = bootstrap_ratio(
            errors.tolist(), [10.0] * 100, level=0.9, resamples=300, seed=trial
        )
        assert interval is not None
        hits += interval.low <= 0.2 <= interval.high
    # 270 expected; the standard deviation is 5.2.
    assert 245 <= hits <= 292


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    counts = [
        count_errors(["a", "b"], ["a"]),
        count_errors(["a"], ["a"]),
        count_errors(["b"], []),
    ] * 7
    assert error_interval(counts, seed=3) == error_interval(counts, seed=3)
    assert error_interval(counts, seed=3, resamples=50) != error_interval(
        counts, seed=4, resamples=50
    )


def test_equal_utterances_leave_no_doubt() -> None:
    assert bootstrap_ratio([1.0] * 9, [4.0] * 9) == Interval(0.25, 0.25, 0.95)


def test_without_a_denominator_there_is_no_interval() -> None:
    assert bootstrap_ratio([], []) is None
    assert bootstrap_ratio([1.0], [0.0]) is None


def test_draws_of_empty_utterances_alone_are_left_out() -> None:
    interval = bootstrap_ratio([0.0, 1.0], [0.0, 2.0], resamples=200)
    assert interval == Interval(0.5, 0.5, 0.95)


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        ([1.0, 2.0], {}, "both terms"),
        ([1.0], {"level": 1.0}, "level must lie"),
        ([1.0], {"level": math.nan}, "level must lie"),
        ([1.0], {"resamples": 0}, "resamples must be"),
    ],
)
def test_senseless_bootstraps_are_refused(
    over: list[float], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_ratio(over, [1.0], **options)  # type: ignore[arg-type]


def test_pairs_follow_the_references_and_faults_name_ids() -> None:
    references = {name: [name] for name in "abcdefg"}
    assert list(pair_by_id(references, dict(reversed(references.items())))) == list("abcdefg")
    with pytest.raises(ValueError, match=r"^b, c, d, e, f, \.\.\.: 6 of 7 have no hypothesis"):
        pair_by_id(references, {"a": ["a"]})
    assert pair_by_id(references, {"a": ["a"]}, missing_is_empty=True)["b"] == (["b"], ())
    with pytest.raises(ValueError, match=r"^x: 1 of 2 have no reference"):
        pair_by_id({"a": ["a"]}, {"a": ["a"], "x": ["x"]})
    assert pair_by_id({"a": ["a"]}, {"a": ["b"], "x": []}, ignore_extra=True) == {
        "a": (["a"], ["b"])
    }
    with pytest.raises(ValueError, match="at least one reference"):
        pair_by_id({}, {"a": ["a"]}, ignore_extra=True)


def test_draws_without_a_word_give_no_interval() -> None:
    some = [
        bootstrap_ratio([1.0] + [0.0] * 9, [1.0] + [0.0] * 9, resamples=1, seed=seed)
        for seed in range(20)
    ]
    assert None in some
    assert Interval(1.0, 1.0, 0.95) in some
