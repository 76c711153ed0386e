"""Options of a recipe are checked before anything runs."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet_ottc.recipe import feature_statistics, jobs, plan
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.sets import librispeech_sets, official_sets

ROOT = Path(__file__).parents[2]
FULL = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)
SMALL = ("train-clean-100", "dev-clean", "test-clean")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A recipe folder with two configurations, as the current one, beside the decoders of all recipes."""
    shutil.copytree(ROOT / "egs2/TEMPLATE/conf", tmp_path / "TEMPLATE/conf")
    recipe = tmp_path / "recipe"
    conf = recipe / "conf" / "mini"
    conf.mkdir(parents=True)
    (conf / "train_ctc.yaml").write_text("ctc_conf: {ctc_type: builtin}\n")
    (conf / "train_ottc.yaml").write_text("ctc_conf: {ctc_type: ottc, boundary_label: <space>}\n")
    monkeypatch.chdir(recipe)
    for name in ("LIBRISPEECH", "AMI", "TIMIT"):
        monkeypatch.delenv(name, raising=False)
    return recipe


def corpus(folder: Path, parts: tuple[str, ...] = SMALL) -> Path:
    for part in parts:
        (folder / "LibriSpeech" / part).mkdir(parents=True)
    return folder / "LibriSpeech"


def recipe(*words: str) -> Recipe:
    return Recipe(parse(words))


