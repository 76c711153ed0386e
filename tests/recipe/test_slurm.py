"""Recipes on a Slurm cluster of two nodes, n1 and n2, which see this machine's files.

It has to be up; nothing here stands in for it.  Results must be those of a run on this machine.
"""

import hashlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
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
STAGES = ("--systems", "ctc", "--stage", "4", "--stop_stage", "10")
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


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe with its data, and a training that lasts."""
    folder = recipe_folder(tmp_path_factory.mktemp("slurm"))
    config = yaml.safe_load((folder / "conf/tiny/train_ctc.yaml").read_text())
    config |= {"max_epoch": EPOCHS, "num_iters_per_epoch": 4}
    config["scheduler_conf"] = {**config["scheduler_conf"], "total_steps": 4 * EPOCHS}
    (folder / "conf/tiny/train_ctc.yaml").write_text(yaml.safe_dump(config))
    _run(folder, "--stop_stage", "3")
    return folder


def _run(recipe: Path, *words: str) -> str:
    command, environment = run_command(*SIZES, *words)
    done = subprocess.run(
        command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    for path in sorted(exp.glob("stats/*/*.npz")):
        with np.load(path) as arrays:
            content = b"".join(arrays[name].tobytes() for name in sorted(arrays.files))
        found[str(path.relative_to(exp))] = hashlib.sha256(content).hexdigest()
    for path in sorted(exp.glob("*/seed1/valid.loss.ave*.pth")):
        digest = hashlib.sha256()
        for name, value in sorted(torch.load(path, weights_only=True).items()):
            digest.update(name.encode() + value.numpy().tobytes())
        found[str(path.relative_to(exp))] = digest.hexdigest()
    assert len(found) > 5
    return found


def _jobs_left() -> str:
    return subprocess.getoutput("squeue -h -t R,PD,CF")


def test_the_whole_recipe_uses_both_nodes_gives_the_same_and_leaves_no_job(recipe):
    _run(recipe, "--expdir", "exp_here", *STAGES)
    (recipe / "cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    words = ("--expdir", "exp_two", "--cluster", "cluster.yaml", "--shard_utts", "16")
    said = _run(recipe, *words, *STAGES)
    end = time.monotonic() + 30
    while (left := _jobs_left()) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == ""
    assert "tried again" not in said
    assert _results(recipe / "exp_two") == _results(recipe / "exp_here")
    jobs = subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)
    assert {" NodeList=n1 ", " NodeList=n2 "} <= set(re.findall(r" NodeList=n\d ", jobs))
