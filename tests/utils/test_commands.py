"""What every command shares: exit status, lines for the user, logs."""

import io
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

from espnet_ottc.utils.commands import UserError, quiet_imports, run, say


def _raising(fault: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise fault

    return command


@pytest.mark.parametrize("with_bars", [False, True])
def test_a_line_is_written_with_its_end_since_other_threads_write_too(
    with_bars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Stream())
    monkeypatch.setitem(sys.modules, "tqdm", pytest.importorskip("tqdm") if with_bars else None)
    say("stage 8: started")
    assert [text for text in written if text] == ["stage 8: started\n"]


@pytest.mark.parametrize("kind", [UserError, ValueError, FileNotFoundError, ModuleNotFoundError])
def test_a_fault_of_the_users_is_one_line_and_status_1(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(_raising(kind("u1: no words"))) == 1
    assert capsys.readouterr() == ("", "error: u1: no words\n")


def test_success_is_status_0() -> None:
    assert run(lambda: "anything") == 0


def test_a_fault_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(_raising(ZeroDivisionError()))


@pytest.mark.parametrize("first", ["", "import tqdm\n"])
def test_lines_are_said_with_and_without_progress_bars(first: str) -> None:
    code = f"{first}from espnet_ottc.utils.commands import say\nsay('done')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"


def test_a_line_goes_above_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    with tqdm(total=2) as bar:
        bar.update()
        say("half of it")
    assert capsys.readouterr().out == "half of it\n"


def test_what_imports_print_and_warn_of_is_hidden_and_their_errors_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with quiet_imports():
        print("hello")
        print("careful", file=sys.stderr)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ImportError), quiet_imports():
        raise ImportError("no such package")


def test_a_fault_of_the_user_may_have_an_exit_status_of_its_own() -> None:
    def doubtful() -> None:
        raise UserError("too much is doubtful", status=3)

    assert run(doubtful) == 3
