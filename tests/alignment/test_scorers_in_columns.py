"""The scorers that work in columns give what plain loops over objects give, to the last digit."""

import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kaldialign
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.alignment.formats import ctm, kaldi, read_ctm, read_span_table, write_ctm
from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    bootstrap_ratio,
    bootstrap_ratios,
    compare_spans,
    compare_tables,
    compared_times,
    count_edits,
    equal_pairs,
)
from espnet_ottc.alignment.metrics.edit_distance import edit_alignment
from espnet_ottc.alignment.scoring import score_time_files, score_word_files
from espnet_ottc.alignment.span_table import SpanTable
from espnet_ottc.alignment.spans import Span

GOLDEN = Path(__file__).parent / "golden"
Utterance = tuple[list[Span], list[Span]]


def test_scores_of_real_alignments_are_those_that_they_were_before() -> None:
    times = score_time_files(
        GOLDEN / "ref.ctm",
        GOLDEN / "hyp.ctm",
        frames=GOLDEN / "labels",
        durations=GOLDEN / "utt2dur",
    )
    words = score_word_files(GOLDEN / "ref.txt", GOLDEN / "hyp.txt")
    known = json.loads((GOLDEN / "scores.json").read_text())
    for found, expected in ((times.as_json(), known["times"]), (words.as_json(), known["words"])):
        added = {"start_bias_ms", "end_bias_ms", "within_200ms"} & found.keys()
        assert found.keys() - expected.keys() == {"ref", "hyp", "settings", *added}
        intervals = expected.pop("intervals", {})
        assert found["unit"] == expected.pop("unit")
        for name, value in intervals.items():
            assert found["intervals"][name] == pytest.approx(value, rel=1e-12), name
        for name, value in expected.items():
            # From Python 3.12 on, sums of floats have other last digits.
            assert found[name] == pytest.approx(value, rel=1e-12), name


# A plain reference: one utterance after the other, objects and loops.


def _plain(utterances: Sequence[Utterance], collar: float) -> dict[str, float | None]:
    starts: list[float] = []
    ends: list[float] = []
    overlap = seconds = iou = 0.0
    overlaps, near, strict = [], 0, 0
    for reference, hypothesis in utterances:
        pairs = _pairs(reference, hypothesis)
        here = [h.start - r.start for r, h in pairs]
        there = [h.end - r.end for r, h in pairs]
        shared = [max(min(r.end, h.end) - max(r.start, h.start), 0.0) for r, h in pairs]
        unions = [r.duration + h.duration - s for (r, h), s in zip(pairs, shared, strict=True)]
        near += sum(abs(error) <= collar + 1e-9 for error in here)
        strict += sum(
            abs(a) <= 0.02 + 1e-9 and abs(b) <= 0.02 + 1e-9
            for a, b in zip(here, there, strict=True)
        )
        overlaps.append(sum(shared))
        seconds += sum(word.duration for word in reference)
        iou += sum(
            s / u if u else float(r.start == h.start)
            for s, u, (r, h) in zip(shared, unions, pairs, strict=True)
        )
        starts += here
        ends += there
    overlap = sum(overlaps)
    words = sum(len(reference) for reference, _ in utterances)
    guesses = sum(len(hypothesis) for _, hypothesis in utterances)
    errors = [abs(error) for error in (*starts, *ends)]
    return {
        "boundary_mae_ms": 1000 * statistics.fmean(errors) if errors else None,
        "boundary_median_ms": 1000 * statistics.median(errors) if errors else None,
        "end_median_ms": 1000 * statistics.median(map(abs, ends)) if ends else None,
        "start_f1": 100 * (2 * near / (words + guesses)) if words + guesses else None,
        "strict_f1_20ms": 100 * (2 * strict / (words + guesses)) if words + guesses else None,
        "idr": 100 * (overlap / seconds) if seconds else None,
        "iou": 100 * (iou / words) if words else None,
        "matched_words": len(starts),
    }


def _pairs(reference: list[Span], hypothesis: list[Span]) -> list[tuple[Span, Span]]:
    words, guesses = ([span.symbol for span in side] for side in (reference, hypothesis))
    if words == guesses:
        return list(zip(reference, hypothesis, strict=True))
    middles = tuple([(one.start + one.end) / 2 for one in side] for side in (reference, hypothesis))
    return [
        (reference[i], hypothesis[j])
        for i, j in edit_alignment(words, guesses, times=middles)
        if i is not None and j is not None and words[i] == guesses[j]
    ]


