"""Options of a recipe are checked before anything runs."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from espnet_ottc.corpora.timit_phones import SILENCES, folding_path
from espnet_ottc.recipe import feature_statistics, jobs
from espnet_ottc.recipe.corpora import CORPORA
from espnet_ottc.recipe.driver import main
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.sets import librispeech_sets, official_sets
from espnet_ottc.recipe.shards import Shard
from espnet_ottc.synthesis.building import LAYOUTS

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
    (conf / "train_aligned.yaml").write_text(
        "ctc_conf: {ctc_type: ottc, boundary_label: <space>, label_weights: ali}\n"
    )
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


def checked(words: Sequence[str] = ()) -> int:
    """The status of the check of these options."""
    return main(["check", *words])


def test_without_a_corpus_speech_is_synthesised(folder, capsys):
    words = ["--synthetic_hours", "0.1", "--synthetic_test_hours", "0.2"]
    assert checked(words) == 0
    assert capsys.readouterr() == ("", "")
    found = recipe(*words)
    assert found.corpus_dir == Path("downloads/synthetic-hours0.1-test_hours0.2")
    assert found.sets.parts == SMALL
    assert found.synthetic_hours == {"hours": "0.1", "test_hours": "0.2"}


def test_the_corpus_comes_from_the_option_or_the_environment(folder, monkeypatch):
    where = corpus(folder)
    assert recipe("--librispeech", str(where)).corpus_dir == where
    monkeypatch.setenv("LIBRISPEECH", str(where))
    assert recipe().corpus_dir == where


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--stage 5 --stop_stage 4", "--stage <= --stop_stage"),
        ("--stop_stage 12", "--stop_stage <= 11"),
        ("--seed 1 x", "--seed must be whole numbers"),
        ("--seed 1 1", "--seed must be one or more different"),
        ("--systems ctc otc", r"no train_otc.yaml in conf/mini, but aligned, ctc, ottc"),
        (
            "--decoders lattice",
            r"no decode_lattice.yaml in conf/mini or ../TEMPLATE/conf, but beam, greedy, viterbi",
        ),
        ("--conf nowhere", "no train_ctc.yaml in nowhere"),
        ("--librispeech nowhere", "must be a directory, got nowhere"),
        ("--train_set train_960", "lacks train-clean-360, train-other-500"),
        ("--eval_sets test-other", "lacks test-other"),
        ("--synthetic_hours none", "must be a positive number, got none"),
        ("--synthetic_hours -1", "must be a positive number, got -1"),
        ("--ngpu 99", "--ngpu 99: this machine has"),
        ("--ali_from nowhere", "there is no nowhere"),
        ("--ali_from conf", "there is no conf/valid.loss.ave.pth"),
        ("--alignments .", "--alignments has no meaning without a corpus"),
        ("--shar a,b", "--shar: ESPnet cannot take this path, got 'a,b'"),
        (
            "--systems ctc aligned --shar s3://a",
            "aligned trains on a forced alignment, which --shar has not",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(folder, capsys, words, message):
    assert checked(shlex.split(words)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(message, printed.err), printed.err
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "words", [["--sede", "1"], ["--see", "1"], ["--nj", "0"], ["--ngpu", "-1"]]
)
def test_an_unknown_option_or_value_shows_the_usage(folder, capsys, words):
    with pytest.raises(SystemExit, match="2"):
        checked(words)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: ./run.sh" in printed.err


def test_help_names_the_options_of_the_corpus(folder, capsys):
    for name, own in (("librispeech", "--alignments"), ("ami", "--ami")):
        with pytest.raises(SystemExit, match="0"):
            main(["--corpus", name, "--help"])
        printed = capsys.readouterr().out
        assert own in printed
        assert ("--alignments" in printed) == (name == "librispeech")


def test_k2_is_missed_at_once_where_it_is_asked_for(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    assert checked(["--ctc_aligner", "auto"]) == 0
    assert checked(["--ctc_aligner", "k2"]) == 1
    assert "k2 cannot be imported" in capsys.readouterr().err


def test_without_k2_done_marks_stay_those_of_torchaudio(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    assert recipe().aligner("forced_align") == "torchaudio_ctc"
    assert recipe().aligner("viterbi") == "viterbi"


def test_synthetic_hours_and_a_corpus_exclude_each_other(folder, capsys):
    words = ["--librispeech", str(corpus(folder)), "--synthetic_dev_hours", "1"]
    assert checked(words) == 1
    assert "no meaning with a corpus" in capsys.readouterr().err


def test_data_and_experiments_are_not_shared_by_different_runs(folder, capsys):
    assert checked() == 0
    assert checked(["--librispeech", str(corpus(folder))]) == 1
    assert "data was made for the corpus" in capsys.readouterr().err
    (folder / "conf" / "mini").rename(folder / "conf" / "other")
    assert checked(["--conf", "conf/other"]) == 1
    assert "exp was made for the configurations" in capsys.readouterr().err
    assert checked(["--conf", "conf/other", "--expdir", "exp2"]) == 0


def test_a_copied_recipe_is_made_for_what_was_copied_with_it(folder, monkeypatch, capsys):
    elsewhere = ["--librispeech", str(corpus(folder.parent)), "--datadir", "data2"]
    elsewhere += ["--expdir", str(folder / "exp2")]
    for words in ([], elsewhere):
        assert checked(words) == 0
    shutil.copytree(folder.parent, folder.parent / "copy", symlinks=True)
    monkeypatch.chdir(folder.parent / "copy" / folder.name)
    for words in ([], [*elsewhere[:-1], "exp2"]):
        assert checked(words) == 0
    # Experiments of the first tree belong to its data.
    assert checked(elsewhere) == 1
    assert f"{folder}/exp2 was made for the data {folder}/data2, not " in capsys.readouterr().err


def test_a_folder_that_was_noted_by_its_whole_path_is_known_again(folder):
    assert checked() == 0
    path = folder / "exp/.made_for.json"
    noted = json.loads(path.read_text())
    assert noted["data"] == "../data"
    path.write_text(json.dumps({**noted, "data": str(folder / "data")}))
    assert checked() == 0


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


def test_a_folder_inherits_systems_and_the_check_writes_what_they_amount_to(folder, capsys):
    (folder / "conf/mini/base.yaml").write_text(
        "base: ../../../TEMPLATE/conf/mini/base.yaml\nmax_epoch: 8\n"
    )
    assert checked(["--systems", "ottc_plain"]) == 0
    written = yaml.safe_load((folder / "exp/.configs/ottc_plain.yaml").read_text())
    assert written["max_epoch"] == 8
    assert written["ctc_conf"] == {"ctc_type": "ottc", "freeze_alpha_after_epoch": 6}


def test_a_misspelt_criterion_of_a_base_is_said_before_anything_runs(folder, capsys):
    (folder / "conf/mini/base.yaml").write_text("criteria: {otc: {alpha: uniform}}\n")
    (folder / "conf/mini/train_ottc.yaml").write_text(
        "base: base.yaml\nctc_conf: {ctc_type: ottc}\n"
    )
    assert checked() == 1
    assert "criteria of its bases must be among builtin, ottc" in capsys.readouterr().err


def test_systems_that_share_statistics_must_share_features(folder, capsys):
    (folder / "conf/mini/train_ctc.yaml").write_text("frontend_conf: {n_mels: 40}\n")
    assert checked() == 1
    assert "must have the frontend and normalisation" in capsys.readouterr().err


def test_a_misspelt_option_of_the_criterion_is_said_before_anything_runs(folder, capsys):
    (folder / "conf/mini/train_ottc.yaml").write_text(
        "ctc_conf: {ctc_type: ottc, alhpa: uniform}\n"
    )
    assert checked() == 1
    assert re.search("train_ottc.yaml: .*'alhpa'; did you mean alpha", capsys.readouterr().err)


def test_a_system_that_trains_on_an_alignment_needs_somebody_to_align(folder, capsys):
    (folder / "conf/mini/train_new.yaml").write_text("ctc_conf: {ctc_type: single_path}\n")
    assert checked(["--systems", "new"]) == 1
    assert "alignment of ctc, and there is no exp/ctc/seed1/" in capsys.readouterr().err
    assert checked(["--systems", "new", "ctc"]) == 0
    assert checked(["--systems", "new", "--stage", "8"]) == 0
    model = folder / "exp/ctc/seed1/valid.loss.ave.pth"
    model.parent.mkdir(parents=True)
    model.touch()
    assert checked(["--systems", "new"]) == 0


def test_absent_parts_are_named_and_alignments_may_lie_apart(folder, capsys):
    there = corpus(folder, (*SMALL, "test-other"))
    for part in (*SMALL, "test-other"):
        (folder / "alignments" / part).mkdir(parents=True)
    words = ["--librispeech", str(there), "--alignments", "alignments"]
    assert checked([*words, "--drop_bad_alignments"]) == 0
    found = recipe(*words)
    assert found.sets.absent == ("dev-other",)
    assert Path("alignments/test-other") in found.corpus_inputs()
    assert main(["corpus", *words]) == 0
    assert "LibriSpeech has no dev-other, left out of this run" in capsys.readouterr().out
    (folder / "alignments/test-other").rmdir()
    assert checked(words) == 1
    assert "alignments has no test-other" in capsys.readouterr().err


def test_statistics_are_collected_with_the_options_of_the_training(folder, monkeypatch):
    commands = []
    monkeypatch.setattr(jobs, "run_logged", lambda command, *_, **__: commands.append(command))
    words = ("--systems", "ottc", "--train_args", "--seed 7")
    shard = Shard(0, 1, folder / "shards" / "0-1")
    run = recipe(*words)
    for name in (run.sets.train, run.sets.valid):
        run.paths.text(name).parent.mkdir(parents=True)
        run.paths.text(name).write_text(f"of-{name} A\n")
    feature_statistics._collect_part(run, shard, {"train": 1, "valid": 1}, print)
    # ESPnet wants both sets, and the shard has one.
    keys = [shard.folder.with_suffix(f".{part}.keys").read_text() for part in ("train", "valid")]
    assert keys == [f"of-{run.sets.train} 0\n", f"of-{run.sets.valid} 0\n"]
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
    with pytest.raises(ValueError, match=r"this machine has none: decode_cmd \(cluster.sh\)"):
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
    assert checked(["--corpus", "ami"]) == 0
    assert recipe("--corpus", "ami").sets.parts == ("train", "dev", "test")
    with pytest.raises(SystemExit, match="2"):
        checked(["--corpus", "ami", "--librispeech", "."])
    assert checked(["--corpus", "ami", "--ami", str(folder)]) == 1
    assert "of a meeting of train" in capsys.readouterr().err


def test_timit_has_phones_and_silences_to_score(folder, capsys):
    made = recipe("--corpus", "timit")
    assert made.sets.parts == ("TRAIN", "DEV", "TEST")
    assert made.paths.tokens == Path("data/token_list/word/tokens.txt")
    assert made.corpus.folding_path == folding_path()
    assert made.corpus.silences == SILENCES
    assert (recipe().corpus.folding_path, recipe().corpus.silences) == (None, ())
    assert checked(["--corpus", "timit", "--timit", str(folder)]) == 1
    assert "got no sentence" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_a_synthetic_corpus_has_the_sets_of_its_recipe(name):
    corpus = CORPORA[name]
    assert corpus.layout in LAYOUTS
    assert {part.role for part in corpus.synthetic_sets()} == {"train", "dev", "test"}
    assert set(corpus.synthetic_parts) <= set(corpus.preparation.KNOWN_PARTS)
    assert corpus.sets(corpus.synthetic_parts, None, ()).parts == corpus.synthetic_parts


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
