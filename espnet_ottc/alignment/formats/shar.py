"""Lhotse Shar: cuts with their audio in shards that are read from first byte to last, never at random.

A source is a folder, or a URL of one (`s3://`, `https://`, whatever `fsspec` lists and `smart_open` opens).
It has the pairs `cuts.000000.jsonl.gz` and `recording.000000.tar`, as `CutSet.to_shar` writes them.
"""

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.formats.manifests import READING_FAULTS
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    from lhotse.cut import Cut

_FIELDS = ("cuts", "recording")
Shard = Mapping[str, str]


def shar_shards(source: str) -> list[Shard]:
    """The shards of a source: of each the places of its cuts and of its audio, in the order of their names.

    Args:
        source: folder or URL.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no shards, or cuts without audio.
        ImportError: a URL, and what reads it is not installed.
    """
    names = _listed(source)
    found = {
        field: sorted(name for name in names if name.rpartition("/")[2].startswith(f"{field}."))
        for field in _FIELDS
    }
    cuts, audio = found.values()
    if not cuts or [_number(name) for name in cuts] != [_number(name) for name in audio]:
        raise ValueError(
            f"{source}: must have cuts.NUMBER.jsonl.gz and recording.NUMBER.tar of the same numbers, "
            f"got {len(cuts)} and {len(audio)}"
        )
    return [dict(zip(_FIELDS, pair, strict=True)) for pair in zip(cuts, audio, strict=True)]


def shar_headers(shards: Iterable[Shard]) -> Iterator["Cut"]:
    """The cuts of shards without their audio, which is not read.

    Raises:
        ValueError: a damaged shard.
    """
    from lhotse.lazy import LazyManifestIterator

    for shard in shards:
        try:
            yield from LazyManifestIterator(shard["cuts"])
        except (*READING_FAULTS, OSError) as fault:
            raise ValueError(f"{shard['cuts']}: damaged or cut off: {fault}") from fault


def shar_ids(shard: Shard) -> list[str]:
    """The ids of the cuts of one shard, in their order; no objects are made of them.

    Raises:
        ValueError: a damaged shard.
    """
    from lhotse.serialization import load_jsonl

    try:
        return [content["id"] for content in load_jsonl(shard["cuts"])]
    except (*READING_FAULTS, OSError) as fault:
        raise ValueError(f"{shard['cuts']}: damaged or cut off: {fault}") from fault


def shar_cuts(shards: Iterable[Shard]) -> Iterator["Cut"]:
    """The cuts of shards with their audio, as a stream.

    Raises:
        ValueError: a damaged shard, or audio of other cuts or of fewer.
    """
    from lhotse.shar import LazySharIterator

    for shard in shards:
        count = len(shar_ids(shard))
        got = 0
        try:
            for cut in LazySharIterator({name: [place] for name, place in shard.items()}):
                got += 1
                yield cut
        except (*READING_FAULTS, OSError, tarfile.TarError) as fault:
            raise ValueError(f"{shard['recording']}: damaged or cut off: {fault}") from fault
        if got != count:
            # Lhotse ends with the shorter of both.
            raise ValueError(f"{shard['recording']}: must have audio of {count} cuts, got {got}")


def shar_part(
    source: str, wanted: Iterable["Cut"], first: int = 0, stop: int | None = None
) -> Iterator["Cut"]:
    """Cuts of a part of a source, with their audio; shards before and behind it stay unread.

    Args:
        source: folder or URL.
        wanted: the cuts that are expected, in their order.
        first: place of the first in the source.
        stop: place after the last; None: all from there on.

    Raises:
        FileNotFoundError, ValueError: as `shar_shards` and `shar_cuts`; other cuts than are wanted.
    """
    expected = iter(wanted)
    place = 0
    for shard in shar_shards(source):
        if stop is not None and place >= stop:
            break
        count = len(shar_ids(shard))
        last = count if stop is None else stop - place
        if first < place + count and last > 0:
            for cut in islice(shar_cuts([shard]), max(0, first - place), last):
                named = next(expected, None)
                if named is None or named.id != cut.id:
                    raise ValueError(
                        f"{cut.id}: {shard['cuts']} must have the cuts of the set in the same order, "
                        f"expected {None if named is None else named.id}"
                    )
                yield cut
        place += count
    if (missed := next(expected, None)) is not None:
        raise ValueError(f"{missed.id}: {source} has {place} cuts, and not this one")


def _number(name: str) -> str:
    return name.rpartition("/")[2].split(".")[1]


def _listed(source: str) -> list[str]:
    if "://" not in source:
        folder = Path(source)
        if not folder.is_dir():
            raise FileNotFoundError(f"{source}: no such folder of Shar")
        return [str(path) for path in folder.iterdir()]
    require_extra("shar", source)
    if source.startswith("s3://"):
        require_extra("s3", source)
    from fsspec.core import url_to_fs

    files, path = url_to_fs(source)
    return [files.unstrip_protocol(name) for name in files.ls(path, detail=False)]
