"""The script that measures the loss's bars on a GPU, as far as it can be run without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_gpu.py"


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_dry_run_computes_every_bar_from_the_times_in_its_report(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    outputs = ("--json", str(figures), "--markdown", str(page))
    result = _run("--dry-run", "--rounds", "2", *outputs)
    assert result.returncode == 0, result.stderr
    report = json.loads(figures.read_text())
    found = []
    for row in report["rows"]:
        times, V = row["milliseconds"], row["size"]["V"]
        expected = {"over cross-entropy": times["ottc"] / times["cross-entropy"]}
        if V == 32:
            expected["times faster than CTC"] = times["torch CTC"] / times["ottc"]
        else:
            # Forward reads the logits, backward reads them and writes as many.
            expected["share of a copy's bandwidth"] = 3 / 2 * times["copy"] / times["ottc"]
        bars = {bar["name"]: bar["value"] for bar in row["bars"]}
        assert bars == pytest.approx(expected)
        for bar in row["bars"]:
            above = bar["value"] >= bar["limit"]
            assert bar["held"] == (above if bar["at_least"] else not above)
        found.append((V, row["dtype"]))
    assert found == [(V, dtype) for V in (32, 500) for dtype in ("float32", "bfloat16")]
    assert "A dry run on the CPU: the figures mean nothing" in page.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA device")
def test_without_a_gpu_it_says_so_and_fails() -> None:
    result = _run()
    assert result.returncode == 2
    assert "PyTorch sees no CUDA device" in result.stderr
    assert not result.stdout
