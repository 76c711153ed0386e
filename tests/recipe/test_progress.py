"""Bars on a terminal, lines in a log, and a clock that knows nothing of waiting."""

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

# How long a piece takes is nobody's business here: each is drawn, however slow the machine.
PROGRAM = """
from espnet_ottc.utils import progress
progress._SECONDS = 0.0
bar = progress.progress(title="work", unit="piece", total=4)
for _ in range(4):
    bar.update()
    bar.refresh()
bar.close()
"""


def test_a_log_gets_whole_lines():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert {line.split(" in ")[0] for line in lines} >= {
        f"  work: {count} of 4" for count in range(1, 5)
    }
    assert all(line.startswith("  work: ") and line.endswith(" to go") for line in lines)


def _on_a_terminal(program: str, columns: int) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    subprocess.run(
        [sys.executable, "-c", program],
        stdout=theirs,
        stderr=theirs,
        env=environment,
        check=True,
    )
    assert select.select([ours], [], [], 10)[0]
    shown = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    return shown


def test_a_terminal_gets_a_row_and_is_clean_afterwards():
    shown = _on_a_terminal(PROGRAM, 100)
    assert "work" + " " * 35 + " 50% |█████     |       2 of 4 " in shown
    assert shown.endswith("\r")
    assert shown.count("\n") == 0


TABLE = """
import re, sys
from espnet_ottc.utils import progress
progress._SECONDS = 0.0
names = "short", "a title of another length", "one that is " + "much " * 20 + "too long"
totals = 9, 12345, None
bars = [
    progress.progress(title=name, unit="piece", total=total) for name, total in zip(names, totals)
]
for bar in bars:
    bar.update(3)
    bar.refresh()
    bar.fp.write("\\n" + str(bar) + "\\n")
"""


def test_what_runs_at_a_time_is_one_table():
    shown = _on_a_terminal(TABLE, 110).splitlines()
    rows = [
        [line for line in shown if line.startswith(start)][-1]
        for start in ("short ", "a title ", "one that ")
    ]
    assert all(len(row) <= 110 for row in rows)
    # Counts and times stand below each other.
    assert len({row.index("      3 ") for row in rows}) == 1
    assert len({row.index("|") for row in rows[:2]}) == 1
    assert rows[2].startswith("one that is much much ")


def test_what_is_soon_done_says_nothing(capsys):
    assert list(progress.progress([1, 2], title="work", unit="piece")) == [1, 2]
    bar = progress.progress(title="work", unit="piece", total=3)
    bar.update()
    bar.close()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_several_at_once_write_lines_and_move_no_cursor(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    bars = [progress.progress(title=name, unit="file", total=3) for name in "ab"]
    for bar in bars * 3:
        bar.update()
        bar.refresh()
    for bar in bars:
        bar.close()
    written = capsys.readouterr().err
    assert "\x1b" not in written
    assert {line.split(" in ")[0] for line in written.splitlines()} >= {
        f"  {name}: {count} of 3" for name in "ab" for count in (1, 2, 3)
    }


def test_the_clock_starts_with_the_first_item():
    bar = progress.progress(title="waited", unit="file", total=100)
    bar.start_t -= 3600
    bar.last_print_t -= 3600
    bar.update()
    assert bar.format_dict["elapsed"] < 60
    bar.close()


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_lines_say_how_much_is_done(fraction, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    with progress.progress(title="work", unit="piece", total=4) as bar:
        bar.update(int(4 * fraction))
    assert f"work: {int(4 * fraction)} of 4" in capsys.readouterr().err


def test_a_stream_has_no_end_to_be_estimated():
    program = PROGRAM.replace(", total=4", "")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert {line.split(" in ")[0] for line in lines} >= {f"  work: {n}" for n in range(1, 5)}
    assert not any("?" in line or "to go" in line for line in lines)
