"""Recipes on a Slurm cluster of two nodes, n1 and n2, on which jobs and nodes are lost.

A cluster whose nodes see this machine's files, and whose nodes these tests may take down, has to be up;
nothing here stands in for it.  Each test says how what is lost is lost; results must be those of a calm run
on this machine.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny_recipe import HOURS, recipe_folder, run_command

from espnet_ottc.report.records import read_results

pytestmark = pytest.mark.slurm
pytest.importorskip("espeakng_loader", reason="the default corpus is spoken by espeak-ng")
pytest.importorskip("dask_jobqueue", reason="workers are jobs of the queue")
if shutil.which("srun") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
    pytest.skip("no Slurm cluster answers sinfo", allow_module_level=True)

SIZES = (*HOURS, "--synthetic_test_hours", "0.02", "--eval_sets", "test-clean")
EPOCHS = 12
WAIT = 600.0
# What differs from run to run by its nature.
VOLATILE = ("train_seconds", "hardware", "commit", "dirty", "command")
CLUSTER = {
    "cluster": "slurm",
    "workers": 2,
    "cores": 1,
    "options": {
        "memory": "1GB",
        "walltime": "00:30:00",
        "log_directory": "slurm_logs",
        # One worker on each node.
        "job_extra_directives": ["--exclusive"],
    },
}


class Run:
    """A run of the recipe on the cluster, in a folder of experiments of its own."""

    def __init__(self, recipe: Path, exp: str, *words: str, cluster: dict = CLUSTER) -> None:
        self.recipe, self.exp = recipe, recipe / exp
        (recipe / f"{exp}.yaml").write_text(yaml.safe_dump(cluster))
        self.words = ["--expdir", exp, "--stage", "4", "--stop_stage", "10", "--systems", "ctc"]
        self.words += ["--cluster", f"{exp}.yaml", "--shard_utts", "16", *words]
        self.output = ""

    def __enter__(self) -> "Run":
        command, environment = run_command(*SIZES, *self.words)
        self.process = subprocess.Popen(
            command,
            cwd=self.recipe,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reading.join(timeout=60)
        self.process.stdout.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output += line

    def waited(self, condition: Callable[[], object]) -> object:
        """What the condition finds at last."""
        end = time.monotonic() + WAIT
        while not (found := condition()):
            assert self.process.poll() is None, f"it ended before:\n{self.output}"
            assert time.monotonic() < end, self.output
            time.sleep(0.1)
        return found

    def at_work(self, command: str) -> tuple[str, str]:
        """Node and job of a process on the cluster, once there is one."""
        return self.waited(lambda: next(iter(_processes(command)), None))

    def trained(self, epochs: int) -> bool:
        """Whether a training has got so far."""
        records = self.exp / "ctc/seed1/epochs.jsonl"
        return records.exists() and len(records.read_text().splitlines()) >= epochs

    def ended(self) -> str:
        """Its output, once it has succeeded."""
        assert self.process.wait(WAIT) == 0, self.output
        self._reading.join()
        return self.output


def _processes(command: str) -> list[tuple[str, str]]:
    """Node and job of each process on the cluster that runs a command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            lines = (folder / "environ").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        about = dict(line.split("=", 1) for line in lines if "=" in line)
        if command in words and "SLURMD_NODENAME" in about:
            found.append((about["SLURMD_NODENAME"], about["SLURM_JOB_ID"]))
    return found


def _scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def _take_down(node: str) -> None:
    _scontrol("update", f"nodename={node}", "state=down", "reason=test")


