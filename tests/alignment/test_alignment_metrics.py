"""Metrics of times, against planted answers and plain recomputation."""

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    Peakiness,
    compare_spans,
    silence_seconds,
)
from espnet_ottc.alignment.scoring import score_times
from espnet_ottc.alignment.spans import Span


def _row(reference: list[Span], hypothesis: list[Span], **options: float) -> dict[str, object]:
    return dict(AlignmentScores.of([compare_spans(reference, hypothesis, **options)]).as_row())


REFERENCE = [Span("A", 0.5, 1.0), Span("B", 1.0, 1.5), Span("C", 2.0, 3.0)]


def test_a_perfect_alignment_is_perfect() -> None:
    row = _row(REFERENCE, REFERENCE)
    for name in ("start_precision", "start_recall", "start_f1", "strict_f1_20ms", "within_10ms"):
        assert row[name] == 100
    assert (row["idr"], row["iou"], row["coverage"]) == (100, 100, 100)
    assert (row["boundary_mae_ms"], row["boundary_median_ms"]) == (0, 0)
    assert row["boundaries"] == 6


def test_planted_errors_give_their_figures() -> None:
    hypothesis = [Span("A", 0.51, 0.98), Span("B", 1.3, 1.5), Span("C", 1.9, 3.5)]
    row = _row(REFERENCE, hypothesis)
    # |start| 10, 300, 100 ms; |end| 20, 0, 500 ms.
    assert row["start_mae_ms"] == pytest.approx(410 / 3)
    assert row["end_mae_ms"] == pytest.approx(520 / 3)
    assert row["boundary_mae_ms"] == pytest.approx(930 / 6)
    assert row["boundary_median_ms"] == pytest.approx(60)
    assert (row["start_median_ms"], row["end_median_ms"]) == pytest.approx((100, 20))
    assert row["within_10ms"] == pytest.approx(100 * 2 / 6)
    assert row["within_20ms"] == row["within_25ms"] == row["within_50ms"] == pytest.approx(50)
    assert row["within_100ms"] == pytest.approx(100 * 4 / 6)
    assert row["start_f1"] == pytest.approx(100 * 2 / 3)
    assert row["strict_f1_20ms"] == pytest.approx(100 / 3)
    assert row["idr"] == pytest.approx(100 * (0.47 + 0.2 + 1.0) / 2.0)
    assert row["iou"] == pytest.approx(100 * (0.47 / 0.5 + 0.2 / 0.5 + 1.0 / 1.6) / 3)
    assert row["coverage"] == 100


def test_missing_and_extra_words_cost_recall_and_precision() -> None:
    row = _row(REFERENCE, [*REFERENCE[::2], Span("X", 4.0, 5.0), Span("Y", 5.0, 6.0)])
    assert row["start_precision"] == pytest.approx(50)
    assert row["start_recall"] == pytest.approx(100 * 2 / 3)
    assert row["start_f1"] == pytest.approx(100 * 4 / 7)
    assert row["coverage"] == pytest.approx(100 * 2 / 3)
    assert row["idr"] == pytest.approx(75)
    assert row["iou"] == pytest.approx(100 * 2 / 3)
    assert row["boundary_mae_ms"] == 0


def test_an_overlong_span_has_full_idr_and_pays_in_iou() -> None:
    row = _row([Span("A", 1.0, 2.0)], [Span("A", 0.0, 4.0)])
    assert (row["idr"], row["iou"]) == (100, 25)


def test_an_error_of_exactly_the_collar_counts_as_within() -> None:
    # 0.9 - 0.7 is 0.20000000000000007 in binary.
    assert _row([Span("A", 0.7, 2.0)], [Span("A", 0.9, 2.0)])["start_f1"] == 100
    assert _row([Span("A", 0.7, 2.0)], [Span("A", 0.901, 2.0)])["start_f1"] == 0
    assert _row([Span("A", 0.7, 2.0)], [Span("A", 0.901, 2.0)], collar=0.3)["start_f1"] == 100


