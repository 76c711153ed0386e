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
    return os.getpid(), part * part

found = list(forks.work_on_parts(work, range(7)))
print(len({{process for process, _ in found}}), [square for _, square in found])
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
def test_parts_have_several_processes_and_results_keep_the_order():
    assert _said("pass")[:2] == (0, "3 [0, 1, 4, 9, 16, 25, 36]")


@linux
def test_what_killed_processes_had_is_done_here():
    line = "os.getpid() == parent or os.kill(os.getpid(), signal.SIGKILL)"
    assert _said(line)[:2] == (0, "1 [0, 1, 4, 9, 16, 25, 36]")


@linux
def test_a_process_that_is_killed_midway_leaves_what_it_has_given():
    line = "os.getpid() == parent or part < 3 or os.kill(os.getpid(), signal.SIGKILL)"
    assert _said(line)[:2] == (0, "3 [0, 1, 4, 9, 16, 25, 36]")


@linux
def test_a_fault_of_a_part_is_raised():
    status, _, fault = _said("assert part < 5, 'the sixth part'")
    assert status == 1
    assert fault.strip().endswith("AssertionError: the sixth part")


def test_where_other_threads_run_or_there_is_one_part_this_process_does_it(monkeypatch):
    def process(_: int) -> int:
        return os.getpid()

    monkeypatch.setattr(forks, "_cores", lambda: 3)
    monkeypatch.setattr(forks, "_may_fork", lambda: False)
    assert list(forks.work_on_parts(process, range(4))) == [os.getpid()] * 4
    monkeypatch.setattr(forks, "_may_fork", lambda: True)
    assert list(forks.work_on_parts(process, range(1))) == [os.getpid()]
    assert list(forks.work_on_parts(process, range(4), 1)) == [os.getpid()] * 4
    assert list(forks.work_on_parts(process, [])) == []
