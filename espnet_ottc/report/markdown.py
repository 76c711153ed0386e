"""RESULTS.md: the tables and where their numbers come from, as Markdown."""

from collections.abc import Sequence

from espnet_ottc.report.metrics import Metric, count_text, interval_text
from espnet_ottc.report.results import Group, Row, group_rows, metrics_of


def render_markdown(rows: Sequence[Row], source: str, command: str) -> str:
    """The text of RESULTS.md.

    Args:
        rows: in the order of the file.
        source: name of the file that they come from.
        command: the command that writes this text.
    """
    parts = [
        "# Results",
        f"Generated from {_cell(source)}; do not edit. Made by:",
        _code(command),
    ]
    if not rows:
        return "\n\n".join([*parts, "There are no rows."]) + "\n"
    groups = group_rows(rows)
    metrics = metrics_of(rows)
    parts.append("The mean over seeds stands first, each seed's value in parentheses.")
    for name in dict.fromkeys(group.set for group in groups):
        members = [group for group in groups if group.set == name]
        parts += [f"## {_cell(name)}", _means(members, metrics)]
    legend = [f"* {metric.title} ({metric.unit}): {metric.meaning}." for metric in metrics]
    parts.append("\n".join(legend))
    parts += ["## Each seed, with counts and bootstrap intervals", _details(rows, metrics)]
    parts += ["## Provenance", *_provenance(rows)]
    return "\n\n".join(parts) + "\n"


def _means(groups: Sequence[Group], metrics: Sequence[Metric]) -> str:
    header = ["system", "decoder", "seeds", *(metric.heading for metric in metrics)]
    lines = [
        [group.system, group.decoder, ", ".join(map(str, group.seeds))]
        + [_mean(group, metric) for metric in metrics]
        for group in groups
    ]
    return table(header, lines, left=2)


def _mean(group: Group, metric: Metric) -> str:
    mean = metric.text(group.mean(metric.key))
    if len(group.rows) == 1:
        return mean
    return f"{mean} ({', '.join(map(metric.text, group.values(metric.key)))})"


def _details(rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    lines = []
    for row in rows:
        for metric in metrics:
            value = row.value(metric.key)
            if value is None:
                continue
            lines.append(
                [
                    row.set,
                    row.system,
                    row.decoder,
                    str(row.seed),
                    metric.title,
                    metric.unit,
                    metric.text(value),
                    interval_text(metric, row.interval(metric.key)),
                    count_text(row.counts(metric.key)),
                ]
            )
    header = ["set", "system", "decoder", "seed", "metric", "unit", "value", "interval", "counts"]
    return table(header, lines, left=6)


def _provenance(rows: Sequence[Row]) -> list[str]:
    shared: dict[str, list[str]] = {}
    for row in rows:
        facts = "\n".join(f"* {name}: {_cell(text)}" for name, text in row.provenance()[0].items())
        shared.setdefault(facts, []).append(f"{row.system} seed {row.seed}")
    parts = []
    for facts, trainings in shared.items():
        parts += [facts, f"For: {_cell(', '.join(dict.fromkeys(trainings)))}."]
    own: dict[str, list[str]] = {}
    for row in rows:
        text = "\n".join(f"{name}: {text}" for name, text in row.provenance()[1].items())
        own.setdefault(text, []).append(f"{row.set} {row.system} {row.decoder} seed {row.seed}")
    for text, names in own.items():
        parts += [f"{_cell('; '.join(names))}:", _code(text)]
    return parts


def table(header: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are text, the others numbers."""
    rule = [":--" if place < left else "--:" for place in range(len(header))]
    return "\n".join(
        "| " + " | ".join(cells) + " |"
        for cells in ([_cell(c) for c in header], rule, *([_cell(c) for c in x] for x in lines))
    )


def _cell(text: str) -> str:
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(mark, entity)
    return text


def _code(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())
