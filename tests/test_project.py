"""Promises about the project as a whole: the README runs, imports point down, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_ottc"

# docs/architecture.md: a room may import those in its row, and itself.
ALLOWED = {
    "utils": set(),
    "ops": set(),
    "alignment": {"utils", "ops"},
    "corpora": {"utils", "alignment"},
    "synthesis": {"utils", "alignment", "corpora"},
    "espnet": {"utils", "ops", "alignment"},
    "report": {"utils", "alignment"},
    "recipe": {"utils", "ops", "alignment", "corpora", "synthesis", "espnet", "report", "bin"},
    "bin": {"utils", "ops", "alignment", "corpora", "synthesis", "espnet", "report", "recipe"},
}
FORBIDDEN = {
    "ops": {"espnet", "espnet2", "espnetez", "lhotse", "argparse", "yaml", "torchaudio"},
    "alignment": {"espnet", "espnet2", "espnetez"},
    "corpora": {"espnet", "espnet2", "espnetez"},
    "synthesis": {"espnet", "espnet2", "espnetez"},
    "report": {"espnet", "espnet2", "espnetez"},
}


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
    )


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "espnet_ottc" and len(parts) > 1:
            assert parts[1] in {room, *ALLOWED[room]}, f"{path.name} imports {name}"
        assert parts[0] not in FORBIDDEN.get(room, set()), f"{path.name} imports {name}"


def test_python_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        result = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert result.returncode == 0, result.stderr


def test_modules_and_functions_stay_small() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                start = body[0].lineno if body else node.lineno
                assert (node.end_lineno or start) - start < 60, f"{path}: {node.name}"