def _utterance(rng: random.Random) -> Utterance:
    reference, now = [], 0.0
    for _ in range(rng.randrange(9)):
        length = rng.choice([0.0, rng.random()])
        reference.append(Span(rng.choice("abc"), now, now + length))
        now += length + rng.choice([0.0, 0.1])
    hypothesis = [
        Span(
            one.symbol if rng.random() < 0.8 else rng.choice("abc"),
            start := max(one.start + rng.gauss(0, 0.1), 0),
            start + rng.random(),
        )
        for one in reference
        if rng.random() < 0.9
    ]
    if rng.random() < 0.3:
        hypothesis.insert(0, Span("b", 0.0, 0.1))
    return reference, sorted(hypothesis, key=lambda span: (span.start, span.end))


def _scores(utterances: Sequence[Utterance], collar: float = 0.2) -> AlignmentScores:
    names = [f"u{number}" for number in range(len(utterances))]
    tables = [
        SpanTable.of({name: pair[side] for name, pair in zip(names, utterances, strict=True)})
        for side in (0, 1)
    ]
    rows = [(tables[0].rows[name], tables[1].rows[name]) for name in names]
    return AlignmentScores.of(compare_tables(tables[0], tables[1], rows, collar=collar))


def _figures(scores: AlignmentScores) -> tuple[object, object]:
    return scores.as_row(), scores.intervals(resamples=50)


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([0.05, 0.2]))
def test_times_in_columns_score_as_one_utterance_after_the_other(
    seed: int, count: int, collar: float
) -> None:
    rng = random.Random(seed)
    utterances = [_utterance(rng) for _ in range(count)]
    row = _scores(utterances, collar).as_row()
    for name, value in _plain(utterances, collar).items():
        # From Python 3.12 on `sum` rounds once; NumPy does not.
        wanted = value if value is None else pytest.approx(value, rel=1e-12)
        assert row[name] == wanted, name


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (compared_times, "_BLOCK", 7),  # more than one block of utterances
        (equal_pairs, "_CELLS", 100),  # tables of few utterances
        (equal_pairs, "WHOLE_TABLE", 20),  # utterances too large for a table
    ],
)
def test_scores_do_not_depend_on_how_much_is_done_at_a_time(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: int
) -> None:
    rng = random.Random(5)
    utterances = [_utterance(rng) for _ in range(60)]
    whole = _figures(_scores(utterances))
    monkeypatch.setattr(module, name, value)
    assert _figures(_scores(utterances)) == whole


def test_one_utterance_alone_compares_as_among_others() -> None:
    rng = random.Random(8)
    utterances = [_utterance(rng) for _ in range(30)]
    parts = [compare_spans(reference, hypothesis) for reference, hypothesis in utterances]
    assert _figures(AlignmentScores.of(parts)) == _figures(_scores(utterances))


LETTERS = st.lists(st.sampled_from("abc"), max_size=12)


@settings(max_examples=400)
@given(LETTERS, LETTERS, LETTERS, st.booleans())
def test_edits_are_those_of_kaldialigns_whole_alignment(
    reference: list[str], hypothesis: list[str], end: list[str], sclite_costs: bool
) -> None:
    reference, hypothesis = reference + end, hypothesis + end
    pairs = kaldialign.align(reference, hypothesis, "*", sclite_mode=sclite_costs)
    insertions = sum(left == "*" for left, _ in pairs)
    deletions = sum(right == "*" for _, right in pairs)
    differ = sum(left != right for left, right in pairs)
    expected = (differ - insertions - deletions, deletions, insertions)
    assert count_edits(reference, hypothesis, sclite_costs) == expected


def test_a_word_that_looks_like_the_mark_of_a_gap_is_a_word() -> None:
    mark = "\n\n"
    assert count_edits([mark, "a", "b", mark], ["b", mark, "a", mark]) == (0, 1, 1)


def test_ratios_share_the_draws_that_each_alone_would_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from espnet_ottc.alignment.metrics import bootstrap

    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    rng = np.random.default_rng(3)
    ratios = [(rng.random(30), rng.random(30)) for _ in range(3)] + [(np.ones(30), np.zeros(30))]
    found = bootstrap_ratios(ratios, resamples=200, seed=4)
    assert found == [bootstrap_ratio(*ratio, resamples=200, seed=4) for ratio in ratios]
    # By the formula, with all draws at once.
    over, under = ratios[0]
    drawn = np.random.default_rng(4).integers(30, size=(200, 30))
    low, high = np.quantile(over[drawn].sum(1) / under[drawn].sum(1), [0.025, 0.975])
    assert found[0] is not None
    assert (found[0].low, found[0].high) == pytest.approx((low, high), rel=1e-12)
    assert found[3] is None