def shell(text: str, *names: str) -> list[str]:
    """What bash makes of the assignments: the values of some variables, one a line."""
    show = "; ".join(f'printf "%s\\n" "${{{name}[@]}}"' for name in names)
    done = subprocess.run(
        ["bash", "-euc", f'eval "$1"; {show}', "bash", text],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_without_a_corpus_speech_is_synthesised(folder, capsys):
    assert plan.main(["--synthetic_hours", "0.1", "--nj", "3"]) == 0
    found = capsys.readouterr().out
    assert shell(found, "synthesise", "corpus", "nj") == [
        "yes",
        "downloads/synthetic-hours0.1",
        "3",
    ]
    assert shell(found, "parts") == list(SMALL)
    assert shell(found, "synthetic") == ["--hours", "0.1"]


def test_the_corpus_comes_from_the_option_or_the_environment(folder, monkeypatch, capsys):
    where = corpus(folder)
    assert plan.main(["--librispeech", str(where)]) == 0
    by_option = capsys.readouterr().out
    monkeypatch.setenv("LIBRISPEECH", str(where))
    assert plan.main([]) == 0
    assert capsys.readouterr().out == by_option
    assert shell(by_option, "corpus", "synthesise") == [str(where), ""]


def test_names_with_blanks_and_quotes_reach_the_shell_whole(folder, capsys):
    where = corpus(folder / "my speech's $HOME")
    assert plan.main(["--librispeech", str(where)]) == 0
    assert shell(capsys.readouterr().out, "corpus") == [str(where)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--stage 5 --stop_stage 4", "--stage <= --stop_stage"),
        ("--stop_stage 12", "--stop_stage <= 11"),
        ("--seed 1 x", "--seed must be whole numbers"),
        ("--seed 1 1", "--seed must be one or more different"),
        ("--systems ctc otc", r"no train_otc.yaml in conf/mini, but ctc, ottc"),
        (
            "--decoders lattice",
            r"no decode_lattice.yaml in conf/mini or ../TEMPLATE/conf, but beam, best_path, greedy",
        ),
        ("--conf nowhere", "no train_ctc.yaml in nowhere"),
        ("--librispeech nowhere", "must be a directory, got nowhere"),
        ("--train_set train_960", "lacks train-clean-360, train-other-500"),
        ("--eval_sets test-other", "lacks test-other"),
        ("--synthetic_hours none", "must be a positive number, got none"),
        ("--synthetic_hours -1", "must be a positive number, got -1"),
        ("--ngpu 99", "--ngpu 99: this machine has"),
        ("--ali_from nowhere", "there is no nowhere"),
        ("--ali_from conf", "there is no conf/valid.loss.best.pth"),
        ("--alignments .", "--alignments has no meaning without a corpus"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(folder, capsys, words, message):
    assert plan.main(shlex.split(words)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(message, printed.err), printed.err
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "words", [["--sede", "1"], ["--see", "1"], ["--nj", "0"], ["--ngpu", "-1"]]
)
def test_an_unknown_option_or_value_shows_the_usage(folder, capsys, words):
    with pytest.raises(SystemExit, match="2"):
        plan.main(words)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: ./run.sh" in printed.err


def test_help_is_for_the_eyes_and_stops_the_shell(folder, capsys):
    assert plan.main(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "exit 0\n"
    assert "--train_set" in printed.err


def test_k2_is_missed_at_once_where_it_is_asked_for(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    assert plan.main(["--ctc_aligner", "auto"]) == 0
    assert plan.main(["--ctc_aligner", "k2"]) == 1
    assert "k2 cannot be imported" in capsys.readouterr().err


def test_without_k2_done_marks_stay_those_of_torchaudio(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    assert recipe().aligner("forced_align") == "torchaudio_ctc"
    assert recipe().aligner("viterbi") == "viterbi"


def test_synthetic_hours_and_a_corpus_exclude_each_other(folder, capsys):
    words = ["--librispeech", str(corpus(folder)), "--synthetic_dev_hours", "1"]
    assert plan.main(words) == 1
    assert "no meaning with a corpus" in capsys.readouterr().err


def test_data_and_experiments_are_not_shared_by_different_runs(folder, capsys):
    assert plan.main([]) == 0
    assert plan.main(["--librispeech", str(corpus(folder))]) == 1
    assert "data was made for the corpus" in capsys.readouterr().err
    (folder / "conf" / "mini").rename(folder / "conf" / "other")
    assert plan.main(["--conf", "conf/other"]) == 1
    assert "exp was made for the configurations" in capsys.readouterr().err
    assert plan.main(["--conf", "conf/other", "--expdir", "exp2"]) == 0


def test_several_values_may_be_quoted_or_apart(folder):
    assert recipe("--seed", "1 2").seeds == recipe("--seed", "1", "2").seeds == (1, 2)
    names = [system.name for system in recipe("--systems", "ottc ctc").systems]
    assert names == ["ottc", "ctc"]


def test_systems_are_what_their_yaml_says(folder):
    (folder / "conf/mini/train_new.yaml").write_text(
        "ctc_conf: {ctc_type: ottc, label_weights: ali}\n"
    )
    ctc, ottc, new = recipe("--systems", "ctc", "ottc", "new").systems
    assert (ctc.criterion, ctc.aligners) == ("ctc", ("forced_align",))
    assert (ottc.criterion, ottc.aligners) == ("ottc", ("transport", "viterbi"))
    assert [s.needs_alignment for s in (ctc, ottc, new)] == [False, False, True]
    assert (ctc.stage, new.stage) == (5, 7)


def test_a_folder_inherits_systems_and_the_plan_writes_what_they_amount_to(folder, capsys):
    (folder / "conf/mini/base.yaml").write_text(
        "base: ../../../TEMPLATE/conf/mini/base.yaml\nmax_epoch: 8\n"
    )
    assert plan.main(["--systems", "ottc_plain"]) == 0
    written = yaml.safe_load((folder / "exp/.configs/ottc_plain.yaml").read_text())
    assert written["max_epoch"] == 8
    assert written["ctc_conf"] == {"ctc_type": "ottc", "freeze_alpha_after_epoch": 6}


def test_a_misspelt_criterion_of_a_base_is_said_before_anything_runs(folder, capsys):
    (folder / "conf/mini/base.yaml").write_text("criteria: {otc: {alpha: uniform}}\n")
    (folder / "conf/mini/train_ottc.yaml").write_text(
        "base: base.yaml\nctc_conf: {ctc_type: ottc}\n"
    )
    assert plan.main([]) == 1
    assert "criteria of its bases must be among builtin, ottc" in capsys.readouterr().err


def test_systems_that_share_statistics_must_share_features(folder):
    (folder / "conf/mini/train_ctc.yaml").write_text("frontend_conf: {n_mels: 40}\n")
    with pytest.raises(ValueError, match="must have the frontend and normalisation"):
        recipe()


def test_a_misspelt_option_of_the_criterion_is_said_before_anything_runs(folder, capsys):
    (folder / "conf/mini/train_ottc.yaml").write_text(
        "ctc_conf: {ctc_type: ottc, alhpa: uniform}\n"
    )
    assert plan.main([]) == 1
    assert re.search("train_ottc.yaml: .*'alhpa'; did you mean alpha", capsys.readouterr().err)


def test_a_system_that_trains_on_an_alignment_needs_somebody_to_align(folder, capsys):
    (folder / "conf/mini/train_new.yaml").write_text("ctc_conf: {ctc_type: single_path}\n")
    assert plan.main(["--systems", "new"]) == 1
    assert "alignment of ctc, and there is no exp/ctc/seed1/" in capsys.readouterr().err
    assert plan.main(["--systems", "new", "ctc"]) == 0
    assert plan.main(["--systems", "new", "--stage", "8"]) == 0
    model = folder / "exp/ctc/seed1/valid.loss.best.pth"
    model.parent.mkdir(parents=True)
    model.touch()
    assert plan.main(["--systems", "new"]) == 0


def test_absent_parts_are_named_and_alignments_may_lie_apart(folder, capsys):
    there = corpus(folder, (*SMALL, "test-other"))
    for part in (*SMALL, "test-other"):
        (folder / "alignments" / part).mkdir(parents=True)
    words = ["--librispeech", str(there), "--alignments", "alignments"]
    assert plan.main([*words, "--drop_bad_alignments"]) == 0
    printed = capsys.readouterr().out
    assert "absent=dev-other\n" in printed
    assert "alignments=(--alignments alignments)\n" in printed
    assert "bad_alignments=(--drop_bad_alignments)\n" in printed
    assert "alignments/test-other)" in printed
    (folder / "alignments/test-other").rmdir()
    assert plan.main(words) == 1
    assert "alignments has no test-other" in capsys.readouterr().err


def test_statistics_are_collected_with_the_options_of_the_training(folder, monkeypatch):
    commands = []
    monkeypatch.setattr(jobs, "run_logged", lambda command, *_, **__: commands.append(command))
    words = ("--systems", "ottc", "--train_args", "--seed 7")
    feature_statistics._collect_split(recipe(*words), folder / "split", None)
    command = shlex.join(commands[0])
    assert "--config exp/.configs/ottc.yaml" in command
    assert command.count("--seed 7") == 1
    # Only what matters makes the stage run again.
    args = "--seed 7 --frontend_conf n_mels=40 hop_length=80 --patience 3 --normalize=none"
    assert recipe("--train_args", args).feature_options == [
        *("--frontend_conf", "n_mels=40", "hop_length=80", "--normalize=none")
    ]


def test_a_gpu_to_align_on_has_to_be_there(folder, monkeypatch):
    assert recipe().device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"this machine has none: decode_cmd \(cmd.sh\)"):
        _ = recipe("--ngpu", "1").device


def test_a_bpe_vocabulary_has_its_own_folder(folder):
    found = recipe("--token_type", "bpe", "--nbpe", "70")
    assert found.paths.tokens == Path("data/token_list/bpe70/tokens.txt")
    assert "--bpemodel" in found.token_options()


def test_the_only_training_part_is_the_training_set():
    sets = librispeech_sets(SMALL)
    assert (sets.train, sets.valid, sets.evaluated) == (SMALL[0], SMALL[1], SMALL[1:])
    assert sets.members == {name: (name,) for name in SMALL}


def test_a_choice_of_training_parts_is_not_guessed():
    with pytest.raises(ValueError, match="say which to train on"):
        librispeech_sets(FULL)


def test_unions_are_made_of_their_parts():
    sets = librispeech_sets(FULL, "train_960")
    assert sets.members["train_960"] == FULL[:3]
    assert sets.members["dev"] == ("dev-clean", "dev-other")
    assert sets.valid == "dev"
    assert sets.evaluated == FULL[3:]
    assert sets.parts == FULL


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("train-clean-100", "no training set: one of"),
        ("dev-clean", "no development set"),
        ("test-clean", "no test set"),
    ],
)
def test_sets_that_are_needed_and_absent_are_named(missing, message):
    with pytest.raises(ValueError, match=message):
        librispeech_sets([part for part in SMALL if part != missing])


def test_each_recipe_has_its_own_corpus_and_sets(folder, capsys):
    assert plan.main(["--corpus", "ami"]) == 0
    found = capsys.readouterr().out
    assert shell(found, "layout", "synthesise") == ["ami", "yes"]
    assert shell(found, "parts") == ["train", "dev", "test"]
    with pytest.raises(SystemExit, match="2"):
        plan.main(["--corpus", "ami", "--librispeech", "."])
    assert plan.main(["--corpus", "ami", "--ami", str(folder)]) == 1
    assert "of a meeting of train" in capsys.readouterr().err


def test_timit_has_phones_and_silences_to_score(folder, capsys):
    assert plan.main(["--corpus", "timit"]) == 0
    found = capsys.readouterr().out
    assert shell(found, "parts") == ["TRAIN", "DEV", "TEST"]
    assert shell(found, "tokens") == ["data/token_list/word/tokens.txt"]
    made = recipe("--corpus", "timit")
    assert made.corpus.folding_path.name == "phones_timit.txt"
    assert made.corpus.silences == ("h#", "pau", "epi")
    assert (recipe().corpus.folding_path, recipe().corpus.silences) == (None, ())
    assert plan.main(["--corpus", "timit", "--timit", str(folder)]) == 1
    assert "got no sentence" in capsys.readouterr().err


def test_a_corpus_with_an_official_division_is_divided_so():
    division = ("train", "dev", "test")

    def sets_of(*wanted, present=division):
        return official_sets("AMI", division, present, *wanted)

    sets = sets_of()
    assert (sets.train, sets.valid, sets.evaluated) == ("train", "dev", ("dev", "test"))
    assert sets_of("train", ["test"]).parts == ("train", "dev", "test")
    with pytest.raises(ValueError, match="AMI is trained on train, got dev"):
        sets_of("dev")
    with pytest.raises(ValueError, match="AMI lacks eval, which this run needs"):
        sets_of(None, ["eval"])
    with pytest.raises(ValueError, match="AMI lacks dev, which this run needs; it has train, test"):
        sets_of(None, ["test"], present=("train", "test"))
