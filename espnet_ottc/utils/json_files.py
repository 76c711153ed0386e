"""JSON of files that anybody may have written, cut off or changed: what is wrong is said with its place."""

import json
from pathlib import Path
from typing import Any


def parsed(text: str | bytes, place: object) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: UTF-8 where it is bytes.
        place: file, or file and line, for messages.

    Raises:
        ValueError: no JSON, lists nested too deep, bytes that are not UTF-8; it names the place.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{place}: must be JSON, got lists in lists without end") from None
    except ValueError as fault:
        raise ValueError(f"{place}: must be JSON: {fault}") from fault


def parsed_object(text: str | bytes, place: object) -> dict[str, Any]:
    """The object that a JSON text stands for; see `parsed`.

    Args:
        text: as there.
        place: as there.

    Raises:
        ValueError: as there; another value than an object.
    """
    value = parsed(text, place)
    if not isinstance(value, dict):
        got = text if isinstance(text, str) else text.decode(errors="replace")
        raise ValueError(f"{place}: must be a JSON object, got {got.strip()[:40]!r}")
    return value


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: the file.

    Raises:
        ValueError: as `parsed_object`.
        OSError: the file cannot be read.
    """
    return parsed_object(path.read_bytes(), path)
