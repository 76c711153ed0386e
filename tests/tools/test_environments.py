"""The scripts that make environments choose the Python that they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as PATH, with the interpreter of this test and a shim of pyenv that stands for none."""
    (tmp_path / f"python{HERE}").symlink_to(sys.executable)
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.99: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    return tmp_path


def _script(place: Path, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    environment = {"PATH": f"{place}:/usr/bin:/bin", "PYENV_ROOT": str(place / "pyenv"), **more}
    command = ["bash", str(ROOT / "tools" / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_first_version_that_works_is_found(place: Path) -> None:
    found = _script(place, "find_python.sh", "3.99", HERE, "3.0")
    assert (found.returncode, found.stdout.strip()) == (0, str(place / f"python{HERE}"))


def test_an_interpreter_of_pyenv_is_found_before_a_later_version_on_the_path(place: Path) -> None:
    aside = place / "pyenv" / "versions" / "3.99.1" / "bin" / "python"
    aside.parent.mkdir(parents=True)
    aside.write_text("#!/bin/sh\nexit 0\n")
    aside.chmod(0o755)
    found = _script(place, "find_python.sh", "3.99", HERE)
    assert found.stdout.strip() == str(aside)


def test_no_interpreter_is_a_failure_without_output(place: Path) -> None:
    found = _script(place, "find_python.sh", "3.99")
    assert (found.returncode, found.stdout) == (1, "")


def test_an_unsupported_python_that_is_named_is_refused(place: Path) -> None:
    named = _script(place, "venv.sh", str(place / "venv"), PYTHON="python3.99")
    assert named.returncode == 1
    assert "python3.99 is no Python 3.10 to 3.13" in named.stderr
    assert not (place / "venv").exists()
