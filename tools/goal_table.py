"""What was to be reached, and what was: one table over the results of many rulers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from espnet_ottc.report.markdown import table
from espnet_ottc.report.metrics import METRICS
from espnet_ottc.report.results import Row, read_rows

GOALS = Path(__file__).with_name("goals.yaml")
_HEADER = ["ruler", "system", "measure", "at most", "reached, by seed", "held"]
_HEADINGS = {metric.key: f"{metric.title} {metric.unit}".strip() for metric in METRICS}


def make_goals(name: str, results: Path) -> str:
    """The table of the goals of one name, as Markdown.

    A bar is a number, or the name of a rival: its mean over the seeds on the same set.  It holds where each
    seed's value, as it is shown, is at most as large.

    Args:
        name: in `goals.yaml`.
        results: the folder with the files of results.

    Raises:
        ValueError: a name without goals; files that `read_rows` refuses; a row without a measure of its bars.
        OSError: a file is there and cannot be read.
    """
    goals = yaml.safe_load(GOALS.read_text(encoding="utf-8"))
    if name not in goals:
        raise ValueError(f"goals must be of {', '.join(goals)}; got {name}")
    lines: list[list[str]] = []
    for goal in goals[name]:
        path = results / f"{goal['results']}.jsonl"
        rows = read_rows(path) if path.exists() else []
        lines += _lines(goal, [row for row in rows if row.set == goal["set"]])
    return table(_HEADER, lines, left=3)


def _lines(goal: Mapping[str, Any], rows: Sequence[Row]) -> list[list[str]]:
    found = []
    for system in goal["systems"]:
        own = sorted((row for row in rows if row.system == system), key=lambda row: row.seed)
        for measure, bar in goal["bars"].items():
            if bar == system:
                continue
            heading = _HEADINGS.get(measure, measure.replace("_", " ").replace("ms", " ms %"))
            values = [round(_value(row, measure), 1) for row in own]
            if not values:
                shown = f"{bar:g}" if isinstance(bar, int | float) else f"`{bar}`"
                found.append([goal["ruler"], f"`{system}`", heading, shown, "not measured", "–"])
                continue
            reached = ", ".join(f"{value:.1f}" for value in values)
            most = bar if isinstance(bar, int | float) else _rival(rows, bar, measure)
            if most is None:
                shown, held = f"`{bar}`, not measured", "–"
            else:
                shown = f"{most:g}" if most == bar else f"{most:.1f}, `{bar}`"
                held = f"{sum(value <= most for value in values)} of {len(values)}"
            found.append([goal["ruler"], f"`{system}`", heading, shown, reached, held])
    return found


def _value(row: Row, measure: str) -> float:
    """A metric of a row; `beyond_…` is what `within_…` leaves."""
    beyond = measure.startswith("beyond_")
    value = row.value(measure.replace("beyond_", "within_"))
    if value is None:
        raise ValueError(f"{row.system} seed {row.seed} on {row.set}: it has no {measure}")
    return 100 - value if beyond else value


def _rival(rows: Sequence[Row], system: str, measure: str) -> float | None:
    """The rival's mean, as shown; None where it was not measured."""
    values = [_value(row, measure) for row in rows if row.system == system]
    return round(fmean(values), 1) if values else None
