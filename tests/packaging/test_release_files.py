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


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=str)
def test_an_issue_form_has_what_forms_need(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert all({"type", "attributes"} <= set(part) for part in form["body"])
