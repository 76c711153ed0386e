"""The one way in which names and words are written where a format cannot hold them.

As in web addresses: what cannot stand in a place becomes `%` and two hexadecimal digits for each of its bytes
in UTF-8, and so does a `%` that two such digits follow.  Everything else stays.  `unescaped` turns it
back.
"""

import re
from collections.abc import Callable
from pathlib import Path

_ESCAPE = re.compile(r"((?:%[0-9A-Fa-f]{2})+)")
_LOOKS_ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})")
# What some file system or shell takes amiss in names.
_UNFIT_FOR_FILES = frozenset('/\\:*?"<>|')
# Bytes that file systems allow for a name.
_LONGEST = 255


def escaped(text: str, is_unfit: Callable[[str], bool]) -> str:
    """A text without characters that a place cannot hold.

    Args:
        text: any.
        is_unfit: whether a character cannot stand there.

    Returns:
        The text itself where nothing had to be changed.  An empty text becomes `%`.
    """
    if not text or text == "%":
        return "%" if not text else "%25"
    safe = _LOOKS_ESCAPED.sub("%25", text)
    return "".join(_bytes(one) if one != "%" and is_unfit(one) else one for one in safe)


def unescaped(text: str) -> str:
    """What `escaped` was given.

    Args:
        text: what it returned; bytes that are not UTF-8 stay as they are.
    """
    if text == "%":
        return ""
    return _ESCAPE.sub(_decoded, text)


def is_space_or_control(character: str) -> bool:
    """Whether a character is white space (a no-break space too), or none that is seen."""
    return character.isspace() or (not character.isprintable() and ord(character) < 0xA0)


def is_unfit_for_text(character: str) -> bool:
    """Whether a character can stand neither in XML nor in a line of text."""
    code = ord(character)
    control = code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029)
    return control or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF)


def file_name_of(name: str, suffix: str = "") -> str:
    """A safe name of one file for an id.

    It has no `/`, `..` or NUL, whatever the id; `id_of_file_name` turns it back, without suffix.

    Args:
        name: an id.
        suffix: with its dot.

    Raises:
        ValueError: an id so long that no file can have its name.
    """
    safe = escaped(name, lambda one: one in _UNFIT_FOR_FILES or not one.isprintable())
    if safe[0] in ".-~ ":
        safe = _bytes(safe[0]) + safe[1:]
    if safe[-1] in ". ":
        safe = safe[:-1] + _bytes(safe[-1])
    safe += suffix
    if len(safe.encode()) > _LONGEST:
        behind = f" with {suffix}" if suffix else ""
        raise ValueError(
            f"{name[:40]}...: an id must fit into a file's name of {_LONGEST} bytes{behind}, "
            f"got {len(safe.encode())}"
        )
    return safe


def id_of_file_name(name: str) -> str:
    """The id that `file_name_of` was given.

    Args:
        name: the file's name without suffix.
    """
    return unescaped(name)


def file_for(folder: Path, name: str, suffix: str) -> Path:
    """The path of an id's file in a folder, never outside it.

    Args:
        folder: of the file.
        name: an id.
        suffix: with its dot.

    Raises:
        ValueError: an id that is too long for a file's name.
    """
    return folder / file_name_of(name, suffix)


def _bytes(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _decoded(match: "re.Match[str]") -> str:
    try:
        return bytes.fromhex(match[1].replace("%", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return match[1]
