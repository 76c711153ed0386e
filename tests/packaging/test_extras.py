"""What misses an extra says which, and how to get it."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from espnet_ottc.utils.extras import EXTRAS, MissingExtraError, require_extra

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def run_without(packages: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run some lines in an interpreter in which packages seem not to be installed."""
    block = f"import sys; sys.modules.update(dict.fromkeys({packages.split()}, None))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("espnet_ottc.corpora.librispeech", "lhotse", "recipe"),
        ("espnet_ottc.espnet.register", "espnet2", "espnet"),
        ("espnet_ottc.report", "jinja2", "report"),
        ("espnet_ottc.synthesis.synthetic", "lhotse", "synth"),
    ],
)
def test_importing_a_room_without_its_extra_names_it(module: str, package: str, extra: str) -> None:
    result = run_without(package, f"import {module}")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"needs the extra [{extra}]: pip install 'espnet-ottc[{extra}]'" in last
    assert package in last


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("formats.read_supervisions(Path('a.jsonl'))", "lhotse"),
        ("formats.write_supervisions(Path('a.jsonl'), {}, {})", "lhotse"),
        ("formats.write_textgrid(Path('a.TextGrid'), {}, 1.0)", "praatio"),
        ("scoring.score_words({'u': ['A', 'B']}, {'u': ['C', 'D']})", "kaldialign"),
        ("scoring.score_words({'u': ['A']}, {'u': ['A']})", "numpy"),
    ],
)
def test_what_formats_and_scores_need_is_named_when_they_are_used(code: str, package: str) -> None:
    imports = "from pathlib import Path; from espnet_ottc.alignment import formats, scoring\n"
    result = run_without(package, imports + code)
    assert result.returncode == 1
    assert (
        f"pip install 'espnet-ottc[align]', or '.[align]' in a clone (missing: {package})"
        in result.stderr
    )


def test_text_and_ctm_need_no_extra(tmp_path: Path) -> None:
    (tmp_path / "a.ctm").write_text("u 1 0.5 0.25 HELLO\n")
    (tmp_path / "text").write_text("u HELLO\n")
    code = (
        "from pathlib import Path; from espnet_ottc.alignment import formats\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "spans = formats.read_spans(folder / 'a.ctm')\n"
        "assert [s.symbol for s in spans['u']] == formats.read_text(folder / 'text')['u']\n"
        "formats.write_ctm(folder / 'b.ctm', spans)\n"
    )
    result = run_without("kaldialign lhotse numpy praatio torch torchaudio", code)
    assert result.returncode == 0, result.stderr


def test_the_loss_runs_where_no_extra_is_installed() -> None:
    everything = " ".join({name for names in EXTRAS.values() for name in names} - {"numpy"})
    code = (
        "import torch; from espnet_ottc import ottc_loss\n"
        "loss = ottc_loss(torch.zeros(1, 4, 5, requires_grad=True), torch.zeros(1, 4),\n"
        "    torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2])); loss.backward()\n"
    )
    result = run_without(everything, code)
    assert result.returncode == 0, result.stderr


def test_the_error_names_every_missing_package() -> None:
    with pytest.raises(
        MissingExtraError, match=r"^this needs .*\(missing: no_such_one, nor_this\)$"
    ):
        require_extra("align", "this", ("sys", "no_such_one", "nor_this"))
    require_extra("align", "this", ("sys",))


def test_every_package_that_is_asked_for_is_in_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    distributions = packages_distributions()
    for extra, packages in EXTRAS.items():
        required = " ".join(extras[extra]).lower().replace("-", "_")
        for package in packages:
            names = [one.lower().replace("-", "_") for one in distributions.get(package, [package])]
            assert any(name in required for name in names), (extra, package)


def test_the_distribution_needs_pytorch_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [one.split(">")[0] for one in project["dependencies"]] == ["torch"]
