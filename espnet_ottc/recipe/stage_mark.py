"""Run a command of a recipe unless it was done before with the same inputs.

    python -m espnet_ottc.recipe.stage_mark --title "stage 3: tokens" --mark data/.marks/tokens.json \\
        --input data/train/text --output data/tokens.txt -- COMMAND ARGUMENTS ...

The command, its inputs and its outputs are what the mark remembers.  Exit status: that of the
command; 1 where an input, an output or an earlier step is missing; 2 for wrong options.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, perform


class CommandError(Exception):
    """The command's own messages say why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m espnet_ottc.recipe.stage_mark",
        description="Run a command unless its done-mark says that it was done with these inputs.",
        allow_abbrev=False,
    )
    options.add_argument("--title", required=True, help="how messages name the step")
    options.add_argument("--mark", type=Path, required=True, help="the done-mark")
    for name, text in (("input", "read"), ("output", "made")):
        options.add_argument(
            f"--{name}", type=Path, nargs="*", default=[], help=f"files or directories {text}"
        )
    options.add_argument(
        "--after",
        action="append",
        default=[],
        metavar="MARK=WHAT",
        help="a mark that must be done, and what the user has to run for it",
    )
    options.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of the command whose value changes no result: --ignore=--nj",
    )
    options.add_argument("command", nargs="+", help="after --: the command")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    step = Step(
        title=options.title,
        mark=options.mark,
        options={"command": _without(options.command, options.ignore)},
        inputs=tuple(options.input),
        outputs=tuple(options.output),
        after={
            Path(mark): what for mark, _, what in (text.partition("=") for text in options.after)
        },
    )

    def work(_: bool) -> None:
        status = subprocess.run(options.command, check=False).returncode
        if status:
            raise CommandError(status)

    try:
        return jobs.run(lambda: perform(step, work, jobs.say))
    except CommandError as failure:
        jobs.say(f"{options.title}: FAILED with status {failure.status}; see the messages above")
        return failure.status if failure.status > 0 else 1


def _without(command: Sequence[str], ignored: Sequence[str]) -> list[str]:
    """The command without the options in `ignored` and their values."""
    kept = []
    words = iter(command)
    for word in words:
        if word in ignored:
            next(words, None)
        else:
            kept.append(word)
    return kept


if __name__ == "__main__":
    sys.exit(main())
