"""Units of work as a worker runs them: a command with its log, its threads and its GPUs."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ottc.utils.lifetime import bound

# Stand in a unit's words for the folder that it writes to, and for where processes of it meet.
FOLDER = "{folder}"
MEETING = "{host}:{port}"
_LAST_LINES = 15
# How shells and schedulers show a command that one of these ended.
_ENDED = {
    128 + number
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
}
_LOOK_SECONDS = 0.5
_gpus_lock = threading.Lock()
_gpus_taken: set[str] = set()


@dataclass(frozen=True)
class Unit:
    """A command to run somewhere.

    Attributes:
        key: names it to the user, and to the engine.
        words: program and arguments; `FOLDER` in them stands for the folder below, `MEETING` for a free port
            of the machine that it runs on.
        log: takes what it says; what is there stays.
        directory: where it runs; relative paths start there.
        environment: variables to set besides those of the worker.
        cores: it keeps busy.
        gpus: it gets, for itself alone.
        folder: what it makes as a whole: written aside, and renamed once the command has succeeded.
    """

    key: str
    words: tuple[str, ...]
    log: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    gpus: int = 0
    folder: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a unit ended.

    Attributes:
        status: exit status; negative for a signal.
        end: the last lines that it said.
        host: where it ran.
        seconds: that it took.
        fault: why its log or folder could not be written.
    """

    status: int
    end: str
    host: str
    seconds: float = 0.0
    fault: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it, as a scheduler sends it: no fault of its own."""
        return self.fault is None and (self.status < 0 or self.status in _ENDED)


def run_unit(unit: Unit) -> Outcome:
    """Run a unit to its end.

    Args:
        unit: what to run.
    """
    log = unit.directory / unit.log
    log.parent.mkdir(parents=True, exist_ok=True)
    words, aside = [_met(word) for word in unit.words], None
    if unit.folder is not None:
        # Another attempt may still be writing, where its machine is only thought to be gone.
        folder = unit.directory / unit.folder
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        aside.mkdir(parents=True)
        words = [word.replace(FOLDER, str(aside)) for word in words]
    gpus = _take_gpus(unit.gpus)
    environment = {**os.environ, **unit.environment}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    try:
        outcome = _run_logged(words, log, unit.directory, environment)
        if outcome.status == 0 and aside is not None:
            if folder.exists():  # of an attempt that was thought to be lost: it has the same
                return outcome
            aside.rename(folder)
        return outcome
    except OSError as fault:
        why = f"{log} cannot be written: {fault}"
        return Outcome(1, "", socket.gethostname(), fault=why)
    finally:
        _give_back(gpus)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _met(word: str) -> str:
    if MEETING not in word:
        return word
    with socket.socket() as one:
        one.bind(("", 0))
        return word.replace(MEETING, f"{socket.gethostname()}:{one.getsockname()[1]}")


def _run_logged(
    words: list[str], log: Path, directory: Path, environment: Mapping[str, str]
) -> Outcome:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    begun = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        file.write(f"# {shlex.join(words)}\n")
        file.flush()
        process = subprocess.Popen(
            bound(words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=environment,
            text=True,
            errors="replace",
        )
        # Leaving a process means waiting for its end.
        with process, _ends_when_unwanted(process):
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line)
                file.write(line)
                file.flush()
            status = process.wait()
    seconds = time.monotonic() - begun
    return Outcome(status, "".join(last).rstrip(), socket.gethostname(), seconds)


@contextmanager
def _ends_when_unwanted(process: "subprocess.Popen[str]") -> Iterator[None]:
    """End a unit's process with the context, and once the engine wants its result no more.

    That is when its client has gone, by whatever way, or has cancelled it.
    """
    ended = threading.Event()
    wanted = _wanted()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if not wanted():
                process.terminate()

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        # Whatever ends us ends it; a command that is through does not mind.
        ended.set()
        process.terminate()


def _wanted() -> Callable[[], bool]:
    """Tells whether the engine still wants the result of the unit that this thread runs."""
    from distributed import Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        if worker.status in (Status.closing, Status.closed, Status.failed):
            return False
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    return wanted


def _take_gpus(count: int) -> list[str]:
    """GPUs of this worker that no other unit has; the engine starts no unit for which there are none."""
    if not count:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with _gpus_lock:
        names = visible.split(",") if visible else map(str, range(len(_gpus_taken) + count))
        free = [name for name in names if name not in _gpus_taken][:count]
        _gpus_taken.update(free)
    return free


def _give_back(gpus: list[str]) -> None:
    with _gpus_lock:
        _gpus_taken.difference_update(gpus)