def test_repeated_words_are_matched_in_order_when_the_texts_agree() -> None:
    reference = [Span("A", float(i), i + 0.5) for i in range(4)]
    hypothesis = [Span("A", i + 0.1, i + 0.6) for i in range(4)]
    compared = compare_spans(reference, hypothesis)
    assert list(compared.start_errors) == pytest.approx([0.1] * 4)
    assert list(compared.matched) == [4]


def test_other_texts_are_matched_by_edit_distance_and_substitutions_have_no_time() -> None:
    hypothesis = [
        Span("A", 0.0, 1.0),
        Span("Z", 1.0, 2.0),
        Span("C", 2.0, 3.0),
        Span("D", 3.0, 4.0),
    ]
    compared = compare_spans(REFERENCE, hypothesis)
    assert list(compared.start_errors) == [0.0 - 0.5, 2.0 - 2.0]  # of A and C


def test_nothing_to_count_is_none_not_zero() -> None:
    row = _row([], [])
    for name, value in row.items():
        counted = name in ("utterances",) or isinstance(value, int | float)
        assert counted or value is None
    assert row["start_f1"] is None
    assert row["boundary_mae_ms"] is None
    empty = _row(REFERENCE, [])
    assert (empty["coverage"], empty["start_recall"], empty["idr"], empty["iou"]) == (0, 0, 0, 0)
    assert empty["start_precision"] is None
    assert empty["boundary_median_ms"] is None


TIMES = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0.01, 2), st.floats(0, 10), st.floats(0.01, 2)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(st.lists(TIMES, min_size=1, max_size=4))
def test_figures_over_utterances_are_those_of_all_words_together(
    utterances: list[list[tuple[float, float, float, float]]],
) -> None:
    compared, flat = [], []
    for words in utterances:
        reference = [Span("w", s, s + d) for s, d, _, _ in words]
        hypothesis = [Span("w", s, s + d) for _, _, s, d in words]
        compared.append(compare_spans(reference, hypothesis))
        flat += list(zip(reference, hypothesis, strict=True))
    row = AlignmentScores.of(compared).as_row()
    errors = [abs(h.start - r.start) for r, h in flat] + [abs(h.end - r.end) for r, h in flat]
    assert row["boundary_mae_ms"] == pytest.approx(1000 * statistics.fmean(errors))
    assert row["boundary_median_ms"] == pytest.approx(1000 * statistics.median(errors))
    common = [max(min(r.end, h.end) - max(r.start, h.start), 0) for r, h in flat]
    assert row["idr"] == pytest.approx(100 * sum(common) / sum(r.end - r.start for r, _ in flat))
    union = [
        (r.end - r.start) + (h.end - h.start) - c for (r, h), c in zip(flat, common, strict=True)
    ]
    ious = [c / u for c, u in zip(common, union, strict=True)]
    assert row["iou"] == pytest.approx(100 * statistics.fmean(ious))
    assert row["matched_words"] == len(flat)


def test_empty_spans_agree_only_where_they_are_the_same() -> None:
    instant = [Span("A", 1.0, 1.0)]
    assert list(compare_spans(instant, instant).iou_sum) == [1]
    assert list(compare_spans(instant, [Span("A", 2.0, 2.0)]).iou_sum) == [0]


def test_intervals_hold_the_figures_they_belong_to() -> None:
    compared = [
        compare_spans([Span("A", 1.0, 2.0)], [Span("A", 1.0 + shift, 2.0)])
        for shift in (0.0, 0.01, 0.05, 0.3, 0.5, 0.0, 0.1, 0.2)
    ]
    scores = AlignmentScores.of(compared)
    row = scores.as_row()
    for name, interval in scores.intervals(resamples=500).items():
        value = row[name]
        assert interval is not None
        assert value is not None
        assert interval.low <= value <= interval.high
        if name != "coverage":
            assert interval.high > interval.low


@pytest.mark.parametrize("collar", [-0.1, float("nan"), float("inf")])
def test_a_senseless_collar_is_refused(collar: float) -> None:
    with pytest.raises(ValueError, match="collar must be a finite number of seconds >= 0"):
        compare_spans([], [], collar=collar)


