"""ESPnet's ASR training by several processes: `torchrun`, with an exit status that says why it ended.

    python -m espnet_ottc.bin.train_processes --nproc_per_node 4 --standalone -m espnet_ottc.bin.asr_train ...

Options are those of `torchrun`.  `torchrun` itself ends with status 1 whatever happened.  This ends as its
processes do: with 128 plus the signal's number after a signal, else with the status of the first that failed.
SIGUSR1, which asks a training to end after its epoch, is handed on.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the processes; returns the exit status."""
    # Late: torch takes a second.
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    signal.signal(signal.SIGUSR1, _hand_on)
    try:
        run.main(None if arguments is None else list(arguments))
    except SignalException as fault:
        return 128 + int(fault.sigval)
    except ChildFailedError as fault:
        status = int(fault.get_first_failure()[1].exitcode)
        return 128 - status if status < 0 else status
    return 0


def _hand_on(number: int, frame: object) -> None:
    for process in _children():
        os.kill(process, number)


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


if __name__ == "__main__":
    sys.exit(main())
