"""Corpora whose folders are links, for readers that do not follow them."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lhotse import RecordingSet
from lhotse.utils import fastcopy

from espnet_ottc.utils.files import files_below


@contextmanager
def without_linked_folders(folder: Path, parts: Sequence[str] = (".",)) -> Iterator[Path]:
    """The folder itself; or, where a folder in it is a link, a tree of real folders with links to its files.

    Args:
        folder: of the corpus.
        parts: the folders in it that are read.
    """
    inside = [path for part in parts for path in (folder / part).rglob("*")]
    if not any(path.is_symlink() and path.is_dir() for path in inside):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        for path in (path for part in parts for path in files_below(folder / part)):
            place = Path(name) / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
        yield Path(name)


def with_own_paths(recordings: RecordingSet, tree: Path, folder: Path) -> RecordingSet:
    """Recordings that were read in `tree`, with the paths that they have in `folder`."""
    if tree == folder:
        return recordings
    return RecordingSet.from_recordings(
        fastcopy(
            recording,
            sources=[
                fastcopy(source, source=str(folder / Path(source.source).relative_to(tree)))
                for source in recording.sources
            ],
        )
        for recording in recordings
    )
