"""The recipe's jobs: what ends them, and what they share."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.clusters import Clusters
from espnet_ottc.recipe.marks import StepError
from espnet_ottc.recipe.training_record import threads

ROOT = Path(__file__).parents[2]
# Two jobs at a time that write their process id and wait.
JOBS = """
import sys
from pathlib import Path
from espnet_ottc.recipe import jobs

folder = Path(sys.argv[1])

def work(name):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
    jobs.run_logged([sys.executable, "-c", code], folder / name)

sys.exit(jobs.run(lambda: jobs.run_parallel(work, ["a", "b", "c"], 2)))
"""


def _waited(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _heed_signals():
    """These tests may run where they are ignored: in the background, under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_the_command_ends_all_jobs_end_and_no_other_starts(tmp_path, number):
    command = subprocess.Popen(
        [sys.executable, "-c", JOBS, str(tmp_path)],
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    )

    def pids():
        lines = [(tmp_path / n).read_text().split("\n") for n in "ab" if (tmp_path / n).exists()]
        found = [int(line) for text in lines for line in text[:-1] if line.isdigit()]
        return found if len(found) == 2 else None

    try:
        started = _waited(pids)
        assert started
        command.send_signal(number)
        # What the shell shows of a command that a signal ended.
        assert command.wait(120) == (128 + number if number != signal.SIGKILL else -number)
    finally:
        command.kill()
        command.communicate()
    assert _waited(lambda: not any(map(_alive, started)))
    assert not (tmp_path / "c").exists()


# One job, which another thread is about to start when the command is told to end.
LATE = """
import sys, threading, time
from pathlib import Path
from espnet_ottc.recipe import jobs

folder = Path(sys.argv[1])

def work(name):
    (folder / "begun").touch()
    while not jobs._pools._refused:
        time.sleep(0.01)
    jobs.run_logged([sys.executable, "-c", "import time; time.sleep(120)"], folder / name)

sys.exit(jobs.run(lambda: jobs.run_parallel(work, ["late"], 1)))
"""


def test_a_job_that_is_about_to_start_when_the_command_ends_does_not(tmp_path):
    command = subprocess.Popen([sys.executable, "-c", LATE, str(tmp_path)], stderr=subprocess.PIPE)
    try:
        assert _waited((tmp_path / "begun").exists)
        command.send_signal(signal.SIGTERM)
        assert command.wait(120) == 128 + signal.SIGTERM
    finally:
        command.kill()
        command.communicate()
    assert not (tmp_path / "late").exists()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_stage_whose_shell_has_ended_before_it_began_does_nothing(tmp_path):
    shell = subprocess.Popen([sys.executable, "-c", ""])
    shell.wait()
    code = "from espnet_ottc.recipe import jobs; jobs.run(lambda: print('at work'))"

    def of(process):
        environment = {**os.environ, "espnet_ottc_shell": str(process)}
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert of(shell.pid) == (-signal.SIGTERM, "")
    assert of(os.getpid()) == (0, "at work\n")
    # One that lives and did not start it is none of its business.
    assert of(os.getppid()) == (0, "at work\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_run_sh_ends_nothing_of_it_is_left(tmp_path, number):
    for name in ("TEMPLATE", "librispeech_ottc"):
        ignored = shutil.ignore_patterns("data", "exp", "downloads", "dump")
        shutil.copytree(ROOT / "egs2" / name, tmp_path / "egs2" / name, ignore=ignored)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["./run.sh", "--stop_stage", "0", "--synthetic_hours", "50"]
    with (tmp_path / "log").open("w") as log:
        shell = subprocess.Popen(
            words,
            cwd=tmp_path / "egs2" / "librispeech_ottc",
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )
    try:
        # Processes of its processes are at work by then, on what takes minutes.
        assert _waited(lambda: any((tmp_path / "egs2").rglob("*.flac")))
        assert len(_session(shell.pid)) > 3
        shell.send_signal(number)
        assert shell.wait(120) == (128 + number if number != signal.SIGKILL else -number)
        assert _waited(lambda: not _session(shell.pid))
    finally:
        for process in _session(shell.pid):
            os.kill(process, signal.SIGKILL)


def _session(leader):
    """The processes of a session that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has ended
        if int(session) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_the_first_fault_keeps_the_rest_from_starting():
    seen = []

    def work(item):
        seen.append(item)
        raise StepError(f"{item} failed")

    with pytest.raises(StepError, match="1 failed"):
        jobs.run_parallel(work, [1, 2, 3], 1)
    assert 3 not in seen


def test_a_fault_keeps_others_from_starting_while_one_still_runs():
    seen, failed = [], threading.Event()

    def work(item):
        seen.append(item)
        if item == 1:
            failed.wait(60)
            time.sleep(0.5)  # in which nothing may start
        elif item == 2:
            failed.set()
            raise StepError(f"{item} failed")

    with pytest.raises(StepError, match="2 failed"):
        jobs.run_parallel(work, list(range(1, 20)), 2)
    # The thread of the fault may have taken the next one before it was seen.
    assert len(seen) <= 3


def test_the_fault_is_shown_and_not_what_ended_because_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def unit(name):
        code = "import time; time.sleep(60)" if name != "bad" else "print('why'); 1 / 0"
        jobs.run_logged([sys.executable, "-c", code], Path(name))

    def work(names):
        jobs.run_parallel(unit, names)

    jobs.use(Clusters(), cores=4, gpus=0, trainings=1, threads=1)
    begun = time.monotonic()
    try:
        with pytest.raises(StepError, match="ZeroDivisionError"):
            jobs.run_parallel(work, [["a"], ["b", "bad"], ["c"]])
    finally:
        jobs.use(Clusters(), cores=1, gpus=0, trainings=1, threads=1)
    assert time.monotonic() - begun < 50


def test_a_training_has_one_thread_unless_the_user_says_how_many(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(StepError, match="must be a positive number, got 'many'"):
        threads()
