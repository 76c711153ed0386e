"""The report as one self-contained HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from espnet_ottc.report.metrics import count_text, interval_text
from espnet_ottc.report.results import Row, group_rows, metrics_of, unit_of
from espnet_ottc.report.sections import Sections

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(rows: Sequence[Row], sections: Sections, source: str, command: str) -> str:
    """The text of `report.html`; everything from outside is escaped.

    Args:
        rows: in the order of the file.
        sections: figures and recordings.
        source: name of the file that the rows come from.
        command: the command that makes this page.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count_text"] = count_text
    environment.filters["as_json"] = lambda row: json.dumps(
        row.fields, indent=2, ensure_ascii=False
    )
    environment.globals["interval_text"] = interval_text
    groups = group_rows(rows)
    return environment.get_template("report.html").render(
        rows=rows,
        groups=groups,
        sets=list(dict.fromkeys(group.set for group in groups)),
        metrics=metrics_of(rows),
        unit=unit_of(rows),
        sections=sections,
        provenance=_provenance(rows),
        source=source,
        command=command,
        style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(_TEMPLATES / "report.js").read_text(encoding="utf-8"),
    )


def _provenance(rows: Sequence[Row]) -> list[tuple[dict[str, str], list[str]]]:
    """The shared facts, each with the trainings they hold for."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        names = found.setdefault(tuple(row.provenance()[0].items()), [])
        name = f"{row.system} seed {row.seed}"
        if name not in names:
            names.append(name)
    return [(dict(facts), names) for facts, names in found.items()]
