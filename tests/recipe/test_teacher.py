"""Stage 4 trains the language model that teaches where a system asks for it, and the trainings get it."""

import argparse
from pathlib import Path

import pytest

from espnet_ottc.recipe import teacher
from espnet_ottc.recipe.checks import _check_transfer
from espnet_ottc.recipe.configs import Config
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.training import training_command, training_step

CONF = Path(__file__).parents[2] / "egs2" / "librispeech_ottc" / "conf" / "mini"


def options(*systems: str) -> argparse.Namespace:
    return parse(["--corpus", "librispeech", "--conf", str(CONF), "--systems", *systems])


def test_systems_that_name_no_teacher_get_the_recipes_own(monkeypatch):
    monkeypatch.chdir(CONF.parents[1])
    recipe = Recipe(options("ctc", "ctc_transfer", "ctc_transfer_random_teacher"))
    wanted = {system.name: system.needs_teacher for system in recipe.systems}
    assert wanted == {"ctc": False, "ctc_transfer": True, "ctc_transfer_random_teacher": False}
    for system in recipe.systems:
        command = " ".join(training_command(recipe, system, 1))
        step = training_step(recipe, system, 1)
        given = "--model_conf transfer_conf.teacher_path=exp/teacher/masked_lm.pth" in command
        assert given is (recipe.paths.teacher in step.inputs) is wanted[system.name]
        assert (recipe.paths.teacher_mark in step.after) is wanted[system.name]


def test_without_such_a_system_nothing_is_trained(monkeypatch, capsys):
    monkeypatch.chdir(CONF.parents[1])
    teacher.train(Recipe(options("ctc", "ottc_transfer_adapter_only")))
    assert "no system is taught by a language model of its own, skipped" in capsys.readouterr().out


def system(size: int, **conf: object) -> System:
    values = {
        "postencoder_conf": {"linguistic_size": size},
        "model_conf": {"transfer_conf": {"teacher": "masked_lm", **conf}},
    }
    return System(f"x{size}", Config(values, (Path("train_x.yaml"),)))


def test_one_teacher_has_one_size():
    assert teacher.teacher_size([system(64), system(64)]) == 64
    with pytest.raises(ValueError, match="must have the same linguistic_size, got 32, 64"):
        teacher.teacher_size([system(64), system(32)])


def test_options_of_the_transfer_are_checked_before_anything_runs(monkeypatch):
    monkeypatch.chdir(CONF.parents[1])
    recipe = Recipe(options("ctc"))
    with pytest.raises(ValueError, match=r"train_x\.yaml: transfer_conf has no option 'ordr'"):
        _check_transfer(recipe, system(64, ordr="plan"))
