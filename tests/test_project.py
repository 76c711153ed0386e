"""Promises about the project as a whole: the README runs, imports point down, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_ottc"


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
    )


def test_imports_keep_the_contracts_of_the_rooms() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [linter, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_python_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        result = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert result.returncode == 0, result.stderr


def test_modules_and_functions_stay_small() -> None:
    scripts = [path for folder in ("benchmarks", "tools") for path in (ROOT / folder).glob("*.py")]
    for path in (*modules(), *scripts):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                start = body[0].lineno if body else node.lineno
                assert (node.end_lineno or start) - start < 60, f"{path}: {node.name}"


def test_the_seventh_argument_is_named() -> None:
    # Triton's functions and PyTorch's operators take tensors by their places.
    by_places = ("kernels/triton_ottc/", "ops/operators.py")
    for path in modules():
        if any(place in path.as_posix() for place in by_places):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                given = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                count = len(given) - (given[:1] in (["self"], ["cls"]))
                assert count <= 6, f"{path}: {node.name} takes {count} by their places"


def test_no_two_files_of_tests_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "pytest imports them by name"


def test_rows_of_results_have_no_folders_of_a_machine() -> None:
    for path in sorted((ROOT / "results").glob("*.jsonl")):
        found = re.findall(r"/(?:home|root|tmp|work)/[^ ,]*", path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: {found[0]}"


def test_every_argument_has_a_line_of_its_own_where_the_reference_shows_it() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            arguments = (ast.get_docstring(node) or "").partition("Args:\n")[2].split("\n\n")[0]
            shared = re.search(r"^    \w+(, \w+)+:", arguments, re.MULTILINE)
            assert shared is None, f"{path}: {node.name}: {shared and shared[0]}"
