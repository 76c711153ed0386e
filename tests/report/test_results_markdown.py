"""RESULTS.md: generated from the rows and from nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

from espnet_ottc.report.markdown import render_markdown
from espnet_ottc.report.metrics import METRICS
from espnet_ottc.report.results import read_rows


def render(experiment: Any) -> str:
    experiment.save()
    return render_markdown(read_rows(experiment.results), "results.jsonl", "the command")


def cells(text: str, heading: str) -> list[list[str]]:
    """The table under a heading, as cells, without its header."""
    lines = text.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in table[2:]]


def test_a_group_shows_its_mean_and_each_seeds_value(experiment: Any) -> None:
    for row, value in zip(experiment.rows, (4.0, 40.0, 5.0, 60.0), strict=True):
        row["wer"] = value
    ctc, ottc = cells(render(experiment), "test-x")
    assert ctc[:4] == ["ctc", "forced", "1, 2", "4.50 (5.00, 4.00)"]
    assert ottc[:4] == ["ottc", "viterbi", "1, 2", "50.00 (60.00, 40.00)"]


def test_every_number_of_the_tables_is_a_rows(experiment: Any) -> None:
    known = {str(seed) for seed in (1, 2)}
    for metric in METRICS:
        values = [row[metric.key] for row in experiment.rows]
        known |= {f"{value:.{metric.decimals}f}" for value in values}
        known.add(f"{sum(values) / len(values):.{metric.decimals}f}")
    known |= {"3.91", "6.47", "80.3", "83.6"}
    counts = experiment.rows[0]["counts"]
    known |= {str(n) for part in ("words", "times") for n in counts[part].values()}
    text = render(experiment)
    for heading in ("test-x", "Each seed, with counts and bootstrap intervals"):
        found = cells(text, heading)
        assert found
        numbers = {n for line in found for cell in line for n in re.findall(r"[\d.]+\d|\d", cell)}
        # Headings have the others.
        assert numbers - known - {"1", "50", "200"} == set()


@pytest.mark.parametrize("key", [metric.key for metric in METRICS])
def test_a_changed_row_changes_the_text(experiment: Any, key: str) -> None:
    before = render(experiment)
    experiment.rows[0][key] = 7777.7
    after = render(experiment)
    assert "7777.7" in after
    assert "7777.7" not in before


def test_provenance_is_all_there(experiment: Any) -> None:
    text = render(experiment)
    for fact in (
        "commit: c0ffee5",
        "dirty: yes",
        "versions: torch 2.11.0, espnet 202511",
        "hardware: cores 2, gpus none",
        "config: conf/ottc.yaml",
        "command: asr_train --config conf/ottc.yaml --seed 2",
        "    the command",
    ):
        assert fact in text


def test_a_fact_that_was_not_recorded_is_said(experiment: Any) -> None:
    del experiment.rows[0]["provenance"]["commit"]
    assert "commit: not recorded" in render(experiment)


def test_names_cannot_break_the_table_or_bring_markup(experiment: Any) -> None:
    for row in experiment.rows:
        row["system"], row["provenance"] = "a|b<i>", {}
    text = render(experiment)
    assert "a\\|b&lt;i>" in text
    assert "<i>" not in text


def test_no_rows_are_said(tmp_path: Path) -> None:
    assert "There are no rows." in render_markdown([], "results.jsonl", "the command")
