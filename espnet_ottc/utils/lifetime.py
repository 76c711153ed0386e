"""Processes that end with the one that started them, however that one ends.

    python -S lifetime.py PARENT COMMAND ...     become COMMAND, which gets SIGTERM when process PARENT ends

The kernel sends the signal (Linux: `PR_SET_PDEATHSIG`), so that a parent killed by SIGKILL leaves nothing
behind.  Other systems have no such signal; there the command runs as it is.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have this process get SIGTERM when `parent` ends, at once where it has ended already.

    Nothing happens where `parent` lives and did not start it.  The signal belongs to the parent's thread that
    started this process.  Commands that this process becomes (`exec`) keep it.

    Args:
        parent: process id; 0: none.
    """
    if sys.platform != "linux" or not parent:
        return
    if os.getppid() != parent:
        if _has_ended(parent):
            os.kill(os.getpid(), signal.SIGTERM)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        fault = ctypes.get_errno()
        raise OSError(fault, f"prctl: {os.strerror(fault)}")
    if os.getppid() != parent:
        # It ended in between.
        os.kill(os.getpid(), signal.SIGTERM)


def _has_ended(process: int) -> bool:
    """Whether a process is no more, or a zombie."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def bound(command: Sequence[str]) -> list[str]:
    """The command, as one that ends with this process.

    The thread that starts it has to live until it ends.

    Args:
        command: program and arguments.
    """
    return [sys.executable, "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    if os.getppid() != int(sys.argv[1]):
        sys.exit(128 + signal.SIGTERM)
    end_with(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as fault:
        print(f"error: {sys.argv[2]}: {fault.strerror}", file=sys.stderr)
        sys.exit(127)
