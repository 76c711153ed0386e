"""Trainings by several processes, as the recipe starts them."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from tiny_recipe import HOURS, ROOT, recipe_folder, run_command

from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.training import training_command
from espnet_ottc.recipe.units import MEETING
from espnet_ottc.utils.training_records import read_epochs

LAUNCHER = "espnet_ottc.bin.train_processes"
TRAINING = "espnet_ottc.bin.asr_train"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command of a training under these options."""
    monkeypatch.chdir(recipe_folder(tmp_path))

    def of(*words: str) -> list[str]:
        recipe = Recipe(parse(["--conf", "conf/tiny", *words]))
        return training_command(recipe, recipe.systems[0], 1)

    return of


def test_one_process_needs_no_launcher(command):
    assert command()[:3] == [sys.executable, "-m", TRAINING]


def test_several_gpus_are_a_process_each(command):
    words = command("--ngpu", "4")
    assert words[:3] == [sys.executable, "-m", LAUNCHER]
    assert words[words.index("--nproc") + 1] == "4"
    # ESPnet's own: of each process.
    assert words[words.index("--ngpu") + 1] == "1"
    assert words[words.index("--dist_backend") + 1] == "nccl"


def test_several_machines_are_a_step_of_their_job(command):
    Path("cluster.yaml").write_text("{cluster: slurm, cores: 2, train: {workers: 1, nodes: 3}}")
    words = command("--cluster", "cluster.yaml", "--nproc", "2")
    assert words[:4] == ["srun", "--nodes=3", "--ntasks=3", "--ntasks-per-node=1"]
    assert words[words.index("--nnodes") + 1] == "3"
    assert words[words.index("--nproc") + 1] == "2"
    assert words[words.index("--meeting") + 1] == MEETING
    assert words[words.index("--dist_backend") + 1] == "gloo"


def test_a_stream_takes_the_place_of_cuts_and_texts(command):
    words = command("--shar", "s3://speech/", "--train_set", "train-clean-100")
    streams = [text for flag, text in pairwise(words) if flag.endswith("_name_and_type")]
    assert streams == [
        "s3://speech/train-clean-100,speech,shar",
        "s3://speech/dev-clean,speech,shar",
    ]
    assert not any(word.endswith("_shape_file") for word in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("sys.exit(0)", 0)]
)
def test_the_launcher_ends_as_its_processes_do(tmp_path, end, status):
    (tmp_path / "ends.py").write_text(f"import os, sys\nif os.environ['RANK'] == '1':\n    {end}\n")
    done = subprocess.run(
        [sys.executable, "-m", LAUNCHER, "--nproc", "2", "ends", "--option"],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == status, done.stderr


@pytest.mark.slow
def test_two_processes_that_are_told_to_end_go_on_after_their_epoch(tmp_path):
    pytest.importorskip("espeakng_loader", reason="the default corpus is spoken by espeak-ng")
    recipe = recipe_folder(tmp_path)
    path = recipe / "conf/tiny/train_ctc.yaml"
    config = yaml.safe_load(path.read_text())
    steps = 8 * config["num_iters_per_epoch"]
    config |= {
        "max_epoch": 8,
        "scheduler_conf": {**config["scheduler_conf"], "total_steps": steps},
    }
    path.write_text(yaml.safe_dump(config))

    def start(exp: str) -> "subprocess.Popen[str]":
        words, environment = run_command(
            *(*HOURS, "--synthetic_test_hours", "0.006", "--eval_sets", "test-clean"),
            *("--systems", "ctc", "--nproc", "2", "--stop_stage", "5", "--expdir", exp),
        )
        return subprocess.Popen(
            words, cwd=recipe, env=environment, stdout=subprocess.PIPE, text=True
        )

    said = {}
    for exp in ("calm", "told"):
        with start(exp) as run:
            said[exp] = ""
            assert run.stdout is not None
            for line in run.stdout:
                said[exp] += line
                if exp == "told" and "epoch 2:" in line:
                    _tell(recipe / exp, signal.SIGUSR1)
        assert run.returncode == 0, said[exp]
    assert "tried again" in said["told"]
    assert said["told"].count("epoch 1:") == 1
    log = (recipe / "told/ctc/seed1/train.log").read_text()
    assert "SIGUSR1: ended before epoch" in log
    assert f"{LAUNCHER} --nproc 2" in log
    losses = {
        exp: [one.train["loss"] for one in read_epochs(recipe / exp / "ctc/seed1")] for exp in said
    }
    assert len(losses["calm"]) == 8
    assert losses["told"] == losses["calm"]
    states = [torch.load(recipe / exp / "ctc/seed1/8epoch.pth", weights_only=True) for exp in said]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)


def _tell(exp: Path, number: int) -> None:
    """Send a signal to the launcher of a training."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if LAUNCHER in words and any(exp.name in word for word in words):
            subprocess.run(["kill", f"-{int(number)}", folder.name], check=True)
