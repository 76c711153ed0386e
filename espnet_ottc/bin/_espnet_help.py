"""A quick help for the commands that are ESPnet's, whose own help needs ESPnet to be imported."""

import argparse
import sys
from collections.abc import Sequence


def answer(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> None:
    """Print the help of a command and end it, where it was asked for (`-h`, `--help`).

    Args:
        parser: the options that this package adds, or that are needed first.
        arguments: those of the command; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        parser.parse_args(["--help"])


def asks_for_espnets_help(arguments: Sequence[str] | None) -> bool:
    """Whether `--help_espnet` is among the arguments."""
    return "--help_espnet" in (sys.argv[1:] if arguments is None else arguments)


def help_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser that only shows the most important options: ESPnet's own reads them."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        usage=f"{prog} [options of ESPnet] ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--help_espnet",
        action="store_true",
        help="show all options, which are ESPnet's; imports ESPnet, which takes a while",
    )
    parser.add_argument("--config", metavar="FILE", help="read options from this YAML file")
    return parser
