"""The report of an experiment: RESULTS.md and one self-contained HTML page from `results.json`."""

from espnet_ottc.utils.extras import require_extra

# Before the imports below, so that what is missing is named with the command that installs it.
require_extra("report", "espnet_ottc.report", ("jinja2", "numpy", "yaml"))

# ruff: noqa: E402
from espnet_ottc.report.ablations import fill_page
from espnet_ottc.report.markdown import render_markdown
from espnet_ottc.report.page import render_page
from espnet_ottc.report.results import Group, Row, group_rows, read_rows, short_table
from espnet_ottc.report.sections import Sections, gather

__all__ = [
    "Group",
    "Row",
    "Sections",
    "fill_page",
    "gather",
    "group_rows",
    "read_rows",
    "render_markdown",
    "render_page",
    "short_table",
]
