"""Files made wrong: cut short, garbled, of other values, of other encodings, by a seed."""

import gzip
import random
import re
import zlib
from collections.abc import Callable

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_WORD = re.compile(rb"[A-Za-z_]+")
# What stands in files that somebody wrote by hand, or another program.
_NUMBERS = (
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e-320", b"99999999999999999999", b"0x10"),
    *(b"1_000", b"1,5", b"", b"-0.0", b"NA", b"1" * 5000, b"\xd9\xa1"),
)
_PIECES = (
    *(
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\n",
        b"\r",
        b"\t",
        b" ",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b":",
        b",",
        b"=",
        b"&a",
        b"*a",
        b"!!python/object:os.system",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc2\xa0",
        b"\xe2\x80\xa8",
        b"<ALT_BEGIN>",
        b";;",
        b"#",
        b"../x",
    ),
    *(b"[" * 3000, b"a" * 70000, b"%00", b"%", b"\\", b"|", b"-", b"?"),
)
Change = Callable[[random.Random, bytes], bytes]


def mutated(content: bytes, seed: int) -> bytes:
    """A file with one to four changes.

    Args:
        content: of a file that is right.
        seed: of the changes.
    """
    rng = random.Random(seed)
    packed = content.startswith(b"\x1f\x8b")
    if packed and rng.random() < 0.7:
        # What is wrong within, too.
        return gzip.compress(mutated(gzip.decompress(content), seed + 1), mtime=0)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(_CHANGES)(rng, content)
    return content


def _cut_short(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _cut_out(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in "12")
    return content[:start] + content[min(end, start + 60) :]


def _flipped(rng: random.Random, content: bytes) -> bytes:
    if not content:
        return b"\x80"
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _inserted(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(_PIECES) + content[place:]


def _replaced(pattern: "re.Pattern[bytes]", pieces: tuple[bytes, ...]) -> Change:
    def change(rng: random.Random, content: bytes) -> bytes:
        found = list(pattern.finditer(content[:200_000]))
        if not found:
            return _inserted(rng, content)
        one = rng.choice(found)
        return content[: one.start()] + rng.choice(pieces) + content[one.end() :]

    return change


def _line_moved(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    one = rng.choice(lines)
    if rng.random() < 0.5:
        lines.remove(one)
    lines.insert(rng.randrange(len(lines) + 1), one)
    return b"".join(lines)


def _recoded(rng: random.Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-7")), "replace")


def _other(rng: random.Random, content: bytes) -> bytes:
    whole = (
        b"",
        b"\n",
        b"\0" * 100,
        b"{}",
        b"[]",
        b"null",
        b"0",
        b'"a"',
        b"\x80\x04N.",
        b"PK\x03\x04",
    )
    packed = (gzip.compress(content, mtime=0), zlib.compress(content), bytes(rng.randbytes(64)))
    return rng.choice((*whole, *packed))


_CHANGES: tuple[Change, ...] = (
    *(_cut_short, _cut_short, _cut_out, _flipped, _flipped, _inserted, _inserted, _line_moved),
    *(_replaced(_NUMBER, _NUMBERS), _replaced(_NUMBER, _NUMBERS), _replaced(_NUMBER, _PIECES)),
    *(_replaced(_WORD, _PIECES), _replaced(re.compile(rb'"[^"\n]*"'), _PIECES), _recoded, _other),
)
