"""Work on parts of a sequence by several processes that see what is in memory already."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from espnet_ottc.utils.lifetime import end_with

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_in_parts(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    least: int,
    cores: int | None = None,
) -> list[Result]:
    """What the work gives for parts of a sequence, in their order.

    Each part has a core, where there are several and this process may be forked: on Linux, while it has one
    thread.  Else there is one part.

    Args:
        work: is called with each part; its result has to be one that can be pickled.
        items: all of them.
        least: of a part; fewer are not worth a process.
        cores: at most so many parts; None: as many as this process may use.
    """
    parts = max(1, min(cores or _cores(), len(items) // least)) if _may_fork() else 1
    bounds = [len(items) * place // parts for place in range(parts + 1)]
    here, *elsewhere = (items[first:last] for first, last in pairwise(bounds))
    context = get_context("fork") if elsewhere else None
    # What the others never touch is not copied.
    gc.freeze()
    try:
        started = [_Started(context, work, part) for part in elsewhere]
        return [work(here), *(one.result() for one in started)]
    finally:
        gc.unfreeze()


class _Started:
    """A process at work on a part."""

    def __init__(self, context: Any, work: Callable[[Any], Any], part: Sequence[Any]) -> None:
        self._work, self._part = work, part
        self._reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(work, part, writer, os.getpid()), daemon=True)
        process.start()
        self._process = process
        writer.close()

    def result(self) -> Any:
        try:
            return self._reader.recv()
        except EOFError:
            # It was killed, or has raised what this will raise too.
            return self._work(self._part)
        finally:
            self._reader.close()
            self._process.join()


def _send(work: Callable[[Any], Any], part: Sequence[Any], writer: Connection, parent: int) -> None:
    end_with(parent)
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
