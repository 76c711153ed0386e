"""The record of a training beside its parameters: with what it was made, how long it took."""

import hashlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet_ottc.recipe.marks import StepError
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object
from espnet_ottc.utils.provenance import provenance


@contextmanager
def training_record(
    path: Path, config: Path, made_of: Sequence[Path], command: Sequence[str], seed: int
) -> Iterator[dict[str, Any]]:
    """Write the record when a training ends, however it does; its seconds are added to those of before.

    Args:
        path: of the record.
        config: the configuration that is trained.
        made_of: the files that it was made from.
        command: of the training.
        seed: of the training.

    Yields:
        The record, to add to.

    Raises:
        StepError: it cannot be written.
    """
    before = read_record(path)
    about: dict[str, Any] = {
        **provenance(),
        "config": str(config),
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
        "config_made_of": list(map(str, made_of)),
        "command": shlex.join("python" if word == sys.executable else word for word in command),
        "seed": seed,
        "threads": threads(),
    }
    begun = time.monotonic()
    try:
        yield about
    finally:
        seconds = before.get("train_seconds", 0.0)
        about["train_seconds"] = round(seconds + time.monotonic() - begun, 1)
        write_record(path, about)


def threads() -> int:
    """Threads of a training: 1 unless the user's environment says how many.

    Sums over several threads round otherwise, and the same seed then ends elsewhere.

    Raises:
        StepError: a number that is none.
    """
    text = os.environ.get("OMP_NUM_THREADS", "1")
    if not (text.isdecimal() and int(text) > 0):
        raise StepError(f"OMP_NUM_THREADS must be a positive number, got {text!r}")
    return int(text)


def write_record(path: Path, about: dict[str, Any]) -> None:
    """Write a record.

    Raises:
        StepError: it cannot be written.
    """
    try:
        write_json(path, about)
    except OSError as fault:
        raise StepError(f"{path} cannot be written: {fault}") from fault


def read_record(path: Path) -> dict[str, Any]:
    """Read a record; empty where there is none."""
    if not path.exists():
        return {}
    return read_json_object(path)
