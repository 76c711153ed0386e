"""Work on many parts by several processes that see what is in memory already."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from espnet_ottc.utils.lifetime import end_with

Part = TypeVar("Part")
Result = TypeVar("Result")


def work_on_parts(
    work: Callable[[Part], Result], parts: Sequence[Part], cores: int | None = None
) -> Iterator[Result]:
    """What the work gives for each part, in their order, as soon as it is there.

    Several processes take turns, where there are several cores and this process may be forked: on Linux,
    while it has one thread.  Each goes on when its last result has been taken, so that few are held.

    Args:
        work: is called with each part; its result has to be one that can be pickled.
        parts: all of them.
        cores: at most so many processes; None: as many as this process may use.
    """
    workers = max(1, min(cores or _cores(), len(parts))) if len(parts) > 1 and _may_fork() else 1
    started: list[_Started] = []
    # What the others never touch is not copied.
    gc.freeze()
    try:
        started += (_Started(work, parts[place::workers]) for place in range(1, workers))
        for number, part in enumerate(parts):
            place = number % workers
            yield started[place - 1].result(part) if place else work(part)
    finally:
        gc.unfreeze()
        for one in started:
            one.end()


class _Started:
    """A process at work on some parts."""

    def __init__(self, work: Callable[[Any], Any], parts: Sequence[Any]) -> None:
        self._work = work
        context = get_context("fork")
        self._reader, writer = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_send, args=(work, parts, writer, os.getpid()), daemon=True
        )
        self._process.start()
        writer.close()

    def result(self, part: Any) -> Any:
        """What it gives for the next of its parts."""
        try:
            return self._reader.recv()
        except EOFError:
            # It was killed, or has raised what this will raise too.
            return self._work(part)

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._reader.close()


def _send(
    work: Callable[[Any], Any], parts: Sequence[Any], writer: Connection, parent: int
) -> None:
    end_with(parent)
    for part in parts:
        try:
            result = work(part)
        except Exception:
            return
        writer.send(result)


def _may_fork() -> bool:
    """Whether nothing is lost by a fork: other threads would be, with the locks that they hold."""
    if sys.platform != "linux":
        return False
    return len(list(Path("/proc/self/task").iterdir())) == 1


def _cores() -> int:
    return len(os.sched_getaffinity(0))
