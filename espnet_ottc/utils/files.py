"""Files: written aside and renamed, so that half of one never looks finished; data of this package."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

_PARTIAL = ".partial-"
# Characters of the name that what is written aside keeps: with all of them it might be too long.
_KEPT = 40


@contextmanager
def written_aside(path: Path, like: Path | None = None) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` on success, removed on failure.

    Args:
        path: the file.
        like: a file whose rights it gets; None: those of any new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PARTIAL, suffix=_end_of(path))
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        # mkstemp's files are private.
        if like is not None:
            shutil.copymode(like, aside)
        else:
            mask = os.umask(0)
            os.umask(mask)
            aside.chmod(0o666 & ~mask)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill; put in its place on success, removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, before = (
        Path(tempfile.mkdtemp(dir=path.parent, prefix=_PARTIAL, suffix=_end_of(path)))
        for _ in range(2)
    )
    try:
        yield aside
        mask = os.umask(0)
        os.umask(mask)
        aside.chmod(0o777 & ~mask)
        # Only an empty folder can be replaced by a rename, and half of the old one must not look whole.
        replaced = path.exists()
        if replaced:
            os.replace(path, before)
        try:
            os.replace(aside, path)
        except OSError:
            if replaced:
                os.replace(before, path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _end_of(path: Path) -> str:
    # Some writers go by the suffix.
    return "-" + path.name[-_KEPT:]


@contextmanager
def kept(path: Path) -> Iterator[Path]:
    """The path; of what can be read once alone (a named pipe, `<(command)`, `/dev/stdin`) that of a copy.

    Args:
        path: of any file or folder.

    Raises:
        OSError: what comes cannot be read or kept.
    """
    if not path.exists() or path.is_file() or path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        # Messages name the file, and some suffixes tell the format.
        copy = Path(folder, path.name)
        with path.open("rb") as file, copy.open("wb") as out:
            shutil.copyfileobj(file, out)
        yield copy


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and in its folders, sorted in each; links are followed, but not in circles."""
    for name, folders, files_here in os.walk(folder, followlinks=True):
        here = Path(name)
        real = here.resolve()
        ancestors = {real, *real.parents}
        folders[:] = sorted(one for one in folders if (here / one).resolve() not in ancestors)
        yield from (here / one for one in sorted(files_here))


def write_json(path: Path, content: Any) -> None:
    """Write JSON aside and rename it.

    Raises:
        ValueError: a number that JSON does not have (NaN, infinity).
        TypeError: what is no JSON value.
    """
    with written_aside(path) as aside:
        text = json.dumps(content, indent=2, allow_nan=False)
        aside.write_text(f"{text}\n", encoding="utf-8")


def data_lines(package: str, name: str) -> list[str]:
    """The lines of a file in the folder `data` of a package, without comments and empty lines."""
    text = (files(package) / "data" / name).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
