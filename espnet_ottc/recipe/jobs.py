"""What the recipe's commands share: messages, exit status, units of work with logs."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from espnet_ottc.recipe.clusters import TRAINING, Clusters, Need
from espnet_ottc.recipe.engine import EndedError, Engine
from espnet_ottc.recipe.units import Unit
from espnet_ottc.utils import commands
from espnet_ottc.utils.lifetime import end_with

Item = TypeVar("Item")

# Environment variables (cluster.sh) with the words in front of a command that trains, or does other work.
TRAIN = "train_cmd"
DECODE = "decode_cmd"
# The process of the shell that runs the stages one after another (ottc.sh).
_SHELL = "espnet_ottc_shell"
# What a worker elsewhere needs to run what this process would.
_OURS = ("PATH", "PYTHONPATH", "PYTHONIOENCODING", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# Libraries take what they find; Dask's own workers say 1.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def say_infeasible(infeasible: Mapping[str, str], count: int, what: str) -> None:
    """Tell the user of utterances without an alignment, and name the first; `infeasible` has them all.

    Args:
        infeasible: utterance id -> why it has none.
        count: utterances in all.
        what: of which set, or by which aligner.
    """
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
        _pools.close()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Pools:
    """The engines of this process: one for each kind of units, opened with the first unit.

    A run has one cluster, which `use` sets once.
    """

    def __init__(self) -> None:
        self._refused = False
        self._clusters = Clusters()
        self._needs: dict[str, Need] = {}
        self._engines: dict[str, Engine] = {}

    def use(self, clusters: Clusters, needs: Mapping[str, Need]) -> None:
        self.close()
        self._clusters, self._needs = clusters, dict(needs)

    def of(self, prefix: str) -> Engine:
        need = self._needs.get(prefix, Need())
        engine = self._engines.setdefault(prefix, Engine(self._clusters, need))
        if self._refused:
            engine.end()
        return engine

    def end(self) -> None:
        for engine in self._engines.values():
            engine.end()

    def refuse(self) -> None:
        """Let no unit start any more, whoever comes with one later."""
        self._refused = True
        self.end()

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._refused = False


_pools = _Pools()


def use(
    clusters: Clusters, *, cores: int, gpus: int, trainings: int, threads: int, processes: int = 1
) -> None:
    """Say where the units of this process run from now on.

    Args:
        clusters: this machine, or another cluster.
        cores: of this machine, for units that do not train.
        gpus: of this machine, for a training, or for all others.
        trainings: at a time.
        threads: of each process of a training.
        processes: of a training.
    """
    needs = {
        DECODE: Need("", cores, gpus),
        TRAIN: Need(TRAINING, trainings * threads * processes, trainings * gpus),
    }
    clusters.prepare()
    _pools.use(clusters, needs)


def _end(number: int, frame: object) -> None:
    # Only this thread leaves here; others see their units end, and may be about to start one.
    _pools.refuse()
    sys.exit(128 + number)


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    prefix: str = DECODE,
    key: str | None = None,
    cores: int = 1,
    processes: int = 1,
    gpus: int = 0,
    folder: Path | None = None,
    watch: Callable[[str], None] | None = None,
    on_retry: Callable[[], bool] | None = None,
) -> None:
    """Run a command as a unit of the engine, and append what it says to a log.

    Args:
        command: program and arguments; `units.FOLDER` stands for the folder below.
        log: file to append to, standard output and standard error alike.
        prefix: whether it trains or does other work, by the environment variable with words to put in
            front of the command (`train_cmd="srun --gres=gpu:1"`); none where it is empty or not set.
        key: names it to the user; None: the log's name.
        cores: each of its processes keeps busy, by so many threads.
        processes: that it starts on a machine.
        gpus: it gets, unless the words in front get them for it.
        folder: what it makes as a whole, there once it has succeeded.
        watch: sees every line.
        on_retry: called before it is tried again because its worker was lost or a signal ended it; whether it
            has got on since the last time.

    Raises:
        StepError: another exit status than 0, with the end of what was said; lost three times without
            getting on.
    """
    front = shlex.split(os.environ.get(prefix, ""))
    ours = {name: os.environ[name] for name in _OURS if name in os.environ}
    unit = Unit(
        key=key or log.stem,
        words=(*front, *command),
        log=log,
        directory=Path.cwd(),
        environment={**ours, **dict.fromkeys(_THREADS, str(cores))},
        cores=cores * processes,
        gpus=0 if front else gpus,
        folder=folder,
    )
    _pools.of(prefix).run(unit, watch, on_retry)


def run_parallel(work: Callable[[Item], object], items: Sequence[Item], workers: int = 0) -> None:
    """Call `work` on every item at the same time; it waits for units, which the engine runs as it can.

    The first fault keeps from starting those that have not yet. It is raised when all that have are through;
    where all came at a time, these are ended.

    Args:
        work: what to do with an item.
        items: all of them.
        workers: how many at a time; 0: all.
    """
    with ThreadPoolExecutor(max(1, min(workers or len(items), len(items)))) as threads:
        pending = [threads.submit(work, item) for item in items]
        try:
            done, _ = wait(pending, return_when=FIRST_EXCEPTION)
            failed = any(future.exception() for future in done)
        except BaseException:
            failed = True
            raise
        finally:
            if failed:
                threads.shutdown(wait=False, cancel_futures=True)
                if not workers:
                    # Those that wait in the engine must not start, either.
                    _pools.end()
    found = [future.exception() for future in pending if not future.cancelled()]
    faults = [fault for fault in found if fault is not None]
    if faults:
        # Not of one that was ended because of another's.
        raise min(faults, key=lambda fault: isinstance(fault, EndedError))
