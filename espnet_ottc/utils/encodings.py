"""Files of text in whatever encoding they are."""

import codecs
import re
from pathlib import Path

from espnet_ottc.utils.extras import require_extra

UTF8_WITH_MARK = "utf-8-sig"
_MARKS = (
    (codecs.BOM_UTF8, UTF8_WITH_MARK),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Where no other is known: the encodings of one byte that transcripts of Western languages were kept in.
_WESTERN = ("latin_1", "cp1252", "mac_roman")
# In short texts the library errs.  Beside a letter, bytes from 0xC0 on are letters of Latin-1 and of
# Windows-1252, and symbols in MacRoman; bytes from 0x80 to 0x9F are letters of MacRoman, and in Windows-1252
# rare letters or signs that stand at the edges of words.
_WINDOWS_LETTERS = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]")
_MAC_LETTERS = re.compile(
    rb"[A-Za-z][\x80-\x84\x86-\x90\x95\x98\x9a-\x9f]|[\x81-\x84\x86-\x90\x98-\x9f][A-Za-z]"
    rb"|[A-Za-z][\x80-\x91\x93-\x9f][A-Za-z]"
)


def decoded(path: Path, encoding: str | None = None) -> str:
    """The text of a file.

    Args:
        path: the file.
        encoding: of the file; None: what a mark at its start says, else UTF-8, else UTF-16 where every other
            byte is 0, else the likeliest of Latin-1, Windows-1252 and MacRoman, by the letters among others,
            or by charset-normalizer where they do not tell.

    Raises:
        ValueError: bytes that are not so encoded, an unknown encoding; it names the file and the line.
        OSError: the file cannot be read.
        ImportError: the encoding has to be guessed, and charset-normalizer is not installed.
    """
    raw = path.read_bytes()
    return decoded_bytes(raw, str(path), encoding)


def decoded_bytes(raw: bytes, name: str, encoding: str | None = None) -> str:
    """As `decoded`, of bytes.

    Args:
        raw: bytes.
        name: of the file, for messages.
        encoding: as there.
    """
    encoding = encoding or encoding_of(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as fault:
        raise ValueError(
            f"{name}:{_line(raw, fault)}: must be {encoding} text, got the byte "
            f"0x{raw[fault.start]:02X} (--encoding names another encoding)"
        ) from fault
    except LookupError as fault:
        raise ValueError(f"{name}: there is no encoding {encoding!r}") from fault


def no_utf8(path: Path) -> tuple[int, int] | None:
    """The line, from 1, of the first byte of a file that is no UTF-8, and the byte; None where all is.

    Args:
        path: the file.
    """
    raw = path.read_bytes()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        return _line(raw, fault), raw[fault.start]
    return None


def _line(raw: bytes, fault: UnicodeDecodeError) -> int:
    return raw.count(b"\n", 0, fault.start) + 1


def marked_encoding(start: bytes) -> str | None:
    """What a byte order mark says; None where there is none.

    Args:
        start: of a file, four bytes or more.
    """
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)


def encoding_of(raw: bytes) -> str:
    """The encoding of a text, as far as its bytes tell; see `decoded`.

    Args:
        raw: the whole file.
    """
    if marked := marked_encoding(raw):
        return marked
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if b"\0" not in raw:
            return "utf-8"
    if len(raw) > 1 and len(raw) % 2 == 0:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if raw[first::2].count(0) > len(raw) // 4:
                return encoding
    if b"\0" in raw:
        return "utf-8"
    mac, windows = len(_MAC_LETTERS.findall(raw)), len(_WINDOWS_LETTERS.findall(raw))
    if bool(mac) != bool(windows):
        return "mac_roman" if mac else "cp1252"
    require_extra("align", "a text that is not UTF-8", ("charset_normalizer",))
    from charset_normalizer import from_bytes

    best = from_bytes(raw, cp_isolation=list(_WESTERN)).best()
    return _WESTERN[0] if best is None else best.encoding
