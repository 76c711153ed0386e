"""Progress in a log: lines alone, and a clock that knows nothing of waiting."""

from importlib import import_module

import pytest

progress = import_module("espnet_ottc.utils.progress")


def test_several_at_once_write_lines_and_move_no_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    bars = [progress.progress(title=name, unit="file", total=3) for name in "ab"]
    for bar in bars * 3:
        bar.update()
    for bar in bars:
        bar.close()
    written = capsys.readouterr().err
    assert "\x1b" not in written
    assert {line.split(" in ")[0] for line in written.splitlines()} >= {
        f"  {name}: {count} of 3" for name in "ab" for count in (1, 2)
    }


def test_the_clock_starts_with_the_first_item() -> None:
    bar = progress.progress(title="waited", unit="file", total=100)
    bar.start_t -= 3600
    bar.last_print_t -= 3600
    bar.update()
    assert bar.format_dict["elapsed"] < 60
    bar.close()
