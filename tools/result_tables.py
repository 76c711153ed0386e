"""The tables of our documents: systems beside the papers' figures, the papers' orderings checked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from espnet_ottc.report.markdown import table
from espnet_ottc.report.metrics import METRICS, Metric
from espnet_ottc.report.results import Group, Row, group_rows, unit_of

# Columns beside the system's name.
_SHOWN = ("wer", "boundary_mae_ms", "idr", "iou", "peaky")
_BY_KEY = {metric.key: metric for metric in METRICS}
# What follows the name of a system in those that add knowledge transfer to it; the last is the control.
_TRANSFERS = ("adapter_only", "uniform", "balanced", "", "plan", "random_teacher")
# The table of boundaries' errors on all sets, and its columns.
_BOUNDARIES, _BRIEF, _MEAN = "boundaries", "boundaries_brief", "boundary_mae_ms"
_OF_BOUNDARIES = (
    *("boundary_median_ms", "start_mae_ms", "end_mae_ms", "start_bias_ms", "end_bias_ms"),
    "coverage",
)
PAPER = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True)
class Evidence:
    """One set's results with one decoder in time for each system.

    Attributes:
        name: of the set.
        unit: "word" or "phone".
        groups: by system; the decoder is the one with the smaller boundary error on the development set,
            and without development set the default one.
        greedy: by system, the words of greedy decoding where there are rows of their own.
    """

    name: str
    unit: str
    groups: Mapping[str, Group]
    greedy: Mapping[str, Group]


def make_table(name: str, rows: Sequence[Row], systems: Sequence[str]) -> str:
    """One table as Markdown, with a line that says what it shows.

    Args:
        name: one of `TABLES`.
        rows: of one experiment; sets whose names start with "dev" choose the decoder in time.
        systems: those that `overview` shows, in this order, and `criterion`, which has no times of boundary
            heads; those without transfer for `transfer`; those of `boundaries`, where none means all, and of
            `boundaries_brief`; no other table takes any.

    Raises:
        ValueError: an unknown table; no rows of a test set, or of a system that is named; systems for a
            table that takes none.
    """
    if name in _OF_ROWS:
        return _OF_ROWS[name](rows, systems)
    if name in ("transfer", "criterion"):
        # The boundary head has a view of its own, which no criterion reaches.
        rows = [row for row in rows if row.decoder != "boundary"]
    if name in _OF_SYSTEMS:
        return _OF_SYSTEMS[name](_evidence(rows), systems)
    if name not in _MAKERS:
        raise ValueError(f"a table must be one of {', '.join(TABLES)}; got {name}")
    if systems:
        raise ValueError(f"the table {name} takes no systems, got {', '.join(systems)}")
    return _MAKERS[name](_evidence(rows))


def read_paper() -> dict[str, Any]:
    """The papers' figures and orderings: `source`, `systems`, `times`, `claims`."""
    paper: dict[str, Any] = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    return paper


def _evidence(rows: Sequence[Row]) -> Evidence:
    groups = group_rows(rows)
    tests = [group.set for group in groups if not _is_dev(group.set)]
    if not tests:
        raise ValueError("the tables need results on a test set, got none")
    chosen: dict[str, Group] = {}
    for group in groups:
        if group.set != tests[0]:
            continue
        best = chosen.get(group.system)
        if best is None or _dev_error(groups, group) < _dev_error(groups, best):
            chosen[group.system] = group
    greedy = {g.system: g for g in groups if g.set == tests[0] and g.decoder == "greedy"}
    return Evidence(tests[0], unit_of(rows), chosen, greedy)


def _dev_error(groups: Sequence[Group], of: Group) -> tuple[float, bool]:
    """What is smaller for the better decoder in time; without development set, the default one is."""
    error = None
    for group in groups:
        if (group.system, group.decoder) == (of.system, of.decoder) and _is_dev(group.set):
            error = group.mean("boundary_mae_ms")
    return (float("inf") if error is None else error), of.decoder == "transport"


def _is_dev(name: str) -> bool:
    return name.lower().startswith("dev")


def _overview(evidence: Evidence, systems: Sequence[str]) -> str:
    """Means over the seeds of some systems."""
    return _means(evidence, systems, lambda group, metric: metric.text(group.mean(metric.key)))