def test_peakiness_counts_special_frames_and_subtracts_real_silence() -> None:
    peaky = Peakiness.count([[0, 0, 5, 3], [0, 7, 7, 3, 3, 3]], {0, 3}, silence=1.5, seconds=5.0)
    assert (peaky.special_frames, peaky.frames) == (7, 10)
    assert peaky.raw == pytest.approx(0.7)
    assert peaky.subtracted == pytest.approx(0.4)
    assert peaky.as_row()["peaky"] == pytest.approx(40)
    assert Peakiness.count([["a", "<space>"]], ["<space>"]).raw == 0.5


def test_peakiness_without_reference_times_has_only_its_raw_share() -> None:
    peaky = Peakiness.count([[0, 1]], {0})
    assert (peaky.raw, peaky.silence_share, peaky.subtracted) == (0.5, None, None)
    assert Peakiness.count([], {0}).raw is None


@pytest.mark.parametrize(
    ("silence", "seconds"), [(1.0, None), (None, 1.0), (2.0, 1.0), (-1.0, 1.0)]
)
def test_senseless_silence_is_refused(silence: float | None, seconds: float | None) -> None:
    with pytest.raises(ValueError, match="silence"):
        Peakiness.count([[0]], {0}, silence, seconds)


def test_silence_is_what_no_word_covers() -> None:
    words = [Span("B", 1.0, 2.0), Span("A", 0.5, 1.5), Span("C", 1.2, 1.4), Span("D", 3.0, 9.0)]
    assert silence_seconds(words, 4.0) == pytest.approx(0.5 + 1.0)
    assert silence_seconds([], 4.0) == 4.0
    assert silence_seconds([Span("A", 5.0, 6.0)], 4.0) == 4.0


def test_between_a_reference_and_its_inner_one_a_boundary_has_no_error() -> None:
    draw = random.Random(5)
    outer: dict[str, list[Span]] = {}
    inner: dict[str, list[Span]] = {}
    found: dict[str, list[Span]] = {}
    wanted = []
    for number in range(20):
        name, now = f"u{number}", 0.0
        outer[name], inner[name], found[name] = [], [], []
        for word in "abc":
            start = now + draw.uniform(0, 0.2)
            end = now = start + draw.uniform(0.3, 0.5)
            low, high = start + draw.uniform(0, 0.1), end - draw.uniform(0, 0.1)
            s, e = start + draw.uniform(-0.1, 0.2), end + draw.uniform(-0.2, 0.1)
            outer[name].append(Span(word, start, end))
            inner[name].append(Span(word, low, high))
            found[name].append(Span(word, s, e))
            for time, first, last in ((s, start, low), (e, high, end)):
                wanted.append(max(first - time, 0.0, time - last))
    row = score_times(outer, found, inner=inner).scores.as_row()
    assert row["boundary_mae_ms"] == pytest.approx(1000 * sum(wanted) / len(wanted))
    assert row["within_50ms"] == pytest.approx(100 * sum(x <= 0.05 for x in wanted) / len(wanted))
    plain = score_times(outer, found).scores.as_row()
    assert plain["boundary_mae_ms"] > row["boundary_mae_ms"]
    assert (plain["iou"], plain["idr"]) == (row["iou"], row["idr"])
    # Both references are right by themselves.
    for times in (outer, inner):
        assert score_times(outer, times, inner=inner).scores.as_row()["boundary_mae_ms"] == 0


def test_an_inner_reference_of_other_words_is_named() -> None:
    outer, other = {"u": [Span("a", 0, 1)]}, {"u": [Span("b", 0, 1)]}
    with pytest.raises(ValueError, match="u: the inner reference must have the words"):
        score_times(outer, outer, inner=other)
    with pytest.raises(ValueError, match="u: the inner reference must have the words"):
        score_times(outer, outer, inner={})


def test_biases_tell_early_from_late() -> None:
    reference = {"u": [Span("a", 1.0, 2.0), Span("b", 3.0, 4.0)]}
    found = {"u": [Span("a", 1.01, 1.9), Span("b", 3.03, 3.8)]}
    row = score_times(reference, found).scores.as_row()
    assert (row["start_bias_ms"], row["end_bias_ms"]) == (pytest.approx(20), pytest.approx(-150))
