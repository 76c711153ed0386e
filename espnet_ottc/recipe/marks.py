"""Done-marks: which step of a recipe was done, with which inputs.

A mark is a JSON file.  It is written when a step begins and again when it is finished, so that an
interrupted step is never taken for a finished one.  A step is skipped where its mark is finished,
its options and the contents of its inputs are those of the mark, and its outputs are still what it
wrote.  Contents are compared, not times: a copied tree is as good as the first.
"""

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
from espnet_ottc.utils.holding import hold
from espnet_ottc.utils.json_files import read_json_object

Fingerprint = dict[str, Any]
_BLOCK = 1 << 20
# What is read of each end of a recording.
_ENDS = 1 << 16
_AUDIO = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".sph", ".wv1", ".wv2", ".mp4", ".webm")


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
    with _locked(
        step.mark, lambda holder: say(f"{step.title}: waiting for {holder}, which does this")
    ):
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
    """What identifies a file's content, or the contents of the files below a directory.

    `sha256` is of the content and nothing else, so that a copy of a tree counts as the same.  Of audio below
    a directory it takes names, sizes, first and last block: corpora of 100 GB are not read through.
    `unchanged` tells without reading that nothing was written since: sizes, times, inodes.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    unchanged = _unchanged(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in _files_below(path):
            name = os.fsencode(entry.relative_to(path))
            digest.update(name + b"\0" + _content_below(entry) + b"\n")
    else:
        # A compressed file holds the time of its writing, which is no content.
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return {"sha256": digest.hexdigest(), "unchanged": unchanged}


def _content_below(path: Path) -> bytes:
    """A digest of one file of a directory."""
    if not path.exists():
        return b"link to nothing: " + os.fsencode(os.readlink(path))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if path.suffix.lower() in _AUDIO:
            size = path.stat().st_size
            digest.update(f"{size} ".encode() + file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _unchanged(path: Path) -> str:
    """A digest that any write changes; so does a copy, which has the same content."""
    digest = hashlib.sha256()
    for entry in _files_below(path) if path.is_dir() else (path,):
        # A link to nothing has a size and a time of its own.
        about = entry.stat() if entry.exists() or entry == path else entry.lstat()
        # The time of change cannot be set back, as that of modification can.
        numbers = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
        digest.update(os.fsencode(entry) + f"\0{numbers}\n".encode())
    return digest.hexdigest()


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
    """The fingerprint; what nobody has written to is not read again."""
    try:
        if seen.get("sha256") is not None and _unchanged(path) == seen.get("unchanged"):
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
        return read_json_object(mark)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StepError(f"{mark} is damaged, remove it: {error}") from error


def _write(mark: Path, content: Mapping[str, Any]) -> None:
    write_json(mark, content)


@contextmanager
def _locked(mark: Path, wait: Callable[[str], None]) -> Iterator[None]:
    """Keep two runs from doing the same step at the same time; `wait` is told who does it."""
    with hold(mark.with_suffix(".lock"), wait):
        yield
