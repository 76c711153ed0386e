"""Reference and hypothesis, where ids may be the names of files."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from espnet_ottc.alignment.formats import named_by_files

Side = TypeVar("Side")
# A file, and the ids that its own are to be like.
Read = Callable[[Path, Collection[str]], Side]


def both_sides(
    reference: tuple[Path, Read[Side]],
    hypothesis: tuple[Path, Read[Side]],
    ids: Callable[[Side], Collection[str]],
) -> tuple[Side, Side]:
    """Read both sides: the one whose ids stand in it first, and the other like it.

    Args:
        reference: its file, and what reads it.
        hypothesis: likewise.
        ids: of what was read.
    """
    (ours, read_ours), (theirs, read_theirs) = reference, hypothesis
    if named_by_files(ours) and not named_by_files(theirs):
        found = read_theirs(theirs, ())
        return read_ours(ours, ids(found)), found
    found = read_ours(ours, ())
    return found, read_theirs(theirs, ids(found))
