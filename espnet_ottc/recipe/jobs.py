"""What the recipe's commands share: messages, exit status, jobs with logs."""

import logging
import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from espnet_ottc.recipe.marks import StepError
from espnet_ottc.utils import commands
from espnet_ottc.utils.lifetime import bound, end_with

Item = TypeVar("Item")


# Environment variables (cluster.sh) with the words in front of a command that trains, or does other work.
TRAIN = "train_cmd"
DECODE = "decode_cmd"
# Set where a command runs behind those words already.
_AWAY = "espnet_ottc_on_cluster"
# The process of the shell that runs the stages one after another (ottc.sh).
_SHELL = "espnet_ottc_shell"
_LAST_LINES = 15
# What runs now, in any thread.
_jobs: set["subprocess.Popen[str]"] = set()


def say_infeasible(infeasible: Mapping[str, str], count: int, what: str) -> None:
    """Name the utterances without an alignment: all in the log, the first to the user.

    Args:
        infeasible: utterance id -> why it has none.
        count: utterances in all.
        what: of which set, or by which aligner.
    """
    for utterance, why in infeasible.items():
        logging.warning("%s has no alignment %s: %s", utterance, what, why)
    if infeasible:
        utterance, why = next(iter(infeasible.items()))
        commands.say(
            f"  {len(infeasible)} of {count} utterances have no alignment {what}, "
            f"the first is {utterance}: {why}"
        )


def run(command: Callable[[], object]) -> int:
    """Run a command of the recipe as `utils.commands.run` does.

    Being told to end (SIGTERM as clusters do, SIGINT, SIGHUP unless it is ignored) ends the command's own
    jobs too, and so does the end of the shell that runs the stages.
    """
    end_with(int(os.environ.get(_SHELL, 0)))
    # A shell's background jobs ignore SIGINT from their start; under `nohup` SIGHUP stays ignored.
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        return commands.run(command)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def on_cluster() -> bool:
    """Whether this process runs behind the words of `decode_cmd` already."""
    return bool(os.environ.get(_AWAY))


def goes_to_cluster() -> bool:
    """Whether what runs as a whole goes behind the words of `decode_cmd`."""
    return bool(os.environ.get(DECODE)) and not on_cluster()


def run_on_cluster(command: Sequence[str]) -> None:
    """Run a command of the recipe behind the words of `decode_cmd`; what it says is the user's to see.

    Raises:
        StepError: another exit status than 0.
    """
    words = [*shlex.split(os.environ.get(DECODE, "")), *command]
    sys.stdout.flush()
    process = subprocess.Popen(bound(words), env={**os.environ, _AWAY: "yes"}, text=True)
    _jobs.add(process)
    try:
        status = process.wait()
    finally:
        process.terminate()
        process.wait()
        _jobs.discard(process)
    if status:
        raise StepError(f"a command failed with status {status}: {shlex.join(words)}")


def _end(number: int, frame: object) -> None:
    # Only this thread leaves here; others see their jobs end.
    for job in list(_jobs):
        job.terminate()
    sys.exit(128 + number)


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    prefix: str = "",
    environment: Mapping[str, str] | None = None,
    watch: Callable[[str], None] | None = None,
) -> None:
    """Run a command and append what it says to a log.

    Args:
        command: program and arguments.
        log: file to append to, standard output and standard error alike.
        prefix: name of the environment variable with words to put in front of the command
            (`train_cmd="srun --gres=gpu:1"`); none where it is empty or not set.
        environment: variables to set besides those of this process.
        watch: sees every line.

    Raises:
        StepError: another exit status than 0; with the end of what was said.
    """
    words = [*shlex.split(os.environ.get(prefix, "") if prefix else ""), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"# {shlex.join(words)}\n")
        process = subprocess.Popen(
            bound(words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            text=True,
            errors="replace",
        )
        _jobs.add(process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line)
                file.write(line)
                file.flush()
                if watch is not None:
                    watch(line)
            status = process.wait()
        except OSError as fault:
            raise StepError(f"{log} cannot be written: {fault}; its command was stopped") from fault
        finally:
            # Whatever ends us ends it; a command that is through does not mind.
            process.terminate()
            process.wait()
            _jobs.discard(process)
    if status:
        raise StepError(
            f"a command failed with status {status}; the end of {log}:\n{''.join(last).rstrip()}"
        )


def run_parallel(work: Callable[[Item], object], items: Sequence[Item], workers: int) -> None:
    """Call `work` on every item, `workers` at a time.

    The first fault keeps from starting those that have not yet; it is raised when all that have are through.
    """
    with ThreadPoolExecutor(max(1, min(workers, len(items)))) as threads:
        pending = [threads.submit(work, item) for item in items]
        try:
            done, _ = wait(pending, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
