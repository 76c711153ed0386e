"""The report of an experiment: tables, figures and recordings of what a recipe has written."""

from espnet_ottc.utils.extras import require_extra

# Before any module of this room, so that what is missing is named with the command that installs it.
require_extra("report", "espnet_ottc.report", ("jinja2", "numpy", "yaml"))
