"""`compare_transfer.sh`: which trainings it asks the recipe for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ottc.recipe.configs import resolve_system, system_files
from espnet_ottc.recipe.options import parse, split

RECIPES = Path(__file__).parents[2] / "egs2"
LIBRISPEECH = RECIPES / "librispeech_ottc"
CONTINUED = LIBRISPEECH / "conf" / "transfer_continued"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe whose `run.sh` only says what it was called with."""
    recipe = tmp_path / "librispeech_ottc"
    recipe.mkdir()
    shutil.copy(LIBRISPEECH / "compare_transfer.sh", recipe)
    (tmp_path / "TEMPLATE").mkdir()
    (tmp_path / "TEMPLATE" / "path.sh").write_text("")
    run = recipe / "run.sh"
    run.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" >>calls; printf "\\0" >>calls\n')
    run.chmod(0o755)
    return recipe


def _calls(folder: Path, *words: str, **variables: str) -> list:
    """The options of each call of `run.sh`."""
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    subprocess.run(["./compare_transfer.sh", *words], cwd=folder, env=environment, check=True)
    calls = (folder / "calls").read_text().rstrip("\0").split("\0\0")
    return [parse(call.split("\0")) for call in calls]


def test_all_go_on_from_one_model_and_who_has_a_teacher_is_taught_from_the_first_step(folder):
    start, *trainings, scores = _calls(folder, "mine", "--librispeech", "corpus", "--nj", "1")
    assert (split(start.systems), start.stop_stage, start.conf) == (
        ["ctc", "ottc"],
        7,
        Path("conf/transfer"),
    )
    trained = {name: call for call in trainings for name in split(call.systems)}
    assert len(trained) == 14
    assert sorted(trained) == sorted(split(scores.systems))
    assert (scores.stage, scores.stop_stage) == (8, 11)
    for name, call in trained.items():
        criterion = name.partition("_")[0]
        assert (
            f"--init_param {start.expdir}/{criterion}/seed1/valid.loss.ave.pth" in call.train_args
        )
        conf = resolve_system(CONTINUED, name).values["model_conf"]
        assert ("after_epoch=0" in call.train_args) == ("transfer_conf" in conf)
    for call in (*trainings, scores):
        assert (call.seed, call.conf) == (["1", "2", "3"], Path("conf/transfer_continued"))
        assert (call.expdir, call.datadir) == (
            Path("exp_transfer_mine"),
            Path("data_transfer_mine"),
        )
        assert (call.corpus_dir, call.nj) == (Path("corpus"), 1)
    assert set(trained) <= set(system_files(CONTINUED))


def test_some_systems_alone_are_compared(folder):
    calls = _calls(folder, "mine", criteria="ottc", variants="transfer")
    assert split(calls[-1].systems) == ["ottc", "ottc_transfer"]
    assert [split(call.systems) for call in calls[:-1]] == [["ottc"], ["ottc"], ["ottc_transfer"]]


def test_shorter_epochs_have_a_schedule_of_their_length(folder):
    more = {"batches": "30", "train_args": "--model_conf boundary_head=false"}
    calls = _calls(folder, "mine", criteria="ottc", variants="transfer", **more)
    assert [call.train_args.count("boundary_head=false") for call in calls] == [1, 1, 1, 0]
    for call, conf in zip(calls[:-1], ("transfer", *["transfer_continued"] * 2), strict=True):
        epochs = resolve_system(LIBRISPEECH / "conf" / conf, "ottc").values["max_epoch"]
        assert "--num_iters_per_epoch 30 " in call.train_args
        assert f"total_steps={30 * epochs} " in f"{call.train_args} "


def test_the_synthetic_comparison_has_text_that_the_speech_does_not_have(folder):
    scores = _calls(folder, "synthetic", criteria="ottc", variants="transfer")[-1]
    (text,) = scores.teacher_text
    sentences = (folder / text).read_text().splitlines()
    assert len(sentences) == 20000
    assert len(set(sentences)) > 15000
    assert float(scores.synthetic_hours) == 1
