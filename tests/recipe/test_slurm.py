"""Recipes on a Slurm cluster of two nodes, on which nodes, jobs and the recipe itself are lost.

What they give must be what an undisturbed run on this machine gives.
"""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from slurm_lab import (
    CLUSTER,
    STAGES,
    Run,
    all_up,
    bring_back,
    cancel_all,
    kill_node,
    results,
    run_here,
    scontrol,
    signal_all,
    take_down,
    wait_for_none,
    working,
)
from tiny_recipe import recipe_folder

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
pytest.importorskip("espeakng_loader", reason="the default corpus is spoken by espeak-ng")
pytest.importorskip("dask_jobqueue", reason="workers are jobs of the queue")
if shutil.which("srun") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
    pytest.skip("no Slurm cluster answers sinfo", allow_module_level=True)

EPOCHS = 12
TRAINING = "espnet_ottc.bin.asr_train"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe with its data, and a training that lasts."""
    folder = recipe_folder(tmp_path_factory.mktemp("slurm"))
    config = yaml.safe_load((folder / "conf/tiny/train_ctc.yaml").read_text())
    config |= {"max_epoch": EPOCHS, "num_iters_per_epoch": 4}
    config["scheduler_conf"] = {**config["scheduler_conf"], "total_steps": 4 * EPOCHS}
    (folder / "conf/tiny/train_ctc.yaml").write_text(yaml.safe_dump(config))
    run_here(folder, "--stop_stage", "3")
    return folder


@pytest.fixture(scope="module")
def calm(recipe) -> dict[str, str]:
    """What a run without a cluster gives."""
    run_here(recipe, "--expdir", "exp_calm", *STAGES)
    return results(recipe / "exp_calm")


@pytest.fixture(autouse=True)
def nodes():
    """Both nodes are up, before and after."""
    all_up()
    yield
    cancel_all()
    all_up()


def _jobs() -> str:
    return subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)


def test_the_whole_recipe_uses_both_nodes_and_leaves_no_job(recipe, calm):
    with Run(recipe, "exp_two") as run:
        said = run.ended()
    assert results(run.exp) == calm
    assert "tried again" not in said
    assert {" NodeList=n1 ", " NodeList=n2 "} <= set(re.findall(r" NodeList=n\d ", _jobs()))
    wait_for_none(TRAINING)


@pytest.mark.parametrize("lose", [take_down, kill_node])
def test_nodes_lost_in_statistics_training_and_decoding_change_nothing(recipe, calm, lose):
    with Run(recipe, f"exp_{lose.__name__}") as run:
        for module in ("collect_statistics", "asr_train", "asr_inference"):
            if module == "asr_train":
                run.waited(lambda: run.trained(3))
            before = run.tried_again()
            node, _ = run.at_work(f"espnet_ottc.bin.{module}")
            lose(node)
            run.waited(lambda before=before: run.tried_again() > before)
            bring_back(node)
        said = run.ended()
    assert said.count("epoch 1:") == 1
    assert results(run.exp) == calm


def test_a_requeued_job_changes_nothing(recipe, calm):
    with Run(recipe, "exp_requeued") as run:
        run.waited(lambda: run.trained(3))
        _, job = run.at_work(TRAINING)
        scontrol("requeue", job)
        said = run.ended()
    assert re.search(r"train ctc, seed 1: .*tried again", said)
    assert said.count("epoch 1:") == 1
    assert results(run.exp) == calm


def test_a_training_goes_on_after_its_time_limit(recipe, calm):
    """Slurm ends jobs after a minute; then their training has some epochs, and needs another job."""
    options = {**CLUSTER["options"], "walltime": "00:01:00"}
    cluster = {**CLUSTER, "train": {"workers": 1, "options": options}}
    with Run(recipe, "exp_limit", cluster=cluster) as run:
        run.waited(lambda: run.trained(2))
        # It is not slow enough by itself: held until Slurm ends it.
        _, job = run.at_work(TRAINING)
        signal_all(TRAINING, signal.SIGSTOP)
        run.waited(run.tried_again)
        said = run.ended()
    shown = subprocess.check_output(["scontrol", "show", "job", job, "--oneliner"], text=True)
    assert "JobState=TIMEOUT" in shown
    assert said.count("epoch 1:") == 1
    assert results(run.exp) == calm


@pytest.mark.parametrize(
    ("what", "number"),
    [("run.sh", signal.SIGKILL), ("run.sh", signal.SIGTERM), ("scheduler", signal.SIGKILL)],
)
def test_a_run_that_is_killed_ends_its_jobs_and_goes_on_when_started_again(
    recipe, calm, what, number
):
    exp = f"exp_{what}_{int(number)}"
    with Run(recipe, exp) as run:
        run.waited(lambda: run.trained(3))
        run.at_work(TRAINING)
        if what == "run.sh":
            run.process.send_signal(number)
        else:
            # It lives in the process of the stage.
            signal_all("espnet_ottc.recipe", number)
        assert run.process.wait() != 0
        wait_for_none(TRAINING)
    with Run(recipe, exp) as again:
        said = again.ended()
    assert "stage 5: train ctc, seed 1: resumed" in said
    assert "epoch 1:" not in said
    assert results(again.exp) == calm


def test_a_training_by_processes_on_two_nodes_is_that_of_two_processes_on_one(recipe):
    run_here(recipe, "--expdir", "exp_both", *STAGES, "--nproc", "2")
    cluster = {**CLUSTER, "train": {"workers": 1, "nodes": 2}}
    with Run(recipe, "exp_nodes", cluster=cluster) as run:
        run.waited(lambda: run.trained(1))
        assert {node for node, _ in working(TRAINING)} == {"n1", "n2"}
        said = run.ended()
    assert "tried again" not in said
    assert results(run.exp) == results(recipe / "exp_both")


def test_a_training_that_slurm_warns_of_its_end_goes_on_after_its_epoch(recipe, calm, monkeypatch):
    """SIGUSR1 is what `srun --signal=USR1@600` sends ten minutes before the limit."""
    monkeypatch.setenv("train_cmd", "srun --quiet")
    with Run(recipe, "exp_warned", cluster=None) as run:
        run.waited(lambda: run.trained(2))
        _, job = run.at_work(TRAINING)
        subprocess.run(["scancel", "--signal=USR1", job], check=True)
        run.waited(run.tried_again)
        run.ended()
    logs = [path.read_text() for path in (run.exp / "ctc/seed1").glob("*.log")]
    assert any("SIGUSR1: ended before epoch" in text for text in logs)
    assert results(run.exp) == calm


def test_jobs_run_behind_words_where_no_cluster_is_named(recipe, calm, monkeypatch):
    names = {"train_cmd": "ottc_train", "decode_cmd": "ottc_decode"}
    for variable, name in names.items():
        monkeypatch.setenv(variable, f"srun --quiet --job-name={name}")
    with Run(recipe, "exp_words", cluster=None) as run:
        run.ended()
    assert results(run.exp) == calm
    ended = [line for line in _jobs().splitlines() if "JobState=COMPLETED" in line]
    counts = [sum(f"JobName={name} " in line for line in ended) for name in names.values()]
    # Each training is a job, and so is each shard of the statistics, decodings and alignments.
    assert counts[0] == 1
    assert counts[1] >= 3
