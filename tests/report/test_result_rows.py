"""Rows of results: reading, refusing, grouping."""

from pathlib import Path
from typing import Any

import pytest

from espnet_ottc.report.metrics import METRICS, count_text
from espnet_ottc.report.records import results_text
from espnet_ottc.report.results import group_rows, metrics_of, read_rows, short_table


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(results_text(rows))
    return path


def test_groups_hold_their_seeds_in_ascending_order_with_the_mean_over_them(
    tmp_path: Path, make_row: Any
) -> None:
    rows = [make_row("a", "d", seed, wer=value) for seed, value in ((3, 9.0), (1, 1.0), (2, 2.0))]
    (group,) = group_rows(read_rows(save(tmp_path / "r.jsonl", rows)))
    assert group.seeds == (1, 2, 3)
    assert group.values("wer") == [1.0, 2.0, 9.0]
    assert group.mean("wer") == 4.0


def test_groups_keep_the_order_of_the_rows_within_each_set(tmp_path: Path, make_row: Any) -> None:
    rows = [
        make_row("z", "d", 1, set="one"),
        make_row("z", "d", 1, set="two"),
        make_row("a", "d", 1, set="one"),
    ]
    groups = group_rows(read_rows(save(tmp_path / "r.jsonl", rows)))
    assert [(group.set, group.system) for group in groups] == [
        ("one", "z"),
        ("one", "a"),
        ("two", "z"),
    ]


def test_several_files_make_one_table(tmp_path: Path, make_row: Any) -> None:
    first = save(tmp_path / "1.jsonl", [make_row("a", "d", 1, wer=1.0), make_row("b", "d", 1)])
    second = save(tmp_path / "2.jsonl", [make_row("a", "d", 2, wer=3.0)])
    groups = group_rows(read_rows(first, second))
    assert [(group.system, group.seeds) for group in groups] == [("a", (1, 2)), ("b", (1,))]
    assert groups[0].mean("wer") == 2.0
    with pytest.raises(ValueError, match=r"1\.jsonl, .*1\.jsonl: each .* twice: \('a', 'd'"):
        read_rows(first, first)


def test_a_metric_that_a_seed_lacks_is_left_out_of_the_mean(tmp_path: Path, make_row: Any) -> None:
    rows = [make_row("a", "d", 1, wer=None), make_row("a", "d", 2, wer=6.0)]
    (group,) = group_rows(read_rows(save(tmp_path / "r.jsonl", rows)))
    assert group.values("wer") == [None, 6.0]
    assert group.mean("wer") == 6.0


def test_metrics_that_no_row_has_get_no_column(tmp_path: Path, make_row: Any) -> None:
    rows = read_rows(save(tmp_path / "r.jsonl", [make_row("a", "d", 1, peaky=None)]))
    assert [m.key for m in metrics_of(rows)] == [m.key for m in METRICS if m.key != "peaky"]


def test_a_metric_without_an_interval_has_none(tmp_path: Path, make_row: Any) -> None:
    (row,) = read_rows(save(tmp_path / "r.jsonl", [make_row("a", "d", 1)]))
    assert row.interval("wer") == (3.91, 6.47)
    assert row.interval("idr") == (80.3, 83.6)
    assert row.interval("peaky") is None
    assert row.interval("cer") is None


def test_counts_name_what_a_metric_was_counted_over(tmp_path: Path, make_row: Any) -> None:
    (row,) = read_rows(save(tmp_path / "r.jsonl", [make_row("a", "d", 1)]))
    assert count_text(row.counts("wer")) == "Snt 211, Wrd 1087, Corr 1031, Sub 41, Del 15, Ins 7"
    assert count_text(row.counts("peaky")) == "special 4519, frames 17321"
    assert row.counts("cer") == []


def test_the_short_table_has_the_means_of_the_five_figures(tmp_path: Path, make_row: Any) -> None:
    rows = [make_row("a", "d", 1, wer=1.0, iou=None), make_row("a", "d", 2, wer=2.0, iou=None)]
    header, line = short_table(group_rows(read_rows(save(tmp_path / "r.jsonl", rows))))
    assert [title.split()[0] for title in header[2:]] == ["WER", "Boundary", "IDR", "IoU", "Peaky"]
    assert line == ["test-x a d", "2", "1.50", "62.0", "82.2", "–", "13.1"]


def test_rows_of_phones_speak_of_phones(tmp_path: Path, make_row: Any) -> None:
    rows = read_rows(save(tmp_path / "r.jsonl", [make_row("a", "d", 1, unit="phone", cer=None)]))
    metrics = {metric.key: metric for metric in metrics_of(rows)}
    assert metrics["wer"].title == "PER"
    assert metrics["wer"].meaning == "phone errors over reference phones"
    assert metrics["peaky"].meaning.startswith("frames on blank or silence")
    assert not any("word" in metric.meaning.lower() for metric in metrics.values())
    assert count_text(rows[0].counts("wer")).startswith("Snt 211, Phn 1087")
    assert count_text(rows[0].counts("coverage")) == "matched 1069, phones 1087"
    assert short_table(group_rows(rows))[0][2].startswith("PER")


def test_rows_of_different_units_are_refused(tmp_path: Path, make_row: Any) -> None:
    rows = [make_row("a", "d", 1), make_row("a", "d", 2, unit="phone")]
    with pytest.raises(ValueError, match="all rows must have one unit, got phone, word"):
        read_rows(save(tmp_path / "r.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "letter"}, "'unit' must be one of word, phone, got 'letter'"),
        ({"set": 3}, r"\.jsonl:2: 'set' must be a name, got 3"),
        ({"wer": "5.1"}, "'wer' must be a finite number, got '5.1'"),
        ({"idr": True}, "'idr' must be a finite number, got True"),
        ({"intervals": {"wer": [1.0]}}, "'wer' needs an interval"),
        ({"counts": {"words": 3}}, "counts of 'words' must be an object, got 3"),
        ({"intervals": [1, 2]}, "'intervals' must be an object"),
    ],
)
def test_a_malformed_row_is_refused_by_its_place(
    tmp_path: Path, make_row: Any, change: dict[str, Any], message: str
) -> None:
    path = save(tmp_path / "r.jsonl", [{**make_row("a", "d", 1), **change}])
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_rows(path)


def test_a_row_that_repeats_is_refused(tmp_path: Path, make_row: Any) -> None:
    path = save(tmp_path / "r.jsonl", [make_row("a", "d", 1), make_row("a", "d", 1)])
    with pytest.raises(ValueError, match="must stand once"):
        read_rows(path)
