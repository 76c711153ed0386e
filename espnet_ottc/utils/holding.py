"""One holder at a time: a lock file that says who has it."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(lock: Path, wait: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock; it is free again when the process ends, however it ends.

    Args:
        lock: file; made where there is none, and left there.
        wait: called with who holds it ("process 17 on host x") before waiting for its end.  To
            give up instead, raise.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Opened without truncation: it may be another's.
    with open(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait(file.read().strip() or "another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