def _kill_node(node: str) -> None:
    """End a node's daemon and all of its jobs, as a machine ends that loses its power."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            environment = (folder / "environ").read_bytes()
        except (OSError, UnicodeDecodeError):
            continue
        daemon = Path(words[0]).name == "slurmd" and node in words
        step = Path(words[0].split(":")[0]).name == "slurmstepd"
        if daemon or f"SLURMD_NODENAME={node}\0".encode() in environment or (step and words):
            try:
                os.kill(int(folder.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _all_nodes_up() -> None:
    for node in ("n1", "n2"):
        alive = any(
            b"slurmd\0" in (one / "cmdline").read_bytes() and node in _words(one)
            for one in Path("/proc").glob("[0-9]*")
            if (one / "cmdline").exists()
        )
        if not alive:
            subprocess.run(["slurmd", "-f", os.environ["SLURM_CONF"], "-N", node], check=True)
    end = time.monotonic() + 120
    while "idle:2" not in subprocess.getoutput("sinfo -h -p cpu -o %T:%D"):
        states = subprocess.getoutput("sinfo -h -N -p cpu -o '%N %T'")
        for line in states.splitlines():
            node, state = line.split()
            if "down" in state:
                subprocess.run(
                    ["scontrol", "update", f"nodename={node}", "state=resume"], check=False
                )
        assert time.monotonic() < end, states
        time.sleep(1)


def _words(folder: Path) -> list[str]:
    return (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe with its data, and a training that lasts."""
    folder = recipe_folder(tmp_path_factory.mktemp("slurm"))
    config = yaml.safe_load((folder / "conf/tiny/train_ctc.yaml").read_text())
    config |= {"max_epoch": EPOCHS, "num_iters_per_epoch": 4}
    config["scheduler_conf"] = {**config["scheduler_conf"], "total_steps": 4 * EPOCHS}
    (folder / "conf/tiny/train_ctc.yaml").write_text(yaml.safe_dump(config))
    _here(folder, "--stop_stage", "3")
    return folder


@pytest.fixture(scope="module")
def calm(recipe) -> dict[str, str]:
    """What a run without a cluster gives."""
    _here(recipe, "--expdir", "exp_calm", "--systems", "ctc", "--stage", "4", "--stop_stage", "10")
    return _results(recipe / "exp_calm")


@pytest.fixture(autouse=True)
def nodes():
    """Both nodes are up, before and after."""
    _all_nodes_up()
    yield
    subprocess.run(["scancel", "-u", str(os.getuid())], check=False)
    _all_nodes_up()


