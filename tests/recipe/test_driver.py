"""One command runs a recipe, stage by stage or as a whole, and nothing that it is given runs by itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ottc.recipe import driver
from espnet_ottc.recipe.stages import STAGES

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "egs2" / "TEMPLATE"
EVIL = [
    "$(touch touched)",
    "`touch touched`",
    "; touch touched",
    "x\ntouch touched",
    "'; touch touched; '",
]
YAML_EVIL = "!!python/object/apply:os.system ['touch touched']"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A recipe folder, as the current one, beside a copy of what all recipes share."""
    shutil.copytree(TEMPLATE, tmp_path / "TEMPLATE")
    recipe = tmp_path / "recipe"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf/train_ctc.yaml").write_text("ctc_conf: {ctc_type: builtin}\n")
    monkeypatch.chdir(recipe)
    for name in ("LIBRISPEECH", "AMI", "TIMIT", "train_cmd", "decode_cmd"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return recipe


def shell(*words: str) -> subprocess.CompletedProcess:
    """`ottc.sh` as a recipe's `run.sh` calls it."""
    command = ["../TEMPLATE/ottc.sh", "--conf", "conf", "--systems", "ctc", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_lines_of_the_shell_are_the_stages_of_the_table():
    lines = re.findall(
        r'^stage (\d+) (\w+) "(.*)" "\$@"$', (TEMPLATE / "ottc.sh").read_text(), re.M
    )
    assert lines == [(str(stage.number), stage.name, stage.title) for stage in STAGES]
    # The fourth has two parts.
    assert [stage.number for stage in STAGES] == [*range(5), *range(4, 12)]


def test_every_stage_has_its_function():
    for stage in STAGES:
        assert callable(stage.load()), stage


def test_a_stage_that_is_not_wanted_imports_neither_pytorch_nor_espnet(folder):
    code = "import sys; from espnet_ottc.recipe.driver import main; "
    code += "assert main(sys.argv[1:]) == 0; print(*sys.modules)"
    command = [sys.executable, "-c", code, "decode", "--stage", "9"]
    loaded = set(subprocess.check_output(command, text=True).split())
    assert not loaded & {"torch", "espnet2", "lhotse", "numpy", "yaml", "tqdm"}


def test_an_unknown_stage_is_named(folder, capsys):
    assert driver.main(["decodee"]) == 2
    assert "there is no stage 'decodee'; there are corpus, manifests" in capsys.readouterr().err


def test_all_wanted_stages_run_in_one_process(folder, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "espnet_ottc.recipe.stages.Stage.load", lambda stage: lambda _: seen.append(stage.number)
    )
    words = ["--conf", "conf", "--systems", "ctc", "--stage", "2", "--stop_stage", "11"]
    assert driver.main(words) == 0
    assert seen == [*range(2, 5), *range(4, 12)]
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("==")]
    assert titles == [f"== stage {stage.number}: {stage.title} ==" for stage in STAGES[2:]]


def test_the_shell_checks_first_and_then_runs_what_is_wanted(folder):
    done = shell("--stage", "6", "--stop_stage", "6")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "== stage 6: forced alignment =="
    assert second.startswith("stage 6: no system trains on a forced alignment")
    wrong = shell("--decoders", "lattice")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: there is no decode_lattice.yaml")
    unknown = shell("--sede", "1")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "usage: ./run.sh" in unknown.stderr


def test_help_is_all_that_the_shell_gives(folder):
    done = shell("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: ./run.sh") == 1
    assert "==" not in done.stdout
    assert not (folder / "data").exists()


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("option", ["--datadir", "--expdir", "--synthetic_hours", "--train_args"])
def test_nothing_in_an_option_is_executed(folder, option, evil):
    # Refused, or taken for the name that it is.
    words = [option, evil, "--conf", "conf", "--systems", "ctc", "--stage", "6"]
    assert driver.main(["forced_alignment", *words]) in (0, 1)
    assert not list(folder.rglob("touched"))


def test_the_shell_executes_nothing_of_an_option(folder):
    words = [f"--datadir={EVIL[0]}", f"--expdir=x{EVIL[1]}", "--stage", "6", "--stop_stage", "6"]
    done = shell(*words, "--train_args", EVIL[2], "--markdown", EVIL[3])
    assert done.returncode == 0, done.stderr
    assert (folder / EVIL[0]).is_dir()
    assert not list(folder.rglob("touched"))


@pytest.mark.parametrize(
    "words",
    [
        ["--train_args", f'--ctc_conf "x={YAML_EVIL}"'],
        ["--train_args", f'--ctc_conf "{YAML_EVIL}"'],
        ["--expdir", YAML_EVIL],
    ],
)
def test_no_python_object_comes_from_an_option(folder, capsys, words):
    option, text = words[0], words[1]
    assert driver.main(["check", "--conf", "conf", "--systems", "ctc", option, text]) == 1
    assert capsys.readouterr().err.startswith(f"error: {option}: ")
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("name", ["train_ctc", "decode_viterbi"])
def test_no_python_object_comes_from_a_yaml(folder, capsys, name):
    (folder / f"conf/{name}.yaml").write_text(f"ctc_conf: {YAML_EVIL}\n")
    assert driver.main(["check", "--conf", "conf", "--systems", "ctc"]) == 1
    assert f"conf/{name}.yaml: must be YAML" in capsys.readouterr().err
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("option", ["--datadir", "--expdir"])
@pytest.mark.parametrize("path", ["a,b", "a=b", "a\nb", "-a", "a: b", "a #b", "*a"])
def test_a_path_that_espnet_cannot_take_is_refused_before_anything_runs(
    folder, capsys, option, path
):
    words = ["check", "--conf", "conf", "--systems", "ctc", f"{option}={path}"]
    assert driver.main(words) == 1
    assert f"error: {option}: ESPnet cannot take this path" in capsys.readouterr().err
    assert not list(folder.rglob(".made_for.json"))


def test_names_with_blanks_and_quotes_are_taken_as_they_are(folder):
    where = "my speech's $HOME"
    assert driver.main(["check", "--conf", "conf", "--systems", "ctc", "--datadir", where]) == 0
    assert (folder / where / ".made_for.json").is_file()


@pytest.mark.parametrize("option", ["--ali_system", "--inference_model"])
def test_a_name_that_is_no_name_is_refused(folder, capsys, option):
    words = ["check", "--conf", "conf", "--systems", "ctc", option, "../a,b"]
    assert driver.main(words) == 1
    assert f"error: {option}: must be of letters, digits" in capsys.readouterr().err


def test_a_quote_that_does_not_end_is_named(folder, capsys):
    assert driver.main(["check", "--conf", "conf", "--systems", "ctc", "--train_args", "'x"]) == 1
    assert "error: --train_args: No closing quotation" in capsys.readouterr().err
