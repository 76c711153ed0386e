"""Bars on a terminal, lines in a log."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import pytest

from espnet_ottc.utils import progress

PROGRAM = """
import time
from espnet_ottc.utils import progress
progress._SECONDS = 0.05
for _ in progress.progress(range(4), title="work", unit="piece"):
    time.sleep(0.1)
"""


def test_a_log_gets_whole_lines():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("  work: ") and " of 4 in 00:0" in line for line in lines)


def test_a_terminal_gets_a_bar_and_is_clean_afterwards():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, check=True)
    assert select.select([ours], [], [], 10)[0]
    shown = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "work:  50%|" in shown
    assert shown.endswith("\r")
    assert shown.count("\n") == 0


def test_what_is_soon_done_says_nothing(capsys):
    assert list(progress.progress([1, 2], title="work", unit="piece")) == [1, 2]
    bar = progress.progress(title="work", unit="piece", total=3)
    bar.update()
    bar.close()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_lines_say_how_much_is_done(fraction, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    with progress.progress(title="work", unit="piece", total=4) as bar:
        bar.update(int(4 * fraction))
    assert f"work: {int(4 * fraction)} of 4" in capsys.readouterr().err