def _criterion(evidence: Evidence, systems: Sequence[str]) -> str:
    """Some systems, with each seed's value."""
    return f"{_means(evidence, systems, _with_seeds)} In brackets each seed's value."


def _means(evidence: Evidence, systems: Sequence[str], text: Callable[[Group, Metric], str]) -> str:
    absent = [name for name in systems if name not in evidence.groups]
    if absent or not systems:
        raise ValueError(
            f"an overview must name systems that have results on {evidence.name}; "
            f"{', '.join(absent) or 'no system'} is not among {', '.join(evidence.groups)}"
        )
    metrics = _shown(evidence)
    lines = [
        [f"`{name}`", *(text(evidence.groups[name], metric) for metric in metrics)]
        for name in systems
    ]
    header = ["system", *(m.heading for m in metrics)]
    groups = [evidence.groups[name] for name in systems]
    return f"{table(header, lines, left=1)}\n\n{_means_of(evidence, groups)}"


def _transfer(evidence: Evidence, systems: Sequence[str]) -> str:
    """Systems with knowledge transfer beside the same without, and beside the random teacher."""
    beside = ("cer", "boundary_mae_ms", "peaky")
    lines, groups = [], []
    for base in systems:
        names = (base, *(f"{base}_transfer_{way}".rstrip("_") for way in _TRANSFERS))
        found = [evidence.groups[name] for name in names if name in evidence.groups]
        if not found or found[0].system != base or len(found) == 1:
            raise ValueError(
                f"the table transfer needs results on {evidence.name} of {base} and of {base}_transfer..., "
                f"got {', '.join(evidence.groups)}"
            )
        control = evidence.groups.get(names[-1])
        groups += found
        lines += [
            [f"`{group.system}`", _with_seeds(group, _BY_KEY["wer"])]
            + [_change(group, than) for than in (found[0], control)]
            + [_with_seeds(group, _BY_KEY[key]) for key in beside]
            for group in found
        ]
    wer, *headings = (_BY_KEY[key].of(evidence.unit).heading for key in ("wer", *beside))
    header = ["system", wer, "minus that without", "minus the random teacher's", *headings]
    caption = "In brackets each seed's value; differences are those within a seed."
    return f"{table(header, lines, left=1)}\n\n{_means_of(evidence, groups)} {caption}{_uncommitted(groups)}"


def _uncommitted(groups: Iterable[Group]) -> str:
    """Which trainings come from a tree with changes that are in no commit."""
    found = {
        group.system: [
            str(row.seed) for row in group.rows if (row.fields.get("provenance") or {}).get("dirty")
        ]
        for group in groups
    }
    named = [f"`{system}` {', '.join(seeds)}" for system, seeds in found.items() if seeds]
    return (
        f" Trained with changes that were not committed, by seed: {'; '.join(named)}."
        if named
        else ""
    )


def _change(group: Group, than: Group | None) -> str:
    """How much higher the word error rate is, seed by seed."""
    pairs = [] if than is None or than.system == group.system else _pairs(group, than, "wer")
    if not pairs:
        return "–"
    changes = [one - other for one, other in pairs]
    return f"{fmean(changes):+.2f} ({', '.join(f'{change:+.2f}' for change in changes)})"


def _summary(evidence: Evidence) -> str:
    """Means over the seeds of every system."""
    metrics = _shown(evidence)
    lines = [
        [f"`{name}`", group.decoder, *(m.text(group.mean(m.key)) for m in metrics)]
        for name, group in evidence.groups.items()
    ]
    header = ["system", "times by", *(m.heading for m in metrics)]
    return f"{table(header, lines, left=2)}\n\n{_means_of(evidence, evidence.groups.values())}"


def _shown(evidence: Evidence) -> list[Metric]:
    return [_BY_KEY[key].of(evidence.unit) for key in _SHOWN]


def _means_of(evidence: Evidence, groups: Iterable[Group]) -> str:
    counts = sorted({len(group.seeds) for group in groups})
    if counts == [1]:
        return f"Set {evidence.name}, one seed."
    return f"Set {evidence.name}, means over {' or '.join(map(str, counts))} seeds."