def _as_spans(table: SpanTable) -> dict[str, list[Span]]:
    symbols = list(table.vocabulary)
    return {
        name: [
            Span(symbols[table.symbols[place]], table.starts[place], table.ends[place])
            for place in row
        ]
        for name, row in table.rows.items()
    }


PLAIN = "u1 1 0.1 0.2 A\nu1 1 0.3 0.1 B\nu2 1 0 0.5 A\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN + "u1 1 0.25 0.01 C\n",  # an utterance in pieces
        "u1 1 0.3 0.1 B\nu1 1 0.1 0.2 A\nu1 1 0.1 0.1 C\n",  # not in order
        "u 1 0.1 0.2 A 0.5\nu 1 0.4 0.2 B NA\nv 1 0 1 C 1\n",
        "u 1 0.1 0.2 A 0.5\nu 1 0.4 0.2 B\n",
        ";; a comment\n" + PLAIN + "# another\n\n \t\n",
        "u\t1\t0.1  0.2\tA\nu 1 0.3 0.1 B\xa0C\n",
        "u 1 0.1 0.2 a%20b\r\nu%2Fv 1 0.1 0.2 A\r\n",
        "u 1 1e5 0.1234567891 A\nu 1 1234567.1234567 0.00000000051 B\n",
        "\ufeff" + PLAIN,
        "",
    ],
)
@pytest.mark.parametrize("block", [1, 2, 10_000])
def test_a_ctm_in_columns_has_the_spans_that_lines_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, block: int
) -> None:
    monkeypatch.setattr(kaldi, "_BLOCK", block)
    path = tmp_path / "a.ctm"
    path.write_bytes(content.encode())
    plain = {
        name: [Span(one.symbol, one.start, one.end) for one in spans]
        for name, spans in read_ctm(path).items()
    }
    assert _as_spans(read_span_table(path)) == plain
    assert ctm.ctm_ids(path) == plain.keys()
    some = set(list(plain)[1:])
    assert ctm.read_ctm(path, only=some).keys() == some


@pytest.mark.parametrize(
    "line",
    [
        "u 1 0.1 A",
        "u 1 x 0.2 A",
        "u 1 -1 0.2 A",
        "u 1 0.1 nan A",
        "u 1 0.1 0.2 A inf",
        "u 2 0.1 0.2 A",
        "u 1 * * <ALT>",
        "u 1 0.1 0.2 A x",
    ],
)
def test_a_broken_line_in_columns_is_told_as_line_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("".join(f"u 1 {second} 0.5 A\n" for second in range(20)) + line + "\n")
    with pytest.raises(ValueError, match=r"a\.ctm:21") as careful:
        read_ctm(path)
    with pytest.raises(ValueError, match=r"a\.ctm:21") as quick:
        read_span_table(path)
    assert str(quick.value) == str(careful.value)


@pytest.mark.parametrize("channel", ["1", "2"])
def test_a_channel_is_read_in_columns_too(tmp_path: Path, channel: str) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("u 1 0.1 0.2 A\nu 2 0.3 0.2 B\nv 2 0.1 0.2 C\n")
    found = _as_spans(read_span_table(path, channel=channel))
    assert found == {name: list(spans) for name, spans in read_ctm(path, channel).items()}
    assert found.keys() == {"u"} if channel == "1" else {"u", "v"}


def test_memory_of_the_scorers_does_not_grow_by_an_object_for_each_word(tmp_path: Path) -> None:
    import tracemalloc

    spans = {
        f"utterance-{number}": [Span(f"w{k}", k * 0.5, k * 0.5 + 0.4) for k in range(20)]
        for number in range(3000)
    }
    write_ctm(tmp_path / "a.ctm", spans)
    words = sum(map(len, spans.values()))
    read: Callable[[], object] = lambda: read_span_table(tmp_path / "a.ctm")  # noqa: E731
    read()
    tracemalloc.start()
    table = read()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table is not None
    # 20 bytes in columns, and the utterances' ids; objects take 200.
    assert kept < 45 * words
