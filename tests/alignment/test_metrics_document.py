"""The worked examples of docs/mathematics/metrics.md, run as they stand."""

import doctest
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "mathematics" / "metrics.md"


def test_every_example_of_the_document_gives_the_number_it_states() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    examples = doctest.DocTestParser().get_doctest(
        "\n".join(blocks), {}, DOCUMENT.name, str(DOCUMENT), 0
    )
    outputs = [example for example in examples.examples if example.want]
    assert len(outputs) >= 12
    faults: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=faults.append)
    assert result.failed == 0, "".join(faults)


def test_the_document_names_every_figure_of_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in (
        "WER",
        "S.Err",
        "coverage",
        "precision",
        "recall",
        "F1",
        "Strict F1",
        "IDR",
        "IoU",
    ):
        assert name in text
    for name in ("MAE", "median", "share within", "peaky", "raw", "silence"):
        assert name in text


def test_the_example_of_scoring_from_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCUMENT.parents[1] / "howto" / "score_times.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    exec(block, {})
    assert "start F1 %, within 50 ms" in capsys.readouterr().out
