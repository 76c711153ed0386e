"""The report of an experiment: tables, and one self-contained HTML page.

    ottc-report --results exp/results.jsonl --expdir exp --data data \\
        --html exp/report.html --markdown exp/RESULTS.md
    ottc-report --results results/digits_mini.jsonl --details

Prints the short table, or with `--details` every score, and where the report is.  What is missing is
said on the page and on stderr.  Exit status: 0; 1 for a fault of the input or a missing package; 2 for
wrong options.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run

_MODULE = "python -m espnet_ottc.bin.report"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    command = f"{_MODULE} {shlex.join(given)}"
    return run(lambda: _write(options, command))


def _write(options: argparse.Namespace, command: str) -> None:
    # Late, since the packages that it imports take long.
    from espnet_ottc.report.writing import ReportOptions, write_report

    given = vars(options)
    wanted = ReportOptions(**{**given, "results": tuple(given["results"])})
    for missing in write_report(wanted, command):
        print(f"missing from the report: {missing}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="ottc-report",
        description="Show results as tables and as a self-contained HTML page.",
        allow_abbrev=False,
    )
    options.add_argument(
        "--results",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="the scores (results.jsonl); several files, of systems trained apart, make one table",
    )
    options.add_argument(
        "--details",
        action="store_true",
        help="print each seed's metrics with counts, intervals and provenance, as Markdown, instead of the "
        "short table",
    )
    options.add_argument("--expdir", type=Path, default=Path("exp"), help="default: %(default)s")
    options.add_argument("--data", type=Path, default=Path("data"), help="default: %(default)s")
    options.add_argument("--html", type=Path, help="write the page here")
    options.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write what --details prints here"
    )
    options.add_argument(
        "--utterances", type=_count, default=3, help="recordings to show (default: %(default)s)"
    )
    options.add_argument(
        "--audio_limit_mb",
        type=_size,
        default=2.0,
        metavar="MB",
        help="leave out the audio of a recording that is larger (default: %(default)s)",
    )
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number


def _size(text: str) -> float:
    size = float(text)
    if not 0 <= size < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a size of at least 0, got {text}")
    return size


if __name__ == "__main__":
    sys.exit(main())
