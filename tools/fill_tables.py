"""Renew the tables of our documents from `results/`.

    python tools/fill_tables.py                                 # all pages that have tables
    python tools/fill_tables.py --results results README.md

A page has marked places, each between `<!-- table: NAME EXPERIMENT -->` and `<!-- end -->`; what lies
between is generated from `results/EXPERIMENT.jsonl`.  `<!-- table: overview EXPERIMENT SYSTEM SYSTEM ... -->`
shows these systems alone, `criterion` in its place leaves times of boundary heads out, and
`<!-- table: transfer EXPERIMENT SYSTEM ... -->` shows those that add knowledge transfer to them;
`<!-- table: boundaries EXPERIMENT -->` shows the times on all sets, `boundaries_brief` the errors of systems
on test sets.  `result_tables.py` has the tables.
`<!-- table: goals NAME -->` shows what `goals.yaml` has under this name beside what was reached, and
`<!-- table: kills NAME -->` the kills that `results/NAME.jsonl` records.
Exit status: 0; 1 for a fault of the input; 2 for wrong options.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from goal_table import make_goals
from kill_table import make_kills
from result_tables import TABLES, make_table

from espnet_ottc.report.results import Row, read_rows
from espnet_ottc.utils.files import written_aside

ROOT = Path(__file__).resolve().parents[1]
GOALS = "goals"
KILLS = "kills"
PAGES = (
    "README.md",
    "docs/ablations.md",
    "docs/reliability.md",
    "docs/results.md",
    "docs/times.md",
    "docs/unbalanced.md",
)
_PLACE = re.compile(
    r"(<!-- table: (?P<name>\w+)(?: (?P<experiment>\w+))?(?P<systems>(?: \w+)*) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        for page in options.pages:
            text = page.read_text(encoding="utf-8")
            filled = fill_page(text, options.results)
            if filled != text:
                with written_aside(page) as aside:
                    aside.write_text(filled, encoding="utf-8")
            print(f"{'unchanged' if filled == text else 'filled'}: {page}")
    except (OSError, ValueError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    return 0


def fill_page(text: str, results: Path) -> str:
    """The page with its tables made from the results.

    Args:
        text: of the page.
        results: the folder with `<experiment>.jsonl`.

    Raises:
        ValueError: no marked place; one without experiment; what `read_rows` and `make_table` refuse.
        OSError: an experiment's file cannot be read.
    """
    experiments: dict[str, list[Row]] = {}
    places = list(_PLACE.finditer(text))
    if not places or not all(place["experiment"] for place in places):
        raise ValueError(
            "the page must have places <!-- table: NAME EXPERIMENT --> ... <!-- end --> with NAME of "
            f"{', '.join((*TABLES, GOALS, KILLS))}; "
            f"got {', '.join(place[1].strip() for place in places) or 'none'}"
        )

    def renewed(place: re.Match[str]) -> str:
        name = place["experiment"]
        if place["name"] == GOALS:
            filled = make_goals(name, results)
        elif place["name"] == KILLS:
            filled = make_kills(results / f"{name}.jsonl")
        else:
            if name not in experiments:
                experiments[name] = read_rows(results / f"{name}.jsonl")
            filled = make_table(place["name"], experiments[name], place["systems"].split())
        return f"{place[1]}\n{filled}\n\n{place[5]}"

    return _PLACE.sub(renewed, text)


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python tools/fill_tables.py",
        description="Renew the tables of our documents from results/.",
        allow_abbrev=False,
    )
    options.add_argument(
        "--results", type=Path, default=ROOT / "results", metavar="DIR", help="default: %(default)s"
    )
    options.add_argument(
        "pages",
        type=Path,
        nargs="*",
        default=[ROOT / page for page in PAGES],
        metavar="PAGE",
        help=f"default: {', '.join(PAGES)}",
    )
    return options


if __name__ == "__main__":
    sys.exit(main())
