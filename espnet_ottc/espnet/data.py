"""The data type `lhotse`: audio straight from a manifest of Lhotse cuts.

`path/cuts.jsonl.gz,speech,lhotse` reads each utterance's samples from its recording, at the cut's offset,
when it is asked for.  The cuts themselves stay on the disk: beside the manifest stands an index, a SQLite
file with one row per cut, from which a worker process reads one row at a time.  So no process holds the
manifest, and forked or spawned workers share nothing that could be copied.
"""

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from espnet_ottc.alignment.cut_sound import cut_sound
from espnet_ottc.alignment.formats.manifests import json_lines
from espnet_ottc.utils.files import written_aside

# Raised whenever the index's layout changes: older files are then built anew.
INDEX_VERSION = 1

Samples = np.ndarray[Any, np.dtype[np.float32]]


class CutAudio(Mapping[str, Samples]):
    """Samples of the cuts of a manifest by the cut's id; picklable, and safe to use after a fork.

    Args:
        path: manifest of cuts, `.jsonl` or `.jsonl.gz`.
        allow_multi_rates: accept cuts of different sampling rates.

    Raises:
        FileNotFoundError: no such manifest.
        ValueError: another kind of manifest, an id that occurs twice, or different sampling rates.
    """

    def __init__(self, path: str | Path, allow_multi_rates: bool = False) -> None:
        self.path = Path(path)
        self.index = cut_index(self.path)
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        rates = [rate for (rate,) in self._query("SELECT DISTINCT rate FROM cuts ORDER BY rate")]
        if len(rates) > 1 and not allow_multi_rates:
            raise ValueError(
                f"{self.path}: all cuts must have one sampling rate; it has {', '.join(map(str, rates))} Hz "
                "(resample with Lhotse, or set --allow_multi_rates true)"
            )
        (self._length,) = self._query("SELECT COUNT(*) FROM cuts").fetchone()

    def __getitem__(self, utterance: str) -> Samples:
        """Samples of an utterance: (N,), or (N, channels) where there are several; float32 in [-1, 1].

        Raises:
            KeyError: no such cut.
            ValueError: audio that cannot be read.
        """
        return samples_of(self.cut(utterance))

    def cut(self, utterance: str) -> Cut:
        """The cut itself, without its supervisions.

        Raises:
            KeyError: no such cut.
        """
        row = self._query("SELECT cut FROM cuts WHERE id = ?", utterance).fetchone()
        if row is None:
            raise KeyError(f"{utterance}: no cut has this id in {self.path}")
        return deserialize_item(json.loads(row[0]))

    def __iter__(self) -> Iterator[str]:
        """Ids in the manifest's order."""
        for (utterance,) in self._query("SELECT id FROM cuts ORDER BY position"):
            yield utterance

    def __len__(self) -> int:
        return int(self._length)

    def __contains__(self, utterance: object) -> bool:
        return self._query("SELECT 1 FROM cuts WHERE id = ?", utterance).fetchone() is not None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None, "_process": 0}

    def __del__(self) -> None:
        # Not what another process opened: after a fork it is that one's.
        connection: sqlite3.Connection | None = self.__dict__.get("_connection")
        if connection is not None and self._process == os.getpid():
            connection.close()

    def _query(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._connection is None or self._process != os.getpid():
            # A connection must not be used, nor closed, in a forked child: the parent's is left
            # alone.
            self._connection = sqlite3.connect(
                f"{self.index.resolve().as_uri()}?mode=ro&immutable=1",
                uri=True,
                check_same_thread=False,
            )
            self._process = os.getpid()
        return self._connection.execute(statement, values)


def samples_of(cut: Cut) -> Samples:
    """Samples of a cut: (N,), or (N, channels) where there are several; float32 in [-1, 1].

    Raises:
        ValueError: audio that cannot be read; it names the cut.
    """
    audio = cut_sound(cut)
    samples: Samples = audio[0] if len(audio) == 1 else audio.T
    return samples


def cut_index(path: Path) -> Path:
    """The index of a manifest; built where it is missing or older than the manifest.

    It stands beside the manifest, or, where that folder cannot be written, in the folder for temporary
    files.  Processes that build it at the same time do not disturb each other.

    Args:
        path: manifest of cuts, `.jsonl` or `.jsonl.gz`.

    Raises:
        FileNotFoundError, ValueError: as `CutAudio`.
        OSError: neither folder takes the index, for want of room or of permission.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{path}: the data type lhotse reads .jsonl and .jsonl.gz")
    stamp = _stamp(path)
    candidates = [path.with_name(f".{path.name}.index"), _temporary_index(path)]
    for index in candidates:
        if _is_current(index, stamp):
            return index
    faults = []
    for index in candidates:
        try:
            _build(path, index, stamp)
        except _WriteError as fault:
            faults.append(f"{index.parent}: {fault}")
        else:
            return index
    raise OSError(f"{path}: its index cannot be written: {'; '.join(faults)}")


class _WriteError(Exception):
    """A folder that takes no index."""


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{INDEX_VERSION} {status.st_size} {status.st_mtime_ns}"


def _temporary_index(path: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"espnet_ottc-{os.getuid()}-{name}.index"


def _is_current(index: Path, stamp: str) -> bool:
    if not index.exists():
        return False
    try:
        connection = sqlite3.connect(f"{index.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            row = connection.execute("SELECT stamp FROM about").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return False
    return row is not None and row[0] == stamp


def _build(path: Path, index: Path, stamp: str) -> None:
    logging.info("Indexing %s", path)
    with contextlib.ExitStack() as stack:
        try:
            # Whoever may read the manifest may read its index.
            aside = stack.enter_context(written_aside(index, like=path))
        except OSError as fault:
            raise _WriteError(fault) from fault
        try:
            with contextlib.closing(sqlite3.connect(aside)) as connection:
                _fill(connection, path, stamp)
        except sqlite3.OperationalError as fault:  # a full disk
            raise _WriteError(fault) from fault


def _fill(connection: sqlite3.Connection, path: Path, stamp: str) -> None:
    # The file is thrown away if anything goes wrong: no journal is needed.
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE about (stamp TEXT)")
    connection.execute(
        "CREATE TABLE cuts (position INTEGER PRIMARY KEY, id TEXT UNIQUE, rate INTEGER, cut TEXT)"
    )
    number = 0
    for number, item in json_lines(path):
        if not str(item.get("type", "")).endswith("Cut"):
            kind = item.get("type", "of no type")
            raise ValueError(f"{path}: line {number} is no cut but {kind}")
        row = _row(item)
        try:
            connection.execute("INSERT INTO cuts (id, rate, cut) VALUES (?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise ValueError(f"{row[0]}: the id occurs twice in {path}") from None
    if not number:
        raise ValueError(f"{path}: the manifest has no cuts")
    connection.execute("INSERT INTO about VALUES (?)", (stamp,))
    connection.commit()


def _row(item: dict[str, Any]) -> tuple[str, int, str]:
    """Id, sampling rate and JSON of a cut without what audio does not need: texts and alignments."""
    parts = [track["cut"] for track in item.get("tracks", [])] or [item]
    for part in parts:
        part.pop("supervisions", None)
    rates = [part.get("recording", part).get("sampling_rate", 0) for part in parts]
    return item["id"], int(max(rates)), json.dumps(item)
