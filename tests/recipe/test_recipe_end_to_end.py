"""The recipe as a user runs it: from nothing to the table, on a handful of synthetic utterances."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from lhotse import CutSet, SupervisionSet
from tiny_recipe import HOURS, WAV2VEC2, recipe_folder, run_command

from espnet_ottc.alignment.formats import read_ctm, read_supervisions, read_text, read_textgrid
from espnet_ottc.corpora.timit_phones import SILENCES
from espnet_ottc.recipe.configs import resolve_system
from espnet_ottc.report.records import read_results

pytest.importorskip("espeakng_loader", reason="the default corpus is spoken by espeak-ng")
pytest.importorskip("matplotlib", reason="the report has figures")

# What each has times by; the joint training of `ottc` leaves a CTC model too.
ROWS = [
    ("ctc", "forced_align"),
    ("ottc", "transport"),
    ("ottc", "viterbi"),
    ("ottc_aux_ctc", "forced_align"),
]


def _run(folder: Path, *words: str, eval_set: str = "test-clean") -> subprocess.CompletedProcess:
    sizes = [*HOURS, "--synthetic_test_hours", "0.006"]
    command, environment = run_command(*words, "--eval_sets", eval_set, *sizes)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return recipe_folder(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def first(recipe) -> subprocess.CompletedProcess:
    return _run(recipe)


def test_it_says_that_the_corpus_is_synthetic_and_ends_with_table_and_report(recipe, first):
    assert first.returncode == 0, first.stdout + first.stderr
    assert "NO LIBRISPEECH WAS GIVEN" in first.stdout
    end = first.stdout[first.stdout.index("== stage 11") :]
    for words in ("test-clean ctc forced_align", "test-clean ottc viterbi", "exp/report.html"):
        assert words in end
    assert (recipe / "exp" / "report.html").stat().st_size > 10_000


def test_every_row_has_its_metrics_counts_and_provenance(recipe, first):
    rows = _rows(recipe / "exp" / "results.jsonl")
    assert [(row["system"], row["decoder"]) for row in rows] == ROWS
    words = sum(len(text) for text in read_text(recipe / "data/test-clean/text").values())
    for row in rows:
        assert row["wer"] > 0
        assert 0 <= row["coverage"] <= 100
        assert row["peaky"] is not None
        assert row["counts"]["words"]["words"] == row["counts"]["times"]["reference_words"] == words
        about = row["provenance"]
        system = row["system"].removesuffix("_aux_ctc")
        assert about["config"] == f"exp/{system}/seed1/train.yaml"
        trained = (recipe / about["config"]).read_bytes()
        assert about["config_sha256"] == hashlib.sha256(trained).hexdigest()
        assert about["config_made_of"] == [f"conf/tiny/train_{system}.yaml"]
        assert (about["epochs"], about["threads"]) == (1, 1)
        assert "espnet_ottc.bin.asr_train" in about["command"]


def test_every_word_has_a_time_in_every_format(recipe, first):
    texts = read_text(recipe / "data/test-clean/text")
    for system, aligner in ROWS[:3]:
        folder = recipe / f"exp/{system}/seed1/align_{aligner}/test-clean"
        words = {
            u: [s.symbol for s in spans] for u, spans in read_ctm(folder / "words.ctm").items()
        }
        assert words == texts
        tokens = read_ctm(folder / "tokens.ctm")
        assert {path.stem for path in (folder / "textgrid").iterdir()} == set(texts)
        assert list(SupervisionSet.from_file(folder / "words.jsonl.gz").ids) == list(texts)
        for kind, tier, expected in (("word", "words", words), ("token", "tokens", tokens)):
            supervisions = read_supervisions(folder / "words.jsonl.gz", kind)
            for u, spans in expected.items():
                drawn = read_textgrid(folder / "textgrid" / f"{u}.TextGrid", tier)
                assert len(drawn) == len(supervisions[u]) == len(spans)
        assert (folder / "infeasible").read_text() == ""


@pytest.mark.slow
def test_times_alone_tuned_models_and_other_tools_have_rows_without_words(recipe, first):
    heard = recipe / "exp/ottc/seed1/align_viterbi/test-clean/words.ctm"
    tool = recipe / "others/some_tool/test-clean.ctm"
    tool.parent.mkdir(parents=True)
    shutil.copy(heard, tool)
    words = ("--systems", "narrow", "gmm_hmm", "ctc_tuned", "--other_times", "others")
    done = _run(recipe, *words, "--stage", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage 4: no system trains a recogniser, skipped" in done.stdout
    rows = {(row["system"], row["decoder"]): row for row in _rows(recipe / "exp/results.jsonl")}
    added = rows.keys() - set(ROWS)
    assert added == {
        *(("narrow", "boundary"), ("gmm_hmm", "viterbi"), ("ctc_tuned", "boundary")),
        ("some_tool", "ctm"),
    }
    said = rows["ottc", "viterbi"]
    for key in added:
        row = rows[key]
        assert (row["wer"], row["peaky"], row["coverage"]) == (None, None, 100)
        assert row["boundary_mae_ms"] > 0
    assert rows["some_tool", "ctm"]["boundary_mae_ms"] == said["boundary_mae_ms"]
    # The tuned model's search sees CTC's scores, too.
    assert (
        rows["ctc_tuned", "boundary"]["boundary_mae_ms"]
        != rows["narrow", "boundary"]["boundary_mae_ms"]
    )
    page = (recipe / "exp/report.html").read_text()
    assert "gmm_hmm" in page
    assert "some_tool" in page
    assert "epochs.jsonl" not in page
    about = rows["gmm_hmm", "viterbi"]["provenance"]
    assert about["config_made_of"] == ["../TEMPLATE/conf/times/train_gmm_hmm.yaml"]
    again = _run(recipe, *words, "--stage", "4", "--stop_stage", "10")
    assert "started" not in again.stdout


@pytest.mark.slow
def test_a_raw_waveform_goes_through_every_stage(recipe, first):
    config = dict(resolve_system(recipe / "conf", "ottc_wav2vec2_large").values)
    encoder = config["encoder_conf"]
    del encoder["bundle"]
    encoder["model_conf"] |= WAV2VEC2
    config |= {"max_epoch": 1, "num_workers": 0, "scheduler_conf": {"warmup_share": 0.1}}
    folder = recipe / "conf" / "raw"
    folder.mkdir()
    (folder / "train_ottc.yaml").write_text(yaml.safe_dump(config))
    words = ("--conf", "conf/raw", "--expdir", "exp_raw", "--systems", "ottc", "--stage", "4")
    done = _run(recipe, *words, "--stop_stage", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = _rows(recipe / "exp_raw" / "results.jsonl")
    assert [row["decoder"] for row in rows] == ["transport", "viterbi"]
    assert all(row["counts"]["times"]["reference_words"] for row in rows)


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was(recipe, first):
    config = yaml.safe_load((recipe / "conf/tiny/train_ottc.yaml").read_text())
    config |= {"max_epoch": 12, "scheduler_conf": {**config["scheduler_conf"], "total_steps": 24}}
    folder = recipe / "conf" / "twelve"
    folder.mkdir()
    (folder / "train_ottc.yaml").write_text(yaml.safe_dump(config))
    sizes = [*HOURS, "--synthetic_test_hours", "0.006", "--eval_sets", "test-clean"]
    words = ["--conf", "conf/twelve", "--expdir", "exp_killed", "--systems", "ottc", *sizes]
    command, environment = run_command(*words, "--stage", "4", "--stop_stage", "7")
    experiment = recipe / "exp_killed/ottc/seed1"
    with subprocess.Popen(
        command, cwd=recipe, env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 300
        while not (experiment / "3epoch.pth").exists() and not list(experiment.glob("[4-9]epoch*")):
            assert time.monotonic() < deadline
            assert running.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
    again = subprocess.run(
        command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stage 7: train ottc, seed 1: resumed" in again.stdout
    assert "ottc, seed 1: epoch 12:" in again.stdout
    assert "epoch 1:" not in again.stdout
    assert json.loads((experiment / "provenance.json").read_text())["epochs"] == 12


@pytest.mark.slow
def test_faults_of_a_corpus_stop_the_run_and_are_named(recipe, first):
    (made,) = (recipe / "downloads").iterdir()
    corpus = shutil.copytree(made, recipe / "downloads" / "LibriSpeech")
    words = ["--librispeech", str(corpus), "--datadir", "data_faults", "--expdir", "exp_faults"]
    command, environment = run_command(*words, "--stop_stage", "2")

    def run() -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
        )

    broken = sorted(corpus.rglob("*.flac"))[0]
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    done = run()
    assert done.returncode != 0
    assert broken.stem in done.stderr
    broken.write_bytes(content)
    transcript = sorted(corpus.rglob("*.trans.txt"))[0]
    first_line, *others = lines = transcript.read_text().splitlines(keepends=True)
    transcript.write_text("".join(others))
    done = run()
    assert done.returncode != 0
    assert first_line.split()[0] in done.stderr
    assert not list((recipe / "data_faults").rglob(".partial*"))
    transcript.write_text("".join(lines))
    done = run()
    assert done.returncode == 0, done.stderr
    assert "has no dev-other test-other" in done.stdout
    texts = sorted(path.name for path in (recipe / "data_faults").glob("*/text"))
    assert texts == ["text"] * 3


@pytest.mark.slow
def test_trainings_side_by_side_give_what_they_give_alone(recipe, first):
    words = ("--systems", "ottc", "--seed", "1", "2", "--expdir", "exp_two", "--train_nj", "2")
    done = _run(recipe, *words, "--stage", "4", "--stop_stage", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    one, same, other = (
        torch.load(recipe / folder / "latest.pth", weights_only=True)
        for folder in ("exp/ottc/seed1", "exp_two/ottc/seed1", "exp_two/ottc/seed2")
    )
    torch.testing.assert_close(same, one, rtol=0, atol=0)
    assert any(not torch.equal(other[name], value) for name, value in one.items())


@pytest.mark.slow
def test_a_second_run_does_nothing_and_a_changed_configuration_what_follows_from_it(recipe, first):
    before = {p: p.stat().st_mtime_ns for p in recipe.glob("exp/*/seed1/*.pth")}
    again = _run(recipe, "--stop_stage", "10")
    assert again.returncode == 0, again.stderr
    assert "started" not in again.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before
    config = recipe / "conf/tiny/train_ctc.yaml"
    config.write_text(config.read_text() + "# a remark\n")
    remarked = _run(recipe, "--stop_stage", "8")
    assert remarked.returncode == 0, remarked.stderr
    assert "started" not in remarked.stdout
    config.write_text(config.read_text() + "grad_clip: 4.0\n")
    stale = _run(recipe, "--stage", "8", "--stop_stage", "8")
    assert stale.returncode == 1
    assert "training of ctc (stage 5) has to be run again" in stale.stderr


@pytest.mark.slow
def test_a_broken_configuration_stops_the_recipe_with_the_end_of_the_log(recipe, first):
    config = recipe / "conf/tiny/train_ottc.yaml"
    before = config.read_text()
    config.write_text(before.replace("boundary_label", "boundary_lable"))
    try:
        failed = _run(recipe, "--stage", "7", "--stop_stage", "8")
    finally:
        config.write_text(before)
    assert failed.returncode == 1
    assert "did you mean boundary_label" in failed.stderr
    assert "stage 8" not in failed.stdout


@pytest.mark.slow
def test_meetings_without_a_corpus_end_with_a_table_of_words_and_times(tmp_path):
    recipe = recipe_folder(tmp_path, "ami_ottc")
    done = _run(recipe, "--nbpe", "60", eval_set="test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO AMI WAS GIVEN (--ami DIR" in done.stdout
    rows = _rows(recipe / "exp" / "results.jsonl")
    assert [(row["system"], row["decoder"]) for row in rows] == ROWS
    texts = read_text(recipe / "data/test/text")
    assert {name.split("-")[0] for name in texts} == {"ES2004a", "IS1009a"}
    # Word times count from the cut: the last ends where it does.
    reference = read_ctm(recipe / "data/test/reference.ctm")
    assert {u: [span.symbol for span in spans] for u, spans in reference.items()} == texts
    for cut in CutSet.from_file(recipe / "data/test/cuts.jsonl.gz"):
        assert reference[cut.id][0].start == pytest.approx(0, abs=1e-3)
        assert reference[cut.id][-1].end == pytest.approx(cut.duration, abs=1e-3)
    words = sum(map(len, texts.values()))
    assert all(row["counts"]["times"]["reference_words"] == words for row in rows)
    # Against the twin's forced alignment: tables of their own, without the twin's times.
    again = _run(recipe, "--nbpe", "60", "--stage", "10", "--reference", "forced", eval_set="test")
    assert again.returncode == 0, again.stdout + again.stderr
    assert _rows(recipe / "exp" / "results.jsonl") == rows
    forced = _rows(recipe / "exp" / "results_by_ctc.jsonl")
    assert [(row["system"], row["decoder"]) for row in forced] == [
        ("ctc", "viterbi"),
        *ROWS[1:],
    ]
    assert forced[1]["boundary_mae_ms"] != rows[1]["boundary_mae_ms"]
    assert "forced alignment of ctc" in (recipe / "exp" / "RESULTS_by_ctc.md").read_text()
    tokens = (recipe / "data/token_list/bpe60/tokens.txt").read_text().split()
    assert "▁" in tokens


@pytest.mark.slow
def test_phones_without_a_corpus_end_with_a_table_of_phones_and_times(tmp_path):
    recipe = recipe_folder(tmp_path, "timit_ottc")
    done = _run(recipe, eval_set="TEST")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO TIMIT WAS GIVEN (--timit DIR" in done.stdout
    rows = _rows(recipe / "exp" / "results.jsonl")
    assert [(row["system"], row["decoder"]) for row in rows] == ROWS
    texts = read_text(recipe / "data/TEST/text")
    assert all(text[0] == text[-1] == "h#" for text in texts.values())
    # The phones tile the recordings, and their times count from the cut.
    reference = read_ctm(recipe / "data/TEST/reference.ctm")
    silent = seconds = 0.0
    for cut in CutSet.from_file(recipe / "data/TEST/cuts.jsonl.gz"):
        spans = reference[cut.id]
        assert [span.symbol for span in spans] == texts[cut.id]
        assert (spans[0].start, spans[-1].end) == (0, pytest.approx(cut.duration, abs=1e-3))
        silent += sum(span.duration for span in spans if span.symbol in SILENCES)
        seconds += cut.duration
    phones = sum(map(len, texts.values()))
    for row in rows:
        assert (row["unit"], row["cer"]) == ("phone", None)
        assert (
            row["counts"]["words"]["words"] == row["counts"]["times"]["reference_words"] == phones
        )
        assert row["silence"] == pytest.approx(100 * silent / seconds, abs=0.1)
    assert "| PER ↓ % |" in (recipe / "exp" / "RESULTS.md").read_text()
    assert "Phone times" in (recipe / "exp" / "report.html").read_text()
    # A score says how phones were folded.
    score = json.loads((recipe / "exp/ctc/seed1/decode_viterbi/TEST/score.json").read_text())
    assert score["settings"]["fold"] == "phones_timit.txt"
    again = _run(recipe, "--stop_stage", "10", eval_set="TEST")
    assert again.returncode == 0, again.stderr
    assert "started" not in again.stdout


def _rows(path: Path) -> list[dict]:
    return [row for _, row in read_results(path)]
