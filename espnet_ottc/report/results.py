"""Result rows, grouped over seeds, as numbers for tables.

A row is one system, decoder, set and seed: an object with these four, the metrics (percent or
milliseconds, null where there is none), `intervals` {metric: [low, high]}, `counts` {words,
characters, times: {name: number}} and the `provenance` of its training (`records.py` has the files).
`unit`, "word" where a row does not say, is what was recognised and timed, the same in all
rows of a file: where it is "phone", `wer` is the phone error rate and `words` are phones.  Nothing here
computes a metric: every number is a row's own, or the mean of a group's.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ottc.report.metrics import METRICS, SHORT_KEYS, UNITS, Metric, in_unit
from espnet_ottc.report.records import Record, read_results

# (label, field): what a metric was counted over, in the rows' own names.
_COUNTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "boundary_mae_ms": (("boundaries", "boundaries"),),
    "idr": (("s overlap", "overlap_seconds"), ("s reference", "reference_seconds")),
    "iou": (("words", "reference_words"),),
    "start_f1": (
        ("starts within", "starts_within_collar"),
        ("words", "reference_words"),
        ("hypothesised", "hypothesis_words"),
    ),
    "strict_f1_20ms": (("strict", "strict_within_20ms"), ("words", "reference_words")),
    "peaky": (("special", "special_frames"), ("frames", "frames")),
    "coverage": (("matched", "matched_words"), ("words", "reference_words")),
}
_ERROR_COUNTS = (
    ("Snt", "sentences"),
    ("Wrd", "words"),
    ("Corr", "correct"),
    ("Sub", "substitutions"),
    ("Del", "deletions"),
    ("Ins", "insertions"),
)
_ERROR_PARTS = {"wer": "words", "cer": "characters"}
_SHARED_PROVENANCE = ("commit", "dirty", "versions", "hardware")
_OWN_PROVENANCE = ("seed", "config", "command")


@dataclass(frozen=True)
class Row:
    """One row of the results.

    Attributes:
        system, decoder, set: names.
        seed: of the training.
        fields: everything the row holds.
    """

    system: str
    decoder: str
    set: str
    seed: int
    fields: Mapping[str, Any]

    def value(self, key: str) -> float | None:
        """A metric; None where the row has none."""
        found = self.fields.get(key)
        return None if found is None else float(found)

    def interval(self, key: str) -> tuple[float, float] | None:
        """The metric's bootstrap interval; None where the row has none."""
        found = (self.fields.get("intervals") or {}).get(key)
        return None if found is None else (float(found[0]), float(found[1]))

    def counts(self, key: str) -> list[tuple[str, int | float]]:
        """What the metric was counted over: (label, number), as far as the row says."""
        part = _ERROR_PARTS.get(key, "times")
        labels = _ERROR_COUNTS if key in _ERROR_PARTS else _COUNTS.get(key, ())
        counts = (self.fields.get("counts") or {}).get(part) or {}
        found = [(in_unit(label, self.unit), counts.get(name)) for label, name in labels]
        return [(label, number) for label, number in found if number is not None]

    @property
    def unit(self) -> str:
        """What was recognised and timed: "word" or "phone"."""
        return str(self.fields.get("unit") or UNITS[0])

    @property
    def has_epochs(self) -> bool:
        """Whether it has a training by epochs of its own: no head of another system has, nor times alone."""
        about = self.fields.get("provenance") or {}
        return not (about.get("head_of") or about.get("times_only"))

    def provenance(self) -> tuple[dict[str, str], dict[str, str]]:
        """Where the row comes from: what many trainings share, and what is the training's own."""
        facts = self.fields.get("provenance") or {}
        own = dict.fromkeys((*_OWN_PROVENANCE, *facts))
        return (
            {name: _plain(facts.get(name)) for name in _SHARED_PROVENANCE},
            {name: _plain(facts.get(name)) for name in own if name not in _SHARED_PROVENANCE},
        )


