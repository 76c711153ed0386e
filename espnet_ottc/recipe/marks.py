"""Done-marks: which step of a recipe was done, with which inputs.

A mark is a JSON file.  It is written when a step begins and again when it is finished, so that an
interrupted step is never taken for a finished one.  A step is skipped where its mark is finished,
its options and the contents of its inputs are those of the mark, and its outputs are still what it
wrote.
"""

import fcntl
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ottc.utils.commands import UserError
from espnet_ottc.utils.files import write_json

Fingerprint = dict[str, Any]
_BLOCK = 1 << 20


class StepError(UserError):
    """A step that cannot run or did not succeed; the message is for the user."""


@dataclass(frozen=True)
class Step:
    """One piece of work of a recipe.

    Attributes:
        title: how messages name it.
        mark: its done-mark.
        options: JSON values that decide the result; a change of one makes the step run again.
        inputs: files, or directories (all files below them), that it reads.
        outputs: files or directories that it makes.
        after: marks of steps that must be done, and done with what is there now; each with the
            words that tell the user what to run.
        resumable: whether an interrupted run can go on where it was.
    """

    title: str
    mark: Path
    options: Mapping[str, Any]
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    after: Mapping[Path, str] = field(default_factory=dict)
    resumable: bool = False


def perform(step: Step, work: Callable[[bool], None], say: Callable[[str], None]) -> bool:
    """Do a step unless it is done.

    Args:
        step: what to do.
        work: does it; its argument is true where an interrupted run with the same options and
            inputs can be resumed.
        say: takes one line for the user.

    Returns:
        True if `work` was called.

    Raises:
        StepError: an earlier step or an input is missing or has changed since, or an output is
            missing after the work.
    """
    with _locked(step.mark, lambda: say(f"{step.title}: waiting for another run that does this")):
        check_done(step.after)
        old = _read(step.mark)
        key = {
            # What JSON makes of it, to compare with what JSON gave back.
            "options": json.loads(json.dumps(step.options, sort_keys=True)),
            "inputs": _fingerprints(step.inputs, old.get("inputs", {}), step.title),
        }
        same = old.get("options") == key["options"] and _same(old.get("inputs", {}), key["inputs"])
        if same and old.get("state") == "done" and _outputs_as_left(step, old):
            say(f"{step.title}: done before, skipped")
            return False
        resumed = step.resumable and same and old.get("state") == "begun"
        _write(step.mark, {"state": "begun", **key})
        changed = not same or old.get("state") == "done"
        how = "resumed" if resumed else "started again: something changed" if changed else "started"
        say(f"{step.title}: {how if old else 'started'}")
        work(resumed)
        outputs = _fingerprints(step.outputs, {}, step.title)
        _write(step.mark, {"state": "done", **key, "outputs": outputs})
        return True


def check_done(marks: Mapping[Path, str]) -> None:
    """Raise StepError unless every mark is finished and its inputs are still what it saw.

    Args:
        marks: mark -> what the user has to run to have it.
    """
    for mark, what in marks.items():
        content = _read(mark)
        if content.get("state") == "begun":
            raise StepError(f"{what} has begun and is not finished: run it again first ({mark})")
        if content.get("state") != "done":
            raise StepError(f"{what} has to be run first (there is no {mark})")
        for kind in ("inputs", "outputs"):
            for path, seen in content.get(kind, {}).items():
                now = _quick(Path(path), seen)
                if now is None:
                    raise StepError(f"{what} has to be run again: {path} is missing")
                if not _equal(seen, now):
                    raise StepError(f"{what} has to be run again: {path} has changed since")


def fingerprint(path: Path) -> Fingerprint:
    """What identifies a file's content, or the files below a directory (sizes and times).

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    status = path.stat()
    if path.is_dir():
        digest = hashlib.sha256()
        for entry in _files_below(path):
            # A link to nothing has a size and a time of its own.
            about = entry.stat() if entry.exists() else entry.lstat()
            name = os.fsencode(entry.relative_to(path))
            digest.update(name + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
        return {"directory": True, "sha256": digest.hexdigest()}
    digest = hashlib.sha256()
    # A compressed file holds the time of its writing, which is no content.
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest.hexdigest(),
    }


def _files_below(path: Path) -> Iterator[Path]:
    """All files below a directory, links to directories followed, in a fixed order."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(path, followlinks=True):
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in seen:
            folders.clear()  # a link back, or a second one to the same place
            continue
        seen.add(here)
        folders.sort()
        yield from (Path(folder, name) for name in sorted(files))


def _quick(path: Path, seen: Fingerprint) -> Fingerprint | None:
    """The fingerprint; the content of a file of the same size and time is not read again."""
    try:
        status = path.stat()
        if status.st_size == seen.get("size") and status.st_mtime_ns == seen.get("mtime_ns"):
            return seen
        return fingerprint(path)
    except FileNotFoundError:
        return None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        # No content: it equals nothing, so that whoever makes the file makes it again.
        return {"damaged": True, "sha256": None}


def _fingerprints(
    paths: tuple[Path, ...], seen: Mapping[str, Fingerprint], title: str
) -> dict[str, Fingerprint]:
    found = {}
    for path in paths:
        now = _quick(path, seen.get(str(path), {}))
        if now is None:
            raise StepError(f"{title}: there is no {path}")
        found[str(path)] = now
    return found


def _outputs_as_left(step: Step, old: Mapping[str, Any]) -> bool:
    left = old.get("outputs", {})
    if set(left) != {str(path) for path in step.outputs}:
        return False
    now = {path: _quick(Path(path), seen) for path, seen in left.items()}
    return all(found is not None and _equal(left[path], found) for path, found in now.items())


def _same(old: Mapping[str, Fingerprint], new: Mapping[str, Fingerprint]) -> bool:
    return set(old) == set(new) and all(_equal(old[path], new[path]) for path in new)


def _equal(left: Fingerprint, right: Fingerprint) -> bool:
    return left["sha256"] is not None and bool(left["sha256"] == right["sha256"])


def _read(mark: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StepError(f"{mark} is damaged, remove it: {error}") from error
    return content


def _write(mark: Path, content: Mapping[str, Any]) -> None:
    write_json(mark, content)


@contextmanager
def _locked(mark: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep two runs from doing the same step at the same time."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
