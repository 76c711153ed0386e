"""A recipe's folder is copied out of the package and finds its template there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ottc.bin.recipe import main
from espnet_ottc.recipe.copying import RECIPE_FILES, copy_recipe, recipe_names, recipes_folder

ROOT = Path(__file__).parents[2]


def tracked(folder: Path) -> set[str]:
    """Paths of the files that git knows in a folder, relative to it."""
    done = subprocess.run(
        ["git", "ls-files", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout:
        pytest.skip("not a git repository")
    return set(done.stdout.splitlines())


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_has_what_git_knows_and_nothing_that_runs_left(tmp_path: Path) -> None:
    for name in recipe_names():
        copy = copy_recipe(name, tmp_path)
        assert files_of(copy) == tracked(ROOT / "egs2" / copy.name)
    assert files_of(tmp_path / "TEMPLATE") == tracked(ROOT / "egs2" / "TEMPLATE")
    assert os.access(tmp_path / "TEMPLATE" / "ottc.sh", os.X_OK)
    assert os.access(tmp_path / "librispeech_ottc" / "run.sh", os.X_OK)


def test_the_build_copies_the_same_files() -> None:
    assert f"RECIPE_FILES = {RECIPE_FILES}".replace("'", '"') in (ROOT / "setup.py").read_text()


def test_a_copied_recipe_finds_template_and_package(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    assert main(["new", "timit", str(folder)]) == 0
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        ["bash", "-c", ". ../TEMPLATE/path.sh && command -v python"],
        cwd=folder / "timit_ottc", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(Path(sys.executable).parent / "python")


def test_a_copied_recipe_without_an_environment_says_what_to_install(tmp_path: Path) -> None:
    copy = copy_recipe("ami", tmp_path)
    path = tmp_path / "TEMPLATE" / "path.sh"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("export PATH")]
    path.write_text("\n".join(kept) + "\n")
    result = subprocess.run(
        ["bash", "-c", ". ../TEMPLATE/path.sh"],
        cwd=copy, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False,
        executable="/bin/bash",
    )  # fmt: skip
    assert result.returncode == 1
    assert "pip install 'espnet-ottc[recipe]'" in result.stderr


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["new", "librispeech", str(tmp_path)]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "must not exist yet" in capsys.readouterr().err
    (tmp_path / "TEMPLATE" / "ottc.sh").write_text("mine\n")
    assert main(["new", "ami", str(tmp_path)]) == 1
    assert "differs from that of this version" in capsys.readouterr().err
    assert not (tmp_path / "ami_ottc").exists()


def test_an_unknown_recipe_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "../TEMPLATE", str(tmp_path)]) == 1
    assert "the recipe must be one of ami, " in capsys.readouterr().err


def test_recipes_are_those_of_this_tree() -> None:
    assert recipes_folder() == ROOT / "egs2"
