"""CTM, NIST's format of time-marked words."""

import io
import math
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import ne
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.formats.kaldi import fields_of, raw_blocks, utf8
from espnet_ottc.alignment.formats.stretches import Stretch
from espnet_ottc.alignment.span_table import SpanBlock, SpanTable
from espnet_ottc.alignment.spans import Span, SpansById, in_order
from espnet_ottc.utils.escapes import escaped, is_space_or_control, unescaped
from espnet_ottc.utils.files import written_aside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DECIMALS = 6
_SUM_DECIMALS = 9
_COMMENTS = (b";;", b"#")
# The first column of lines that have any; of lines that follow each other with the same one, once.
_FIRST = re.compile(rb"^[ \t\r\v\f]*(\S+)[^\n]*(?:\n\1 [^\n]*)*", re.MULTILINE)
_Entry = tuple[str, float, float, str, float | None]


def read_ctm(
    path: str | Path,
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
    path = Path(path)
    spans: SpansById = {}
    reader = _Reader(path, channel)
    wanted = [name.encode("utf-8", "surrogatepass") for name in only or ()]
    for first, block in raw_blocks(path, encoding):
        if only is not None and not (
            # An escape may stand for anything.
            (b"%" in block or any(name in block for name in wanted))
            and any(reader.id_of(name) in only for name in set(_FIRST.findall(block)))
        ):
            continue
        for number, raw in enumerate(io.BytesIO(block), first):
            if only is not None and reader.id_of(raw) not in only:
                continue
            for name, start, end, word, score in reader.entries(number, raw):
                spans.setdefault(name, []).append(Span(word, start, end, score))
    return {name: in_order(items) for name, items in spans.items()}


def ctm_ids(path: str | Path, encoding: str | None = None) -> set[str]:
    """The ids of a CTM; nothing else of it is looked at.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Raises:
        ValueError: bytes that are not so encoded.
        OSError: the file cannot be read.
    """
    path = Path(path)
    names: set[bytes] = set()
    for _, block in raw_blocks(path, encoding):
        names.update(_FIRST.findall(block))
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
    reader = _Reader(path, channel)
    blocks = (reader.block(first, text) for first, text in raw_blocks(path, encoding))
    return SpanTable.of_blocks(blocks, reader.numbers.vocabulary)


def ctm_stretch_table(stretch: Stretch, words: "WordNumbers", channel: str | None) -> SpanTable:
    """Read some lines of a CTM as columns; see `read_ctm_table`.

    Args:
        stretch: the lines.
        words: of other lines that were read, too; new ones are added.
        channel: as there.

    Raises:
        ValueError, OSError, ImportError: as there.
    """
    reader = _Reader(stretch.path, channel, words)
    blocks = (reader.block(stretch.line, text) for text in [stretch.read()] if text)
    return SpanTable.of_blocks(blocks, words.vocabulary)


class _Reader:
    """Reads the lines of a CTM, with what it has to know of those before.

    Args:
        path: the file, for messages.
        channel: to read; None: there is one of each id.
        words: that are known; None: none.
    """

    def __init__(self, path: Path, channel: str | None, words: "WordNumbers | None" = None) -> None:
        self.path = path
        self.wanted = None if channel is None else channel.encode()
        self.channels: dict[bytes, bytes] = {}
        self.names = _Texts()
        self.numbers = WordNumbers() if words is None else words

    def block(self, first: int, text: bytes) -> SpanBlock:
        """The spans of some lines.

        Args:
            first: number of the first line.
            text: of the lines.

        Raises:
            ValueError: as `read_ctm`.
        """
        plain = self._plain_block(text)
        if plain is not None:
            return plain
        found = SpanBlock([], array("d"), array("d"), array("i"))
        runs: list[tuple[str, int]] = []
        for number, raw in enumerate(io.BytesIO(text), first):
            for name, start, end, word, _ in self.entries(number, raw):
                runs.append((name, 1))
                found.starts.append(start)
                found.ends.append(end)
                found.symbols.append(self.numbers.of(word))
        return replace(found, runs=runs)

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
            span = Span(self.numbers.texts[word], start, end, score)
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

    def _plain_block(self, text: bytes) -> SpanBlock | None:
        """The spans of lines that all have the five or six columns and nothing special; None for others.

        Columns at a time, so in a sixth of the time of `entries`.
        """
        import numpy as np

        columns = _columns(text)
        if columns is None:
            return None
        names, found, starts, durations, words, *scores = columns
        count = len(names)
        try:
            began = np.fromiter(map(float, starts), float, count)
            ended = _rounded(began + np.fromiter(map(float, durations), float, count))
            sure = [float(score) for scored in scores for score in scored if score != b"NA"]
            if not ((began >= 0) & (ended >= began) & (ended < np.inf)).all() or not all(
                map(math.isfinite, sure)
            ):
                return None
            # Where a line has another id or channel than the line before.
            heads = [0]
            for column in (names, found):
                changed = np.fromiter(map(ne, column, islice(column, 1, None)), bool, count - 1)
                heads += (np.flatnonzero(changed) + 1).tolist()
            heads = sorted(set(heads))
            if not all(
                not names[head].startswith(_COMMENTS) and self.is_read(names[head], found[head], "")
                for head in heads
            ):
                return None
            runs = [
                (self.names[names[head]], stop - head)
                for head, stop in zip(heads, [*heads[1:], count], strict=True)
            ]
            # At last, so that only words that are read have numbers.
            numbers = np.fromiter(map(self.numbers.__getitem__, words), np.intc, count)
        except (ValueError, OverflowError):
            return None
        return SpanBlock(
            runs,
            array("d", began.tobytes()),
            array("d", ended.tobytes()),
            array("i", numbers.tobytes()),
        )


def _columns(text: bytes) -> list[list[bytes]] | None:
    """The columns of lines that all have five or six, with one blank between; None for others."""
    import numpy as np

    if text.count(b"\r") != text.count(b"\r\n"):
        return None
    text = text.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    content = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(content <= ord(" "))
    ends = content[places] == ord("\n")
    width = int(ends.argmax()) + 1
    if width not in (5, 6) or len(places) % width:
        return None
    rows = ends.reshape(-1, width)
    blanks = content[places] == ord(" ")
    if (
        not rows[:, -1].all()
        or not blanks.reshape(-1, width)[:, :-1].all()
        or not (np.diff(places, prepend=-1) > 1).all()
    ):
        return None
    fields = text.split()
    return [fields[place::width] for place in range(width)]


class _Texts(dict[bytes, str]):
    """Ids or words by the bytes of their column, each decoded once."""

    def __missing__(self, column: bytes) -> str:
        if column.startswith(b"<ALT"):
            raise ValueError("an alternation")
        text = self[column] = unescaped(column.decode())
        return text


class WordNumbers(dict[bytes, int]):
    """Numbers of words, by the bytes of their column.

    Attributes:
        texts: the words by their bytes.
        vocabulary: word -> its number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts = _Texts()
        self.vocabulary: dict[str, int] = {}

    def __missing__(self, column: bytes) -> int:
        number = self[column] = self.of(self.texts[column])
        return number

    def of(self, word: str) -> int:
        """The number of a word; a new one where there is none.

        Args:
            word: any.
        """
        return self.vocabulary.setdefault(word, len(self.vocabulary))


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


def write_ctm(path: str | Path, spans: Mapping[str, Sequence[Span]], channel: str = "1") -> None:
    """Write a CTM with times to the microsecond, in the mapping's order.

    A span without a score has no confidence column.  An utterance without spans has no line.  Ids and symbols
    are escaped as `espnet_ottc.utils.escapes` says where they hold white space, are empty, or would be taken
    for a comment or an alternation.

    Args:
        path: the file.
        spans: by utterance id, in seconds.
        channel: the channel column.
    """
    path = Path(path)
    write_ctm_lines(path, ((name, channel, items) for name, items in spans.items()))


def write_ctm_lines(path: str | Path, entries: Iterable[tuple[str, str, Sequence[Span]]]) -> None:
    """Write a CTM of several channels, as `write_ctm` writes one.

    Args:
        path: the file.
        entries: id, channel and spans; an id may come again with another channel.
    """
    path = Path(path)
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
