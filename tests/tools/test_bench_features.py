"""The script that compares compiled with plain steps."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_features.py"


@pytest.mark.slow
def test_the_loss_and_a_model_with_it_are_compiled_and_compared(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = [sys.executable, str(SCRIPT), "--size", "2,6,5,2", "--rounds", "1"]
    subprocess.run([*command, "--markdown", str(page)], check=True)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| 2, 6, 5, 2 ")
    ]
    assert [row[1].split(":")[0] for row in rows] == [
        "loss alone",
        "nothing alone",
        "model with loss",
        "model with nothing",
    ]
    for _, _, plain, compiled, more, ratio in rows:
        assert int(more) == pytest.approx(int(compiled) - int(plain), abs=1)
        assert float(ratio) == pytest.approx(int(compiled) / int(plain), abs=0.02)
