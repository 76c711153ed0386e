"""Lhotse's manifests, read one item at a time; what is wrong with one is said with its file and line."""

import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.json_files import parsed_object

Shape = TypeVar("Shape")
Kind = Literal["cuts", "recordings", "supervisions", "supervisions or cuts"]
_JSON_LINES = (".jsonl", ".jsonl.gz")
# Bytes, after decompression, that are read at a time.
_BUFFER = 1 << 18
# How the names of an item's class end.
_CLASSES: dict[Kind, str | tuple[str, ...]] = {
    "cuts": "Cut",
    "recordings": "Recording",
    "supervisions": "SupervisionSegment",
    "supervisions or cuts": ("SupervisionSegment", "Cut"),
}
# What Lhotse, and the readers beneath it, raise for what is no manifest.
READING_FAULTS = (
    *(ValueError, KeyError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(EOFError, RecursionError, zlib.error),
)


def read_manifest(
    path: str | Path, kind: Kind, only: Collection[str] | None = None
) -> Iterator[Any]:
    """The items of a manifest, lazily where it is of JSON lines.

    Args:
        path: `.jsonl`, `.jsonl.gz`, or whatever else Lhotse reads (`.json`, `.yaml`, compressed).
        kind: of its items: `Cut`, `Recording`, `SupervisionSegment`, or either of two.
        only: ids; no object is made of other items, which takes most of the time.

    Raises:
        FileNotFoundError: there is no such file, at the call.
        ValueError: a folder, at the call; an empty manifest, a damaged one, items of another kind, at
            the item; with file and line.
    """
    path = Path(path)
    require_extra("align", f"a manifest of {kind}", ("lhotse",))
    _check_file(path)
    return _items(path, kind, only)


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with the number of its line, from 1.

    Args:
        path: `.jsonl` or `.jsonl.gz`.

    Raises:
        FileNotFoundError, ValueError: as `read_manifest`.
    """
    path = Path(path)
    _check_file(path)
    return _objects(path)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path}: must be a file, got a folder")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such manifest")


def manifest_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file of JSON lines that are not blank, each with its number, from 1; nothing is parsed.

    Args:
        path: `.jsonl` or `.jsonl.gz`.

    Raises:
        FileNotFoundError, ValueError: as `read_manifest`.
    """
    _check_file(path)
    return _lines(path)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as raw, io.BufferedReader(raw, _BUFFER) as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise ValueError(f"{path}, after line {number}: damaged or cut off: {fault}") from fault


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        yield number, object_of(line, f"{path}, line {number}")


def object_of(line: bytes, place: str) -> dict[str, Any]:
    """The object that a line of JSON stands for.

    Args:
        line: of a manifest.
        place: file and line, for messages.

    Raises:
        ValueError: bytes that are not UTF-8, or no such object.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ValueError(f"{place}: must be UTF-8: {fault}") from fault
    return parsed_object(text, place)


def fields_of(shape: type[Shape]) -> Callable[[bytes], Shape | None]:
    """A function that finds some fields in a line of JSON, without making objects of the others.

    Args:
        shape: a `msgspec.Struct` with these fields.

    Returns:
        The function; it gives None where it finds other types, or what `object_of` has to look at.
    """
    import msgspec

    decode = msgspec.json.Decoder(shape).decode

    def found(line: bytes) -> Shape | None:
        try:
            return decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    return found


@cache
def _named() -> Callable[[bytes], Any]:
    import msgspec

    return fields_of(msgspec.defstruct("Named", [("id", str)]))


def _items(path: Path, kind: Kind, only: Collection[str] | None) -> Iterator[Any]:
    empty = only is None
    for where, item in _deserialized(path, only):
        empty = False
        if not type(item).__name__.endswith(_CLASSES[kind]):
            raise ValueError(f"{where}: must be one of {kind}, got a {type(item).__name__}")
        yield item
    if empty:
        raise ValueError(f"{path}: must have {kind}, it is empty")


def _deserialized(path: Path, only: Collection[str] | None) -> Iterator[tuple[str, Any]]:
    from lhotse import load_manifest
    from yaml import YAMLError  # of what Lhotse reads YAML with

    if not path.name.endswith(_JSON_LINES):
        try:
            manifest = list(load_manifest(path))
        except (*READING_FAULTS, OSError, YAMLError) as fault:
            raise ValueError(f"{path}: must be a manifest of Lhotse's: {fault!r}") from fault
        for item in manifest:
            place = f"{path}: {getattr(item, 'id', '')}"
            if only is None or getattr(item, "id", None) in only:
                yield place, _with_times(item, place)
        return
    for number, line in _lines(path):
        if only is not None and (named := _named()(line)) is not None and named.id not in only:
            continue
        place = f"{path}, line {number}"
        content = object_of(line, place)
        if only is None or content.get("id") in only:
            yield place, item_of(content, place)


def item_of(content: Mapping[str, Any], place: str) -> Any:
    """The object that a line of a manifest stands for.

    Args:
        content: of the line.
        place: file and line, for messages.

    Raises:
        ValueError: what is no item of Lhotse's.
    """
    from lhotse.serialization import deserialize_item

    try:
        item = deserialize_item(dict(content))
    except READING_FAULTS as fault:
        raise ValueError(f"{place}: {_words(fault)}") from fault
    return _with_times(item, place)


def _with_times(item: Any, place: str) -> Any:
    """The item; Lhotse takes anything for the seconds of cuts and supervisions.

    Raises:
        ValueError: they are no numbers.
    """
    try:
        for one in (item, *getattr(item, "supervisions", ())):
            for name in ("start", "duration"):
                if not isinstance(value := getattr(one, name, 0.0), int | float):
                    raise ValueError(f"{name} must be seconds, got {value!r}")
    except READING_FAULTS as fault:
        raise ValueError(f"{place}: {_words(fault)}") from fault
    return item


def _words(fault: Exception) -> str:
    return f"lacks {fault}" if isinstance(fault, KeyError) else str(fault) or repr(fault)