def _here(recipe: Path, *words: str) -> None:
    command, environment = run_command(*SIZES, *words)
    done = subprocess.run(
        command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _results(exp: Path) -> dict[str, str]:
    """Rows, texts, times, statistics and parameters: what has to be the same."""
    found = {}
    for _, row in read_results(exp / "results.jsonl"):
        about = {k: v for k, v in row["provenance"].items() if k not in VOLATILE}
        text = json.dumps({**row, "provenance": about}, sort_keys=True)
        found[f"{row['system']} {row['decoder']} {row['set']}"] = text.replace(exp.name, "exp")
    patterns = ("*/seed1/decode_*/*/text", "*/seed1/align_*/*/*.ctm", "*/seed1/frames/*/labels")
    for pattern in (*patterns, "stats/*/speech_shape"):
        for path in sorted(exp.glob(pattern)):
            found[str(path.relative_to(exp))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(exp.glob("*/seed1/valid.loss.ave*.pth")):
        digest = hashlib.sha256()
        for name, value in sorted(torch.load(path, weights_only=True).items()):
            digest.update(name.encode() + value.numpy().tobytes())
        found[str(path.relative_to(exp))] = digest.hexdigest()
    assert len(found) > 5
    return found


def _jobs_left() -> str:
    return subprocess.getoutput("squeue -h -t R,PD,CF")


def test_the_whole_recipe_uses_both_nodes_and_leaves_no_job(recipe, calm):
    with Run(recipe, "exp_two") as run:
        said = run.ended()
    assert _results(run.exp) == calm
    assert "tried again" not in said
    jobs = subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)
    assert {" NodeList=n1 ", " NodeList=n2 "} <= set(re.findall(r" NodeList=n\d ", jobs))
    run.process.wait()
    end = time.monotonic() + 30
    while (left := _jobs_left()) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == ""


def test_nodes_lost_in_statistics_training_and_decoding_change_nothing(recipe, calm):
    with Run(recipe, "exp_nodes") as run:
        node, _ = run.at_work("espnet_ottc.bin.collect_statistics")
        _take_down(node)
        run.waited(lambda: "tried again" in run.output)
        run.waited(lambda: run.trained(3))
        node, _ = run.at_work("espnet_ottc.bin.asr_train")
        _kill_node(node)
        run.waited(lambda: "train ctc, seed 1: " in run.output and run.output.count("tried") > 1)
        before = run.output.count("tried again")
        _all_nodes_up_while(run)
        node, _ = run.at_work("espnet_ottc.bin.asr_inference")
        _take_down(node)
        said = run.ended()
    assert said.count("tried again") > before
    assert said.count("epoch 1:") == 1
    assert _results(run.exp) == calm


def _all_nodes_up_while(run: Run) -> None:
    """Bring a killed node's daemon back, while the run goes on with the other."""
    for node in ("n1", "n2"):
        if not any(node in _words(one) and "slurmd" in _words(one)[0] for one in _proc()):
            subprocess.run(["slurmd", "-f", os.environ["SLURM_CONF"], "-N", node], check=True)


def _proc() -> list[Path]:
    return [one for one in Path("/proc").glob("[0-9]*") if _words_or_none(one)]


def _words_or_none(folder: Path) -> list[str] | None:
    try:
        words = _words(folder)
    except OSError:
        return None
    return words if words[0] else None


def test_a_requeued_job_changes_nothing(recipe, calm):
    with Run(recipe, "exp_requeued") as run:
        run.waited(lambda: run.trained(3))
        _, job = run.at_work("espnet_ottc.bin.asr_train")
        _scontrol("requeue", job)
        said = run.ended()
    assert "train ctc, seed 1: its worker was lost; tried again" in said
    assert said.count("epoch 1:") == 1
    assert _results(run.exp) == calm


def test_a_training_goes_on_after_its_time_limit(recipe, calm):
    """Slurm ends jobs after a minute; then their training has some epochs, and needs more jobs."""
    options = {**CLUSTER["options"], "walltime": "00:01:00"}
    cluster = {**CLUSTER, "train": {"workers": 1, "options": options}}
    with Run(recipe, "exp_limit", cluster=cluster) as run:
        run.waited(lambda: run.trained(2))
        # It is not slow enough by itself: held until Slurm ends it.
        _, job = run.at_work("espnet_ottc.bin.asr_train")
        _signal_training(signal.SIGSTOP)
        run.waited(lambda: "tried again" in run.output)
        said = run.ended()
    jobs = subprocess.check_output(["scontrol", "show", "job", job, "--oneliner"], text=True)
    assert "JobState=TIMEOUT" in jobs
    assert said.count("epoch 1:") == 1
    assert _results(run.exp) == calm


def _signal_training(number: int) -> None:
    for folder in _proc():
        if "espnet_ottc.bin.asr_train" in (_words_or_none(folder) or []):
            os.kill(int(folder.name), number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_ends_its_jobs_and_goes_on_when_started_again(recipe, calm, number):
    exp = f"exp_driver{int(number)}"
    with Run(recipe, exp) as run:
        run.waited(lambda: run.trained(3))
        run.at_work("espnet_ottc.bin.asr_train")
        run.process.send_signal(number)
        run.process.wait(WAIT)
        end = time.monotonic() + 60
        while (_processes("espnet_ottc.bin.asr_train") or _jobs_left()) and time.monotonic() < end:
            time.sleep(0.2)
        assert _processes("espnet_ottc.bin.asr_train") == []
        assert _jobs_left() == ""
    with Run(recipe, exp) as again:
        said = again.ended()
    assert "stage 5: train ctc, seed 1: resumed" in said
    assert "epoch 1:" not in said
    assert _results(again.exp) == calm


def test_jobs_run_behind_words_where_no_cluster_is_named(recipe, calm, monkeypatch):
    names = {"train_cmd": "ottc_train", "decode_cmd": "ottc_decode"}
    for variable, name in names.items():
        monkeypatch.setenv(variable, f"srun --quiet --job-name={name}")
    words = ("--expdir", "exp_words", "--systems", "ctc", "--stage", "4", "--stop_stage", "10")
    _here(recipe, *words)
    assert _results(recipe / "exp_words") == calm
    jobs = subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)
    ended = [line for line in jobs.splitlines() if "JobState=COMPLETED" in line]
    # A training; the statistics, a decoding, an alignment.
    assert [sum(f"JobName={name} " in line for line in ended) for name in names.values()] == [1, 3]
