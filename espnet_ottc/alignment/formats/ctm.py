"""CTM, NIST's format of time-marked words."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.formats.kaldi import fields_of, raw_lines, utf8
from espnet_ottc.alignment.span_table import Piece, SpanTable
from espnet_ottc.alignment.spans import Span, SpansById, in_order
from espnet_ottc.utils.escapes import escaped, is_space_or_control, unescaped
from espnet_ottc.utils.files import written_aside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DECIMALS = 6
_SUM_DECIMALS = 9
_COMMENTS = (b";;", b"#")
# Lines that are read at a time.
_BLOCK = 10_000
_Entry = tuple[str, float, float, str, float | None]


def read_ctm(
    path: Path,
    channel: str | None = None,
    encoding: str | None = None,
    only: Collection[str] | None = None,
) -> SpansById:
    """Read a CTM of any tool: `id channel start duration word [confidence]`; `;;` and `#` open comments.

    Columns stand between blanks or tabs; a no-break space belongs to its word.  What `write_ctm` escaped is
    turned back.

    Args:
        path: the file.
        channel: the channel to read; None reads files that have one channel per id.
        encoding: of the file; None is UTF-8.
        only: ids whose lines are read; others are passed over, faults and all.

    Returns:
        Spans by id, in order of time.  Fields after the confidence are ignored; `NA` is no
        confidence.

    Raises:
        ValueError: a malformed line, a time or confidence that is no number or negative, an
            alternation (`<ALT_BEGIN>`), several channels of one id while `channel` is None.  It
            names file and line.
        OSError: the file cannot be read.
    """
    spans: SpansById = {}
    reader = _Reader(path, channel)
    for number, raw in raw_lines(path, encoding):
        if only is not None and reader.id_of(raw) not in only:
            continue
        for name, start, end, word, score in reader.entries(number, raw):
            spans.setdefault(name, []).append(Span(word, start, end, score))
    return {name: in_order(items) for name, items in spans.items()}


def ctm_ids(path: Path, encoding: str | None = None) -> set[str]:
    """The ids of a CTM; nothing else of it is looked at.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError: bytes that are not so encoded.
        OSError: the file cannot be read.
    """
    names = {raw.split(None, 1)[0] for _, raw in raw_lines(path, encoding) if raw.strip()}
    return {unescaped(utf8(name, str(path))) for name in names if not name.startswith(_COMMENTS)}


def read_ctm_table(
    path: Path, channel: str | None = None, encoding: str | None = None
) -> SpanTable:
    """Read a CTM of any size as columns, without its confidences; see `read_ctm`.

    Args:
        path: the file.
        channel: as there.
        encoding: as there.

    Raises:
        ValueError, OSError: as there.
        ImportError: NumPy is not installed.
    """
    return SpanTable.of_pieces(_pieces(_Reader(path, channel), raw_lines(path, encoding)))


def _pieces(reader: "_Reader", lines: Iterator[tuple[int, bytes]]) -> Iterator[Piece]:
    """The lines of blocks of the file, in pieces of one id."""
    while block := list(islice(lines, _BLOCK)):
        pieces = reader.plain_pieces([raw for _, raw in block])
        if pieces is not None:
            yield from pieces
            continue
        for number, raw in block:
            for name, start, end, word, _ in reader.entries(number, raw):
                yield name, (start,), (end,), (word,)


class _Reader:
    """Reads the lines of a CTM, with what it has to know of those before.

    Args:
        path: the file, for messages.
        channel: to read; None: there is one of each id.
    """

    def __init__(self, path: Path, channel: str | None) -> None:
        self.path = path
        self.wanted = None if channel is None else channel.encode()
        self.channels: dict[bytes, bytes] = {}
        self.words = _Texts()
        self.names = _Texts()

    def entries(self, number: int, raw: bytes) -> Iterator[_Entry]:
        """Id, start, end, word and confidence of a line; nothing where it has none of the channel.

        Args:
            number: of the line.
            raw: the line.

        Raises:
            ValueError: as `read_ctm`.
        """
        columns, place = raw.split(), f"{self.path}:{number}"
        if not columns or columns[0].startswith(_COMMENTS):
            return
        try:
            name, found, start_text, duration_text, word = columns[:5]
            start = float(start_text)
            # The decimals of any known tool are kept; the float noise of the sum is not.
            end = round(start + float(duration_text), _SUM_DECIMALS)
            unknown = len(columns) < 6 or columns[5].upper() == b"NA"
            score = None if unknown else float(columns[5])
            span = Span(self.words[word], start, end, score)
            identity = self.names[name]
        except (ValueError, OverflowError) as fault:
            line = utf8(raw, place)
            if not line.strip():
                return
            raise ValueError(_complaint(line, place, fault)) from fault
        if self.is_read(name, found, place):
            yield identity, span.start, span.end, span.symbol, span.score

    def id_of(self, raw: bytes) -> str | None:
        """The id that a line begins with; None where there is none.

        Args:
            raw: the line.
        """
        first = raw.split(None, 1)[:1]
        try:
            return self.names[first[0]] if first else None
        except ValueError:
            return None

    def is_read(self, name: bytes, channel: bytes, place: str) -> bool:
        """Whether an id's spans on a channel are read.

        Args:
            name: the id.
            channel: the channel.
            place: file and line, for messages.

        Raises:
            ValueError: another channel of the same id, and none is asked for.
        """
        if self.wanted is not None and channel != self.wanted:
            return False
        before = self.channels.setdefault(name, channel)
        if before != channel:
            raise ValueError(
                f"{self.names[name]}: {place} has channel {channel.decode(errors='replace')} "
                f"beside {before.decode(errors='replace')}; say which to read"
            )
        return True

    def plain_pieces(self, lines: Sequence[bytes]) -> list[Piece] | None:
        """The pieces of lines that all have the five columns and nothing special; None for others.

        Columns at a time, so in a third of the time of `entries`.

        Args:
            lines: to read.
        """
        import numpy as np

        columns = _columns(lines)
        if columns is None:
            return None
        names, found, starts, durations, words, *scores = columns
        try:
            began = np.array(list(map(float, starts)))
            ended = _rounded(began + np.array(list(map(float, durations))))
            sure = [float(score) for scored in scores for score in scored if score != b"NA"]
            if not ((began >= 0) & (ended >= began) & (ended < np.inf)).all() or not all(
                map(math.isfinite, sure)
            ):
                return None
            symbols = list(map(self.words.__getitem__, words))
            identities = list(map(self.names.__getitem__, names))
            if any(name.startswith(_COMMENTS) for name in set(names)) or not all(
                self.is_read(name, channel, "")
                # In the order of the lines, as line by line.
                for name, channel in dict.fromkeys(zip(names, found, strict=True))
            ):
                return None
        except (ValueError, OverflowError):
            return None
        from_, to = began.tolist(), ended.tolist()
        pieces: list[Piece] = []
        first = 0
        for identity, group in groupby(identities):
            last = first + len(list(group))
            pieces.append((identity, from_[first:last], to[first:last], symbols[first:last]))
            first = last
        return pieces


def _columns(lines: Sequence[bytes]) -> list[list[bytes]] | None:
    """The columns of lines that all have five or six, with one blank between; None for others."""
    text, blanks = b"".join(lines), lines[0].count(b" ")
    other = (b"\t", b"\v", b"\f")
    if blanks not in (4, 5) or any(one in text for one in other):
        return None
    if text.count(b"\r") != text.count(b"\r\n"):
        return None
    fields, width = text.split(), blanks + 1
    # None has more, and all together have as many: each has just these.
    if len(fields) != width * len(lines) or any(line.count(b" ") != blanks for line in lines):
        return None
    return [fields[place::width] for place in range(width)]


class _Texts(dict[bytes, str]):
    """Ids or words by the bytes of their column, each decoded once."""

    def __missing__(self, column: bytes) -> str:
        if column.startswith(b"<ALT"):
            raise ValueError("an alternation")
        text = self[column] = unescaped(column.decode())
        return text


def _rounded(seconds: "npt.NDArray[np.float64]") -> "npt.NDArray[np.float64]":
    """Seconds as `round` rounds them to `_SUM_DECIMALS`."""
    import numpy as np

    scaled = seconds * 10**_SUM_DECIMALS
    whole = np.rint(scaled)
    found: npt.NDArray[np.float64] = whole / 10**_SUM_DECIMALS
    # NumPy multiplies, so it can miss at a half; and beyond a day or so a product has too few digits.
    for place in np.flatnonzero(~((np.abs(scaled - whole) < 0.4) & (seconds < 1e5))):
        found[place] = round(float(seconds[place]), _SUM_DECIMALS)
    return found


def _complaint(line: str, place: str, fault: Exception) -> str:
    columns, got = fields_of(line), f"got {line.strip()!r}"
    if len(columns) < 5:
        return f"{place}: a CTM line is 'id channel start duration word [confidence]', {got}"
    why = str(fault).replace("b'", "'")
    if columns[4].startswith("<ALT"):
        why = f"alternations ({columns[4]}) are not supported in CTM"
    return f"{unescaped(columns[0])}: {place}: {why}; {got}"


def write_ctm(path: Path, spans: Mapping[str, Sequence[Span]], channel: str = "1") -> None:
    """Write a CTM with times to the microsecond, in the mapping's order.

    A span without a score has no confidence column.  An utterance without spans has no line.  Ids and symbols
    are escaped as `espnet_ottc.utils.escapes` says where they hold white space, are empty, or would be taken
    for a comment or an alternation.

    Args:
        path: the file.
        spans: by utterance id, in seconds.
        channel: the channel column.
    """
    write_ctm_lines(path, ((name, channel, items) for name, items in spans.items()))


def write_ctm_lines(path: Path, entries: Iterable[tuple[str, str, Sequence[Span]]]) -> None:
    """Write a CTM of several channels, as `write_ctm` writes one.

    Args:
        path: the file.
        entries: id, channel and spans; an id may come again with another channel.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, channel, spans in entries:
            file.writelines(ctm_lines(name, spans, channel))


def ctm_lines(name: str, spans: Sequence[Span], channel: str = "1") -> Iterator[str]:
    """The lines of one utterance in a CTM, as `write_ctm` writes them.

    Args:
        name: the utterance's id.
        spans: in seconds.
        channel: the channel column.

    Returns:
        Lines with their ends.
    """
    identity = column(name)
    for span in spans:
        start, end = round(span.start, _DECIMALS), round(span.end, _DECIMALS)
        columns = [identity, channel, f"{start:.6f}", f"{end - start:.6f}", column(span.symbol)]
        if span.score is not None:
            columns.append(f"{span.score:.6f}")
        yield " ".join(columns) + "\n"


def column(text: str) -> str:
    """An id or symbol as a column: escaped where it cannot stand so.

    Args:
        text: any.
    """
    safe = escaped(text, is_space_or_control)
    # Comments and alternations are known by how they begin.
    opens = safe.startswith((";;", "#", "<ALT"))
    return f"%{ord(safe[0]):02X}{safe[1:]}" if opens else safe
