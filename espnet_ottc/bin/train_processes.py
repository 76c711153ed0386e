"""ESPnet's ASR training by several processes: `torchrun`, with an exit status that says why it ended.

    python -m espnet_ottc.bin.train_processes --nproc 4 espnet_ottc.bin.asr_train ...

`torchrun` itself ends with status 1 whatever happened.  This ends as its processes do: with 128 plus the
signal's number after a signal, else with the status of the first that failed.  SIGUSR1, which asks a training
to end after its epoch, is handed on.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the processes; returns the exit status."""
    options = _parser().parse_args(arguments)
    # Late: torch takes a second.
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = ["--nproc_per_node", str(options.nproc), "--nnodes", str(options.nnodes)]
    if options.meeting is None:
        words += ["--standalone"]
    else:
        words += ["--rdzv_backend", "c10d", "--rdzv_endpoint", options.meeting]
    signal.signal(signal.SIGUSR1, _hand_on)
    try:
        run.main([*words, "-m", *options.words])
    except SignalException as fault:
        return 128 + int(fault.sigval)
    except ChildFailedError as fault:
        status = int(fault.get_first_failure()[1].exitcode)
        return 128 - status if status < 0 else status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_processes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--nproc", type=int, required=True, help="processes on each machine")
    parser.add_argument(
        "--nnodes", type=int, default=1, help="machines, on each of which this runs"
    )
    parser.add_argument("--meeting", metavar="HOST:PORT", help="a free port of one of them")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, help="a module, as `python -m` runs it, and its options"
    )
    return parser


def _hand_on(number: int, frame: object) -> None:
    for process in _children():
        os.kill(process, number)


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


if __name__ == "__main__":
    sys.exit(main())