def _systems(evidence: Evidence) -> str:
    paper, metrics = read_paper(), _shown(evidence)
    header = ["system", "times by", "seeds", *(m.heading for m in metrics), "WER in the paper"]
    lines = [
        [f"`{name}`", group.decoder, ", ".join(map(str, group.seeds))]
        + [_with_seeds(group, metric) for metric in metrics]
        + [paper["systems"].get(name, "–")]
        for name, group in evidence.groups.items()
    ]
    caption = f"Set {evidence.name}: the mean over seeds, and each seed's value."
    return f"{table(header, lines, left=2)}\n\n{caption} The paper: {paper['source']}."


def _times(evidence: Evidence) -> str:
    """The papers' measures of times, for the systems for which they have them."""
    paper = read_paper()["times"]
    metrics = [_BY_KEY[key] for key in ("peaky", "start_f1", "idr")]
    lines = [
        [
            f"`{name}`",
            " / ".join(metric.text(evidence.groups[name].mean(metric.key)) for metric in metrics),
            *figures,
        ]
        for name, figures in paper["systems"].items()
        if name in evidence.groups
    ]
    header = ["system", evidence.name, *paper["columns"]]
    measures = " / ".join(metric.title for metric in metrics)
    caption = f"{measures} in %; ours are means over the seeds. The paper: {paper['source']}."
    return f"{table(header, lines, left=1)}\n\n{caption}"


def _with_seeds(group: Group, metric: Metric) -> str:
    values = ", ".join(map(metric.text, group.values(metric.key)))
    return f"{metric.text(group.mean(metric.key))} ({values})"


def _boundaries(rows: Sequence[Row], systems: Sequence[str]) -> str:
    """Errors of boundaries on each set, test sets first, each seed's mean beside the mean over all."""
    groups = [
        group
        for group in group_rows(rows)
        if group.mean(_MEAN) is not None and (not systems or group.system in systems)
    ]
    if absent := sorted(set(systems) - {group.system for group in groups}):
        raise ValueError(f"the table boundaries: {', '.join(absent)} has no times")
    if not groups:
        raise ValueError("the table boundaries needs rows with times, got none")
    metrics = [_BY_KEY[key].of(unit_of(rows)) for key in _OF_BOUNDARIES]
    header = ["set", "system", "times by", _BY_KEY[_MEAN].heading]
    header += [*(metric.heading for metric in metrics), "beyond 50 ms %", "beyond 200 ms %"]
    header.append("inside 90 % intervals %")
    lines = [
        [group.set, f"`{group.system}`", group.decoder, _with_seeds(group, _BY_KEY[_MEAN])]
        + [metric.text(group.mean(metric.key)) for metric in metrics]
        + [_beyond(group.mean(key)) for key in ("within_50ms", "within_200ms")]
        + ["–" if (share := group.mean("inside_interval")) is None else f"{share:.1f}"]
        for group in sorted(groups, key=lambda one: _is_dev(one.set))
    ]
    return (
        f"{table(header, lines, left=3)}\n\nMeans over seeds; in brackets each seed's mean error."
    )


def _brief(rows: Sequence[Row], systems: Sequence[str]) -> str:
    """The errors of boundaries on test sets, in the order of the systems."""
    groups = [g for g in group_rows(rows) if g.mean(_MEAN) is not None and not _is_dev(g.set)]
    shown = [group for name in systems for group in groups if group.system == name]
    if {group.system for group in shown} != set(systems) or not systems:
        raise ValueError(
            f"the table {_BRIEF} must name systems with times on a test set, "
            f"got {', '.join(systems) or 'none'}"
        )
    mean, median = (_BY_KEY[key] for key in (_MEAN, "boundary_median_ms"))
    header = ["system", "times by", mean.heading, median.heading, "beyond 50 ms %"]
    lines = [
        [
            *(f"`{group.system}`", group.decoder, _with_seeds(group, mean)),
            median.text(group.mean(median.key)),
            _beyond(group.mean("within_50ms")),
        ]
        for group in shown
    ]
    sets = ", ".join(dict.fromkeys(group.set for group in shown))
    return f"{table(header, lines, left=2)}\n\nSet {sets}; in brackets each seed's mean error."


def _beyond(within: float | None) -> str:
    return "–" if within is None else f"{100 - within:.1f}"


