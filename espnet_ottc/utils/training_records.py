"""What a training reports while it runs: a JSON line for each epoch, and how far the current one is.

`epochs.jsonl` of a training's output directory has one line for each epoch that ended; a resumed training
replaces those of the epochs that it repeats.  `batches.jsonl` says where the current run is.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.json_files import parsed_object

EPOCHS = "epochs.jsonl"
BATCHES = "batches.jsonl"
# Of the values, as TensorBoard keeps them.
_DIGITS = 7


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training.

    Attributes:
        epoch: from 1.
        max_epoch: of the whole training.
        train: means over the epoch's training, by name (`loss` and more); NaN and infinity are None.
        valid: the same over the validation (`loss`, `cer_ctc` and more).
        seconds: that the epoch took; None where it is not known any more.
        warnings: what a user should look at.
        time: when it ended, ISO 8601 in UTC; None where it is not known any more.
    """

    epoch: int
    max_epoch: int
    train: Mapping[str, float | None]
    valid: Mapping[str, float | None]
    seconds: float | None = None
    warnings: tuple[str, ...] = ()
    time: str | None = None


class Position(NamedTuple):
    """Where a running training is: the epoch, of how many, and the batches of it that are done."""

    epoch: int
    max_epoch: int
    batch: int


def append_epoch(directory: Path, record: EpochRecord) -> None:
    """Add a record, as one whole line."""
    _append(directory / EPOCHS, dataclasses.asdict(record))


def replace_epochs(directory: Path, records: Iterable[EpochRecord]) -> None:
    """Write all records anew, in one step."""
    with written_aside(directory / EPOCHS) as aside, aside.open("w", encoding="utf-8") as file:
        file.writelines(_line(dataclasses.asdict(record)) for record in records)


def read_epochs(directory: Path) -> list[EpochRecord]:
    """The records of a training, in the order of epochs; none where there is no file.

    A last line that is still being written is left out.

    Raises:
        ValueError: a whole line that is no record; it names file and line.
    """
    records = {}
    for number, content in _read(directory / EPOCHS):
        rule = f"{directory / EPOCHS}, line {number}: must be the record of an epoch"
        try:
            record = EpochRecord(**{**content, "warnings": tuple(content.get("warnings", ()))})
        except TypeError as fault:
            raise ValueError(f"{rule}: {fault}") from fault
        for epoch in (record.epoch, record.max_epoch):
            if not isinstance(epoch, int):
                raise ValueError(f"{rule}: epochs must be whole numbers, got {epoch!r}")
        records[record.epoch] = record
    return [records[epoch] for epoch in sorted(records)]


def start_positions(directory: Path) -> None:
    """Forget the positions of an earlier run."""
    (directory / BATCHES).unlink(missing_ok=True)


def append_position(directory: Path, position: Position) -> None:
    """Say where the training is."""
    _append(directory / BATCHES, position._asdict())


def read_position(directory: Path) -> Position | None:
    """Where the training is; None before its first epoch."""
    found = _read(directory / BATCHES)
    if not found:
        return None
    number, content = found[-1]
    rule = f"{directory / BATCHES}, line {number}: must be a position"
    try:
        position = Position(**content)
    except TypeError as fault:
        raise ValueError(f"{rule}: {fault}") from fault
    if not all(isinstance(value, int) for value in position):
        raise ValueError(f"{rule} in whole numbers, got {content}")
    return position


def finite(value: float) -> float | None:
    """A value as records hold it: rounded to seven digits; None for NaN and infinity."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def now() -> str:
    """The time of day as records hold it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _append(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(content))
        file.flush()


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line number and content of each whole line."""
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    return [
        (number, parsed_object(line, f"{path}, line {number}"))
        for number, line in enumerate(lines, 1)
    ]
