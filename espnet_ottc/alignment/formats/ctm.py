"""CTM, NIST's format of time-marked words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats.kaldi import fields_of, numbered_lines
from espnet_ottc.alignment.spans import Span, SpansById, in_order
from espnet_ottc.utils.escapes import escaped, is_space_or_control, unescaped
from espnet_ottc.utils.files import written_aside

_DECIMALS = 6


def read_ctm(path: Path, channel: str | None = None, encoding: str | None = None) -> SpansById:
    """Read a CTM of any tool: `id channel start duration word [confidence]`; `;;` and `#` open comments.

    Columns stand between blanks or tabs; a no-break space belongs to its word.  What `write_ctm` escaped is
    turned back.

    Args:
        path: the file.
        channel: the channel to read; None reads files that have one channel per id.
        encoding: of the file; None is UTF-8.

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
    channels: dict[str, str] = {}
    for number, line in numbered_lines(path, encoding):
        if line.lstrip().startswith((";;", "#")):
            continue
        name, span, found = _parse(line, f"{path}:{number}")
        if channel is not None and found != channel:
            continue
        if channels.setdefault(name, found) != found:
            raise ValueError(
                f"{name}: {path}:{number} has channel {found} beside {channels[name]}; "
                "say which to read"
            )
        spans.setdefault(name, []).append(span)
    return {name: in_order(items) for name, items in spans.items()}


def _parse(line: str, place: str) -> tuple[str, Span, str]:
    columns = fields_of(line)
    if len(columns) < 5:
        raise ValueError(
            f"{place}: a CTM line is 'id channel start duration word [confidence]', "
            f"got {line.strip()!r}"
        )
    name, channel, start_text, duration_text, word = columns[:5]
    if word.startswith("<ALT"):
        raise ValueError(f"{name}: {place}: alternations ({word}) are not supported in CTM")
    score_text = columns[5] if len(columns) > 5 else "NA"
    try:
        start, duration = float(start_text), float(duration_text)
        score = None if score_text.upper() == "NA" else float(score_text)
        # The decimals of any known tool are kept; the float noise of the sum is not.
        span = Span(unescaped(word), start, round(start + duration, 9), score)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {place}: {error}; got {line.strip()!r}") from error
    return unescaped(name), span, channel


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