def _claims(evidence: Evidence) -> str:
    lines = []
    for claim in read_paper()["claims"]:
        better, than = (evidence.groups.get(claim[side]) for side in ("better", "than"))
        if better is None or than is None:
            continue
        metric = _BY_KEY[claim["metric"]]
        title = metric.title
        if metric.key == "wer" and {better.system, than.system} & set(evidence.greedy):
            # The papers decode so; CTC's best path is the greedy one.
            better, than = (evidence.greedy.get(g.system, g) for g in (better, than))
            title = f"{title}, greedy"
        pairs = _pairs(better, than, metric.key)
        if not pairs:
            continue
        held = [_holds(claim, metric, *pair) for pair in pairs]
        means = [metric.text(fmean(values)) for values in zip(*pairs, strict=True)]
        lines.append(
            [
                claim["text"],
                f"{title}: `{better.system}` {means[0]}, `{than.system}` {means[1]} {metric.unit}",
                f"{sum(held)} of {len(held)}",
            ]
        )
    return table(
        ["the paper's ordering", "here, mean over the seeds of both", "seeds in which it holds"],
        lines,
        left=2,
    )


def _pairs(one: Group, other: Group, key: str) -> list[tuple[float, float]]:
    """The metric of both in every seed that both have."""
    others = dict(zip(other.seeds, other.values(key), strict=True))
    found = [
        (value, others.get(seed)) for seed, value in zip(one.seeds, one.values(key), strict=True)
    ]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _holds(claim: Mapping[str, Any], metric: Metric, better: float, than: float) -> bool:
    if not metric.lower_is_better:
        better, than = than, better
    factor, slack = float(claim.get("factor", 1.0)), float(claim.get("slack", 0.0))
    return better * factor <= than * (1 + slack)


def _baselines(evidence: Evidence) -> str:
    """Which system beats all those that are not OTTC's, in words and in times at once."""
    baselines = {name: g for name, g in evidence.groups.items() if not _is_ottc(g)}
    lines = []
    for name, group in evidence.groups.items():
        if not _is_ottc(group):
            continue
        won = {
            key: [
                seed
                for seed, value in zip(group.seeds, group.values(key), strict=True)
                if value is not None
                and all(value < other for other in _of_seed(baselines.values(), key, seed))
            ]
            for key in ("wer", "boundary_mae_ms")
        }
        both = [seed for seed in won["wer"] if seed in won["boundary_mae_ms"]]
        cells = (won["wer"], won["boundary_mae_ms"], both)
        lines.append([f"`{name}`", *(f"{len(seeds)} of {len(group.seeds)}" for seeds in cells)])
    compared = {seed for g in evidence.groups.values() if _is_ottc(g) for seed in g.seeds}
    names = ", ".join(_baseline(g, compared) for g in baselines.values())
    header = ["system", "seeds with the lowest WER", "with the lowest boundary error", "with both"]
    return f"{table(header, lines, left=1)}\n\nAgainst {names}, in the same seed."


def _baseline(group: Group, seeds: set[int]) -> str:
    """Its name, with its seeds where others were compared too."""
    lacks = seeds - set(group.seeds)
    return f"`{group.system}`" + (f" (seed {', '.join(map(str, group.seeds))})" if lacks else "")


def _is_ottc(group: Group) -> bool:
    # An auxiliary head is decoded as CTC.
    return "ottc" in group.system and group.rows[0].has_epochs


def _of_seed(groups: Iterable[Group], key: str, seed: int) -> list[float]:
    found = [dict(zip(g.seeds, g.values(key), strict=True)).get(seed) for g in groups]
    return [value for value in found if value is not None]


_MAKERS: Mapping[str, Callable[[Evidence], str]] = {
    "summary": _summary,
    "systems": _systems,
    "times": _times,
    "claims": _claims,
    "baselines": _baselines,
}
_OF_SYSTEMS: Mapping[str, Callable[[Evidence, Sequence[str]], str]] = {
    "overview": _overview,
    "criterion": _criterion,
    "transfer": _transfer,
}
_OF_ROWS: Mapping[str, Callable[[Sequence[Row], Sequence[str]], str]] = {
    _BOUNDARIES: _boundaries,
    _BRIEF: _brief,
}
TABLES = (*_OF_SYSTEMS, *_MAKERS, *_OF_ROWS)
