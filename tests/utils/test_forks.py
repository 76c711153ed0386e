"""Work on parts of a sequence by several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ottc.utils import forks

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
CODE = """
import os, signal
from espnet_ottc.utils import forks

forks._cores = lambda: 3
parent = os.getpid()

def work(part):
    {line}
    return os.getpid(), sum(part)

found = forks.work_in_parts(work, range(10), 3)
print(len({{process for process, _ in found}}), [total for _, total in found])
"""


def _said(line: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(line=line)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


@linux
def test_each_part_has_a_process_and_results_keep_the_order():
    assert _said("pass")[:2] == (0, "3 [3, 12, 30]")


@linux
def test_what_a_killed_process_had_is_done_here():
    line = "os.getpid() == parent or os.kill(os.getpid(), signal.SIGKILL)"
    assert _said(line)[:2] == (0, "1 [3, 12, 30]")


@linux
def test_a_fault_of_a_part_is_raised():
    status, _, fault = _said("assert part[0] < 6, 'the third part'")
    assert status == 1
    assert fault.strip().endswith("AssertionError: the third part")


def test_where_other_threads_run_or_little_is_to_do_there_is_one_part(monkeypatch):
    monkeypatch.setattr(forks, "_cores", lambda: 3)
    monkeypatch.setattr(forks, "_may_fork", lambda: False)
    assert forks.work_in_parts(len, range(10), 3) == [10]
    monkeypatch.setattr(forks, "_may_fork", lambda: True)
    assert forks.work_in_parts(len, range(2), 3) == [2]
    assert forks.work_in_parts(len, range(10), 3, 1) == [10]
