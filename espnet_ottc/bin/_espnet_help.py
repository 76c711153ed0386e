"""A quick help for the commands that are ESPnet's, whose own help needs ESPnet to be imported."""

import argparse
import sys
from collections.abc import Sequence


def answered(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> bool:
    """Print the help of a command where it was asked for, without importing anything.

    Args:
        parser: the options that this package adds or that are needed first, with `add_help=False`.
        arguments: those of the command; None: those of this process.

    Returns:
        Whether it was asked for (`-h`, `--help`).
    """
    given = sys.argv[1:] if arguments is None else arguments
    if not {"-h", "--help"} & set(given):
        return False
    parser.print_help()
    return True


def asks_for_espnets_help(arguments: Sequence[str] | None) -> bool:
    """Whether `--help_espnet` is among the arguments."""
    return "--help_espnet" in (sys.argv[1:] if arguments is None else arguments)


def help_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser that is never used to parse: it only shows the most important options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        usage=f"{prog} [options of ESPnet] ...",
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this message")
    parser.add_argument(
        "--help_espnet",
        action="store_true",
        help="show all options, which are ESPnet's; imports ESPnet, which takes a while",
    )
    parser.add_argument("--config", metavar="FILE", help="read options from this YAML file")
    return parser
