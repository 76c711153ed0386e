"""Write a synthetic speech corpus with exact word times, in the layout of a real one.

Example: python -m espnet_ottc.bin.make_synthetic --out downloads --hours 2 --nj 2
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.recipe.corpora import CORPORA
from espnet_ottc.utils.commands import UserError, run

if TYPE_CHECKING:
    from espnet_ottc.synthesis.synthetic import SetPlan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _make(options))


def _make(options: argparse.Namespace) -> None:
    from espnet_ottc.synthesis.building import build_corpus, summary_table

    plan = _plan(options)
    try:
        sessions = build_corpus(
            plan,
            layout=CORPORA[options.layout].layout,
            out=options.out,
            seed=options.seed,
            nj=options.nj,
        )
    except RuntimeError as fault:
        # Of the synthesiser: its library does not start, or a process of it died.
        raise UserError(str(fault)) from fault
    print(summary_table(sessions))
    print(f"Written to {options.out}. This is synthetic speech: see README.TXT there.")


def _plan(options: argparse.Namespace) -> "tuple[SetPlan, ...]":
    corpus = CORPORA[options.layout]
    return corpus.synthetic_sets(
        options.hours, options.dev_hours, options.test_hours, options.test_other_hours
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help, allow_abbrev=False)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        default=argparse.SUPPRESS,
        help="corpus directory to make; must not exist or be empty",
    )
    parser.add_argument("--layout", choices=sorted(CORPORA), default="librispeech", help="layout")
    parser.add_argument("--seed", type=int, default=0, help="seed of sentences, prosody and noise")
    parser.add_argument(
        "--nj", type=int, default=1, help="processes; any number gives the same result"
    )
    names = ("--hours", "--dev_hours", "--test_hours", "--test_other_hours")
    for place, name in enumerate(names):
        what = ("training", "development", "test", "noisy test (LibriSpeech alone)")[place]
        parser.add_argument(
            name,
            type=_hours,
            help=f"hours of {what} speech; none: those of the recipe",
        )
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < 10000:
        raise argparse.ArgumentTypeError(f"must be a number of hours, not negative, got {text}")
    return hours


if __name__ == "__main__":
    sys.exit(main())
