"""A Slurm cluster of two nodes, n1 and n2, which see this machine's files and may be taken down.

It has to be up; nothing here stands in for it.
"""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from tiny_recipe import HOURS, run_command

from espnet_ottc.report.records import read_results

SIZES = (*HOURS, "--synthetic_test_hours", "0.02", "--eval_sets", "test-clean")
STAGES = ("--systems", "ctc", "--stage", "4", "--stop_stage", "10")
NODES = ("n1", "n2")
# No test hopes to be quicker than this: a machine under load is slow.
WAIT = 540.0
# What differs from run to run by its nature.
_VOLATILE = ("train_seconds", "hardware", "commit", "dirty", "command")
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

    def __init__(self, recipe: Path, exp: str, *words: str, cluster: dict | None = CLUSTER) -> None:
        self.recipe, self.exp = recipe, recipe / exp
        self.words = ["--expdir", exp, *STAGES, "--shard_utts", "16", *words]
        if cluster is not None:
            (recipe / f"{exp}.yaml").write_text(yaml.safe_dump(cluster))
            self.words += ["--cluster", f"{exp}.yaml"]
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
            time.sleep(0.05)
        return found

    def at_work(self, module: str) -> tuple[str, str]:
        """Node and job of a process on the cluster that runs a module, once there is one."""
        return self.waited(lambda: next(working(module), None))

    def tried_again(self) -> int:
        """How often a unit was."""
        return self.output.count("tried again")

    def trained(self, epochs: int) -> bool:
        """Whether a training has got so far."""
        records = self.exp / "ctc/seed1/epochs.jsonl"
        return records.exists() and len(records.read_text().splitlines()) >= epochs

    def ended(self) -> str:
        """Its output, once it has succeeded."""
        assert self.process.wait(WAIT) == 0, self.output
        self._reading.join()
        return self.output


def run_here(recipe: Path, *words: str) -> None:
    """The recipe without the cluster, to its end."""
    command, environment = run_command(*SIZES, *words)
    done = subprocess.run(
        command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def results(exp: Path) -> dict[str, str]:
    """Rows, texts, times, statistics and parameters: what has to be the same."""
    found = {}
    for _, row in read_results(exp / "results.jsonl"):
        about = {k: v for k, v in row["provenance"].items() if k not in _VOLATILE}
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


def _processes() -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """Id, words and environment of each process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0]:
            pairs = (line.split("=", 1) for line in lines if "=" in line)
            yield int(folder.name), words, dict(pairs)


def working(module: str) -> Iterator[tuple[str, str]]:
    """Node and job of each process on the cluster that runs a module."""
    for _, words, about in _processes():
        if module in words and "SLURMD_NODENAME" in about:
            yield about["SLURMD_NODENAME"], about["SLURM_JOB_ID"]


def signal_all(module: str, number: int) -> None:
    """Send a signal to all processes that run a module."""
    for process, words, _ in _processes():
        if module in words:
            os.kill(process, number)


def scontrol(*words: str) -> None:
    """Run it."""
    subprocess.run(["scontrol", *words], check=True)


def take_down(node: str) -> None:
    """As an administrator does."""
    scontrol("update", f"nodename={node}", "state=down", "reason=test")


def kill_node(node: str) -> None:
    """End a node's daemon and all of its jobs at once, as when a machine loses its power."""
    found = list(_processes())
    names = {process: Path(words[0].split(":")[0]).name for process, words, _ in found}
    jobs = {process for process, _, about in found if about.get("SLURMD_NODENAME") == node}
    daemons = {process for process, words, _ in found if _is_daemon(words, node)}
    steps = {parent for process in jobs if names.get(parent := _parent(process)) == "slurmstepd"}
    for process in (*daemons, *steps, *jobs):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _is_daemon(words: list[str], node: str) -> bool:
    return Path(words[0]).name == "slurmd" and node in words


def _parent(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def start_daemons() -> None:
    """Start those that were killed."""
    running = [words for _, words, _ in _processes()]
    for node in NODES:
        if not any(_is_daemon(words, node) for words in running):
            subprocess.run(["slurmd", "-f", os.environ["SLURM_CONF"], "-N", node], check=True)


def bring_back(node: str) -> None:
    """While a run goes on with the other."""
    start_daemons()
    # It may have come back by itself.
    words = ["scontrol", "update", f"nodename={node}", "state=resume"]
    subprocess.run(words, check=False)


def all_up() -> None:
    """Both nodes are idle, at last."""
    start_daemons()
    end = time.monotonic() + WAIT
    while "idle:2" not in subprocess.getoutput("sinfo -h -p cpu -o %T:%D"):
        states = subprocess.getoutput("sinfo -h -N -p cpu -o '%N %T'")
        for line in states.splitlines():
            node, state = line.split()
            if "down" in state:
                bring_back(node)
        assert time.monotonic() < end, states
        time.sleep(0.5)


def cancel_all() -> None:
    """End all jobs of ours."""
    subprocess.run(["scancel", "-u", str(os.getuid())], check=False)


def jobs_left() -> str:
    """Those that wait or run."""
    return subprocess.getoutput("squeue -h -t R,PD,CF")


def wait_for_none(module: str) -> None:
    """Wait until no job is left, and no process that runs a module."""
    end = time.monotonic() + WAIT
    while jobs_left() or next(working(module), None):
        assert time.monotonic() < end, jobs_left()
        time.sleep(0.2)
