"""Files that releases and the hosted checks read agree with the project."""

import re
from pathlib import Path

import pytest
import yaml

import espnet_ottc

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == espnet_ottc.__version__.removesuffix(".dev0")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_of_the_makefile(path: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {command.split()[1] for command in commands if command.startswith("make ")}
    assert called
    assert called <= set(targets)


def test_the_loss_is_tested_on_every_python_that_is_promised() -> None:
    promised = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text())
    test = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert test["loss"]["strategy"]["matrix"]["python"] == promised
    oldest = re.search(
        r'dependencies = \["torch>=([\d.]+)"\]', (ROOT / "pyproject.toml").read_text()
    )
    assert oldest is not None
    assert test["loss"]["strategy"]["matrix"]["torch"][0] == f"torch=={oldest[1]}.*"


def test_the_locks_hold_the_newest_and_the_oldest_espnet_that_is_supported() -> None:
    bounds = {
        marker: (oldest, int(after))
        for oldest, after, marker in re.findall(
            r'"espnet>=(\d+),<(\d+); python_version (.+)"', (ROOT / "pyproject.toml").read_text()
        )
    }
    newest, oldest = (_espnet_of(name) for name in ("requirements.lock", "requirements-older.lock"))
    assert set(bounds) == set(newest) == set(oldest) == {"< '3.12'", ">= '3.12'"}
    for marker, (first, after) in bounds.items():
        assert oldest[marker] == first
        assert int(newest[marker]) == after - 1


def _espnet_of(lock: str) -> dict[str, str]:
    """By the versions of Python."""
    lines = (ROOT / lock).read_text()
    return {
        marker: version
        for version, marker in re.findall(r"^espnet==(\d+) ; python_full_version (.+)", lines, re.M)
    }


def test_the_oldest_lock_holds_the_oldest_pytorch_that_is_supported() -> None:
    project, lock = (ROOT / "pyproject.toml", ROOT / "requirements-older.lock")
    oldest = set(re.findall(r'"torch>=([\d.]+)', project.read_text()))
    assert len(oldest) == 1
    assert re.findall(r"^torch==([\d.]+)$", lock.read_text(), re.M) == [f"{oldest.pop()}.0"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=str)
def test_an_issue_form_has_what_forms_need(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert all({"type", "attributes"} <= set(part) for part in form["body"])
