"""Results as JSON Lines: the provenance of a training once, numbers as they were."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from espnet_ottc.report.records import read_results, results_text


def saved(path: Path, *records: Any) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def training(**changes: Any) -> dict[str, Any]:
    return {"record": "training", "system": "a", "seed": 1, "provenance": {}, **changes}


def score(**changes: Any) -> dict[str, Any]:
    return {"record": "score", "system": "a", "seed": 1, "decoder": "d", "set": "s", **changes}


def test_rows_come_back_as_they_were_and_provenance_stands_once(
    tmp_path: Path, make_row: Any
) -> None:
    rows = [
        make_row("ä b", decoder, seed, wer=math.nextafter(0.1, 1), cer=1e-17 / 3)
        for decoder in ("d", "e")
        for seed in (2, 1)
    ]
    text = results_text(rows)
    path = tmp_path / "results.jsonl"
    path.write_text(text, encoding="utf-8")
    assert [row for _, row in read_results(path)] == rows
    kinds = [json.loads(line)["record"] for line in text.splitlines()]
    assert kinds == ["training"] * 2 + ["score"] * 4
    assert text.count("c0ffee5") == 2
    assert "ä b" in text


def test_a_row_has_its_place_for_messages(tmp_path: Path) -> None:
    path = saved(tmp_path / "r.jsonl", score(), "", training(provenance={"commit": "c"}))
    assert read_results(path) == [
        (
            f"{path}:1",
            {"system": "a", "seed": 1, "decoder": "d", "set": "s", "provenance": {"commit": "c"}},
        )
    ]


def test_rows_of_one_training_must_agree_where_it_comes_from(make_row: Any) -> None:
    rows = [make_row("a", "d", 1), make_row("a", "e", 1, provenance={"commit": "other"})]
    with pytest.raises(ValueError, match=r"a, seed 1: one training must have one provenance"):
        results_text(rows)


def test_a_number_that_is_not_finite_is_not_written(make_row: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        results_text([make_row("a", "d", 1, wer=float("nan"))])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "must be JSON"),
        ("[", "must be JSON"),
        ([score()], "must be a JSON object, got"),
        ({"wer": 1}, "'record' must be 'training' or 'score', got None"),
        (score(system=""), "'system' must be a name, got ''"),
        (score(seed="1"), "'seed' must be an integer, got '1'"),
        (score(seed=True), "'seed' must be an integer, got True"),
        (score(seed=2), "a score needs the record of its training, a with seed 2"),
        (training(seed=3, provenance="here"), "'provenance' must be an object, got 'here'"),
        (training(), "a training must stand once, a with seed 1 stands twice"),
    ],
)
def test_a_line_that_is_no_record_is_refused_by_its_place(
    tmp_path: Path, record: Any, message: str
) -> None:
    path = saved(tmp_path / "r.jsonl", training(), record)
    with pytest.raises(ValueError, match=rf"r\.jsonl:2: {message}"):
        read_results(path)


def test_texts_may_hold_what_ends_a_line_elsewhere(tmp_path: Path, make_row: Any) -> None:
    row = {**make_row("ctc", "greedy", 1), "note": "a\u2028b\x85c"}
    path = tmp_path / "results.jsonl"
    path.write_text(results_text([row]), encoding="utf-8")
    assert [found for _, found in read_results(path)] == [row]
