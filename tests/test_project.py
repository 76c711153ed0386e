"""Promises about the project as a whole: the README runs, imports point down, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_ottc"

# docs and DESIGN: numerics, alignment, corpora, ESPnet, commands.  A layer may import those in its row.
LAYERS = {
    "numerics": {
        *("transport", "loss", "sotd", "targets", "label_weights", "regularizers"),
        *("best_path", "prefix_scores", "flat_start", "distributed", "validation", "kernels"),
    },
    "alignment": {"spans", "aligners", "metrics", "formats", "report", "progress"},
    "corpora": {"corpora"},
    "espnet": {"espnet"},
    "bin": {"bin"},
}
ALLOWED = {
    "numerics": {"numerics"},
    "alignment": {"alignment", "numerics"},
    "corpora": {"corpora", "alignment", "numerics"},
    "espnet": {"espnet", "corpora", "alignment", "numerics"},
    "bin": set(LAYERS),
}
FORBIDDEN = {
    "numerics": {"espnet", "espnet2", "espnetez", "lhotse", "argparse", "yaml", "torchaudio"},
    "alignment": {"espnet", "espnet2", "espnetez"},
    "corpora": {"espnet", "espnet2", "espnetez"},
}


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
    )


def layer_of(top: str) -> str:
    return next(layer for layer, names in LAYERS.items() if top in names)


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
    layer = layer_of(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "espnet_ottc" and len(parts) > 1:
            assert layer_of(parts[1]) in ALLOWED[layer], f"{path.name} imports {name}"
        assert parts[0] not in FORBIDDEN.get(layer, set()), f"{path.name} imports {name}"


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
