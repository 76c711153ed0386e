"""Results on disk: JSON Lines, one record a line, where a training comes from said once.

Two kinds of records.  A training: `{"record": "training", "system", "seed", "provenance": {commit, dirty,
versions, hardware, config, command, ...}}`.  A score: `{"record": "score", "system", "seed", "decoder",
"set", ...}` with its metrics, `counts` and `intervals`.  In memory a score is a row, which has the
`provenance` of its training as a field.  Numbers are written so that reading gives the very same ones.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_ottc.utils.encodings import decoded
from espnet_ottc.utils.json_files import parsed_object

Record = dict[str, Any]
Training = tuple[str, int]  # system, seed

_KIND, _TRAINING, _SCORE = "record", "training", "score"


def results_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a file of results: all trainings, then all scores, in the order of the rows.

    Args:
        rows: scores with `system`, `seed` and `provenance`.

    Raises:
        ValueError: rows of one training say different things about where it comes from; a number that
            is not finite.
    """
    trainings: dict[Training, Record] = {}
    scores = []
    for row in rows:
        name = {"system": row["system"], "seed": row["seed"]}
        training = {_KIND: _TRAINING, **name, "provenance": row["provenance"]}
        known = trainings.setdefault((row["system"], row["seed"]), training)
        if known != training:
            raise ValueError(
                f"{row['system']}, seed {row['seed']}: one training must have one provenance, got "
                f"{known['provenance']} and {training['provenance']}"
            )
        scores.append({_KIND: _SCORE, **{k: v for k, v in row.items() if k != "provenance"}})
    records = [*trainings.values(), *scores]
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    return "".join(f"{line}\n" for line in lines)


def read_results(path: Path) -> list[tuple[str, Record]]:
    """The rows of a file, each with its place (`path:line`) for messages about it.

    Raises:
        ValueError: a line that is no training and no score; a training that stands twice; a score whose
            training the file does not have.
        OSError: the file cannot be read.
    """
    trainings: dict[Training, Record] = {}
    scores: list[tuple[str, Record]] = []
    # JSON's strings may hold what str.splitlines takes for the end of a line.
    for number, line in enumerate(decoded(path, "utf-8").split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        record = _record(line, place)
        if record.pop(_KIND) == _SCORE:
            scores.append((place, record))
            continue
        if _training(record) in trainings:
            raise ValueError(f"{place}: a training must stand once, {_name(record)} stands twice")
        trainings[_training(record)] = record
    return [(place, {**score, **_provenance(score, trainings, place)}) for place, score in scores]


def _record(line: str, place: str) -> Record:
    record = parsed_object(line, place)
    if record.get(_KIND) not in (_TRAINING, _SCORE):
        raise ValueError(
            f"{place}: {_KIND!r} must be {_TRAINING!r} or {_SCORE!r}, got {record.get(_KIND)!r}"
        )
    for name, kind, what in (("system", str, "a name"), ("seed", int, "an integer")):
        value = record.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or value == "":
            raise ValueError(f"{place}: {name!r} must be {what}, got {value!r}")
    if record[_KIND] == _TRAINING and not isinstance(record.get("provenance"), dict):
        raise ValueError(
            f"{place}: 'provenance' must be an object, got {record.get('provenance')!r}"
        )
    return record


def _provenance(score: Record, trainings: Mapping[Training, Record], place: str) -> Record:
    found = trainings.get(_training(score))
    if found is None:
        raise ValueError(f"{place}: a score needs the record of its training, {_name(score)}")
    return {"provenance": found["provenance"]}


def _training(record: Record) -> Training:
    return record["system"], record["seed"]


def _name(record: Record) -> str:
    return f"{record['system']} with seed {record['seed']}"