@dataclass(frozen=True)
class Group:
    """The rows of one set, system and decoder, in the order of their seeds."""

    set: str
    system: str
    decoder: str
    rows: tuple[Row, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(row.seed for row in self.rows)

    def values(self, key: str) -> list[float | None]:
        """The metric of each seed."""
        return [row.value(key) for row in self.rows]

    def mean(self, key: str) -> float | None:
        """The mean over the seeds that have the metric."""
        found = [value for value in self.values(key) if value is not None]
        return statistics.fmean(found) if found else None


def read_rows(*paths: Path) -> list[Row]:
    """Read one `results.jsonl` or several, as of systems that were trained apart, in the order given.

    Raises:
        ValueError: a line that is no record, or a score without its training (`read_results`); a score
            without `decoder` or `set`; a metric that is no finite number; an interval that is no pair of
            them; an unknown unit; rows of different units; two rows of one key.
        OSError: a file cannot be read.
    """
    rows = [_row(item, place) for path in paths for place, item in read_results(path)]
    names = ", ".join(map(str, paths))
    if len(units := {row.unit for row in rows}) > 1:
        raise ValueError(f"{names}: all rows must have one unit, got {', '.join(sorted(units))}")
    seen: set[tuple[str, str, str, int]] = set()
    for row in rows:
        key = (row.system, row.decoder, row.set, row.seed)
        if key in seen:
            raise ValueError(
                f"{names}: each system, decoder, set and seed must stand once; twice: {key}"
            )
        seen.add(key)
    return rows


def group_rows(rows: Sequence[Row]) -> list[Group]:
    """Groups over seeds; sets, systems and decoders in the order in which the rows name them."""
    members: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        members.setdefault((row.set, row.system, row.decoder), []).append(row)
    sets = {name: place for place, name in enumerate(dict.fromkeys(row.set for row in rows))}
    return [
        Group(*key, tuple(sorted(members[key], key=lambda row: row.seed)))
        for key in sorted(members, key=lambda key: sets[key[0]])
    ]


def metrics_of(rows: Sequence[Row]) -> list[Metric]:
    """The metrics that at least one row has, in the words of the rows' unit."""
    unit = unit_of(rows)
    return [
        metric.of(unit)
        for metric in METRICS
        if any(row.value(metric.key) is not None for row in rows)
    ]


def unit_of(rows: Sequence[Row]) -> str:
    """The unit of all rows of a file; "word" where there are none."""
    return next((row.unit for row in rows), UNITS[0])


def short_table(groups: Sequence[Group]) -> list[list[str]]:
    """Cells of the table for the terminal: means over seeds of the five figures that matter."""
    unit = unit_of([row for group in groups for row in group.rows])
    metrics = [metric.of(unit) for metric in METRICS if metric.key in SHORT_KEYS]
    cells = [["set, system, decoder", "seeds", *(metric.heading for metric in metrics)]]
    for group in groups:
        means = [metric.text(group.mean(metric.key)) for metric in metrics]
        name = f"{group.set} {group.system} {group.decoder}"
        cells.append([name, str(len(group.rows)), *means])
    return cells


def _row(item: Record, place: str) -> Row:
    for name in ("decoder", "set"):
        if not isinstance(item.get(name), str) or not item[name]:
            raise ValueError(f"{place}: {name!r} must be a name, got {item.get(name)!r}")
    row = Row(item["system"], item["decoder"], item["set"], item["seed"], item)
    if row.unit not in UNITS:
        raise ValueError(f"{place}: 'unit' must be one of {', '.join(UNITS)}, got {row.unit!r}")
    for name in ("intervals", "counts"):
        if not isinstance(item.get(name) or {}, dict):
            raise ValueError(f"{place}: {name!r} must be an object, got {item[name]!r}")
    for part, counts in (item.get("counts") or {}).items():
        if not isinstance(counts or {}, dict):
            raise ValueError(f"{place}: counts of {part!r} must be an object, got {counts!r}")
    for metric in METRICS:
        value = item.get(metric.key)
        if value is not None and not _is_number(value):
            raise ValueError(f"{place}: {metric.key!r} must be a finite number, got {value!r}")
        ends = (item.get("intervals") or {}).get(metric.key)
        if ends is not None and not (
            isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))
        ):
            raise ValueError(f"{place}: {metric.key!r} needs an interval [low, high], got {ends!r}")
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> str:
    """A field of the provenance as text; mappings as `name value` pairs."""
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value) or "none"
    return str(value)
