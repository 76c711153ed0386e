"""Which code made a result."""

import subprocess

import pytest

import espnet_ottc
from espnet_ottc.utils.provenance import provenance


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with the package and results, all of it committed."""
    for name in ("espnet_ottc/__init__.py", "results/x.jsonl", "docs/x.md", "setup.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(espnet_ottc, "__file__", str(tmp_path / "espnet_ottc" / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        (None, False),
        ("results/x.jsonl", False),
        ("results/new.jsonl", False),
        ("docs/x.md", False),
        ("setup.py", True),
        ("espnet_ottc/new.py", True),
        ("espnet_ottc/results", True),
    ],
)
def test_what_runs_write_makes_no_tree_dirty_and_all_else_does(tree, path, dirty):
    if path is not None:
        (tree / path).write_text("changed")
    about = provenance()
    assert about["dirty"] is dirty
    assert len(about["commit"]) == 40


def test_without_a_repository_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(espnet_ottc, "__file__", str(tmp_path / "__init__.py"))
    about = provenance()
    assert (about["commit"], about["dirty"]) == (None, None)
