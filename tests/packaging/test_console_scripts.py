"""Console scripts: each has its module, and its help imports nothing that an extra brings."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path.stem
    for path in (ROOT / "espnet_ottc" / "bin").glob("*.py")
    if "\ndef main(" in path.read_text(encoding="utf-8")
)
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HEAVY = [
    *("espnet", "espnet2", "jinja2", "kaldialign", "lhotse", "matplotlib", "numpy", "praatio"),
    *("sentencepiece", "soundfile", "torch", "torchaudio", "tqdm", "yaml"),
]
# The help of a command, in an interpreter in which none of these can be imported.
HELP = """
import runpy, sys
sys.modules.update(dict.fromkeys({heavy}, None))
sys.argv = ["command", "--help"]
runpy.run_module("espnet_ottc.bin.{module}", run_name="__main__")
"""


@pytest.mark.parametrize("module", MODULES)
def test_help_imports_nothing_heavy(module: str) -> None:
    code = HELP.format(heavy=HEAVY, module=module)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_a_command_and_its_help_has_its_name(script: str) -> None:
    module, function = SCRIPTS[script].split(":")
    assert module.rpartition(".")[2] in MODULES
    assert callable(getattr(import_module(module), function))
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False
    )
    assert script in result.stdout.splitlines()[0]


def test_there_are_ten_scripts() -> None:
    names = "align decode decode-streaming prepare recipe report score-times score-words train tune"
    assert sorted(SCRIPTS) == [f"ottc-{name}" for name in names.split()]


def test_options_are_written_with_underscores() -> None:
    for module in MODULES:
        result = subprocess.run(
            [sys.executable, "-m", f"espnet_ottc.bin.{module}", "--help"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        options = [word for word in result.stdout.split() if word.startswith("--")]
        dashed = [one for one in options if "-" in one[2:]]
        twins = {one.strip(",").replace("_", "-") for one in options if "_" in one}
        assert not [one for one in dashed if one.strip(",") not in twins], module


@pytest.mark.parametrize("module", ["asr_inference", "asr_train"])
def test_training_without_espnet_names_the_extra(module: str) -> None:
    code = "import sys; sys.modules['espnet2'] = None; sys.argv = ['x', '--config', 'a.yaml']\n"
    code += f"from espnet_ottc.bin.{module} import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "pip install 'espnet-ottc[espnet]'" in result.stderr.splitlines()[0]


SPAWNING = """
import multiprocessing, sys
from espnet_ottc.bin.asr_train import main
def child():
    print("espnet_ottc.espnet.register" in sys.modules)
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start(); process.join()
"""


def test_interpreters_that_a_training_spawns_know_ottc(tmp_path: Path) -> None:
    script = tmp_path / "ottc-train.py"
    script.write_text(SPAWNING, encoding="utf-8")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == "True"
