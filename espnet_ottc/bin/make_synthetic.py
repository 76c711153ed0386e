"""Write a synthetic speech corpus with exact word times, in the layout of a real one.

Example: python -m espnet_ottc.bin.make_synthetic --out downloads --hours 2 --nj 2
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.corpora.building import build_corpus, summary_table
from espnet_ottc.corpora.layouts import LAYOUTS
from espnet_ottc.corpora.synthetic import librispeech_plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    plan = librispeech_plan(
        options.hours, options.dev_hours, options.test_hours, options.test_other_hours
    )
    try:
        sessions = build_corpus(
            plan, layout=options.layout, out=options.out, seed=options.seed, nj=options.nj
        )
    except (OSError, ImportError, RuntimeError, ValueError) as fault:
        print(f"make_synthetic: {fault}", file=sys.stderr)
        return 1
    print(summary_table(sessions))
    print(f"Written to {options.out}. This is synthetic speech: see README.TXT there.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help, allow_abbrev=False)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        default=argparse.SUPPRESS,
        help="corpus directory to make; must not exist or be empty",
    )
    parser.add_argument("--layout", choices=sorted(LAYOUTS), default="librispeech", help="layout")
    parser.add_argument("--seed", type=int, default=0, help="sentences, prosody and noise")
    parser.add_argument("--nj", type=int, default=1, help="processes; changes no result")
    parser.add_argument("--hours", type=_hours, default=2.0, help="hours of train-clean-100")
    parser.add_argument("--dev_hours", type=_hours, default=0.15, help="hours of dev-clean")
    parser.add_argument("--test_hours", type=_hours, default=0.25, help="hours of test-clean")
    parser.add_argument(
        "--test_other_hours", type=_hours, default=0.0, help="hours of test-other, with more noise"
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
