"""The command `espnet_ottc.bin.report`."""

import sys
from typing import Any

import pytest

from espnet_ottc.bin.report import main


def test_it_writes_both_files_and_prints_the_table_and_their_paths(
    experiment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    arguments = experiment.arguments()
    assert main(arguments) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    name, figures = ["test-x", "ctc", "forced"], ["5.43", "62.0", "82.2", "74.9", "13.1"]
    assert lines[1].split() == [*name, "2", *figures]
    assert lines[-1] == f"report: {experiment.html}"
    assert said.err == ""
    assert f"--results {experiment.results}" in experiment.html.read_text()
    assert f"--results {experiment.results}" in experiment.markdown.read_text()
    assert sorted(p.name for p in experiment.exp.iterdir() if p.is_file()) == [
        "report.html",
        "results.jsonl",
    ]


def test_what_is_missing_is_said_on_stderr_too(
    experiment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    (experiment.data / "test-x" / "cuts.jsonl.gz").unlink()
    assert main(experiment.arguments()) == 0
    assert "missing from the report: recordings: " in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{", "[{}]"])
def test_a_faulty_results_file_is_one_line_and_status_1(
    experiment: Any, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    arguments = experiment.arguments()
    if content is None:
        experiment.results.unlink()
    else:
        experiment.results.write_text(content)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert not experiment.html.exists()


def test_without_matplotlib_the_markdown_is_there_and_the_extra_is_named(
    experiment: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(experiment.arguments()) == 1
    assert "pip install 'espnet-ottc[report]'" in capsys.readouterr().err
    assert experiment.markdown.exists()
    assert not experiment.html.exists()


@pytest.mark.parametrize(
    "option", [["--utterances", "-1"], ["--audio_limit_mb", "nan"], ["--htlm"]]
)
def test_wrong_options_are_status_2(experiment: Any, option: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*experiment.arguments(), *option])
    assert end.value.code == 2


def test_details_print_every_score_with_its_interval_counts_and_provenance(
    experiment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--results", str(experiment.results), "--details"]) == 0
    said = capsys.readouterr().out
    assert "| test-x | ctc | forced | 1 | WER | % | 5.33 | [3.91, 6.47] | Snt 211," in said
    assert "commit: c0ffee5" in said


def test_a_list_of_rows_of_an_earlier_version_is_refused(
    experiment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.results.write_text('[\n {"system": "ctc"}\n]\n')
    assert main(["--results", str(experiment.results)]) == 1
    assert "results.jsonl:1: must be JSON" in capsys.readouterr().err
