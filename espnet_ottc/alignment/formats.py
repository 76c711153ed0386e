"""Files of words and times: Kaldi text, CTM, TextGrid, Lhotse supervisions.

Everything is keyed by utterance id; times are seconds from the utterance's start.  Files are
written aside in their folder and renamed, so that a half-written one never looks whole.  A round
trip keeps times within 0.5 µs (CTM), 50 µs (TextGrid, which has no scores), 10 ns (supervisions).
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhotse import SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem
from praatio import textgrid
from praatio.utilities.errors import PraatioException

from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.files import written_aside

SpansById = dict[str, list[Span]]

# praatio writes 0.00001 as 1e-05, and cannot read that: TextGrids hold whole tenths of
# milliseconds.
_TEXTGRID_DECIMALS = 4
_TEXTGRID_STEPS = 10_000
_CTM_DECIMALS = 6
_SUPERVISION_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def read_text(path: Path) -> dict[str, list[str]]:
    """Read Kaldi text: a line is an utterance id and its words; an id alone is an empty utterance.

    Raises:
        ValueError: an id that repeats; bytes that are not UTF-8.
        OSError: the file cannot be read.
    """
    texts: dict[str, list[str]] = {}
    for number, line in _lines(path):
        name, *words = line.split()
        if name in texts:
            raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
        texts[name] = words
    return texts


def read_durations(path: Path) -> dict[str, float]:
    """Read Kaldi's utt2dur: a line is an utterance id and its seconds.

    Raises:
        ValueError: a line that is not so, a duration that is not positive and finite.
        OSError: the file cannot be read.
    """
    durations: dict[str, float] = {}
    for name, columns in read_text(path).items():
        try:
            (seconds,) = map(float, columns)
        except ValueError as error:
            raise ValueError(f"{name}: one duration is needed in {path}, got {columns}") from error
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name}: a duration must be positive in {path}, got {seconds}")
        durations[name] = seconds
    return durations


def write_columns(path: Path, rows: Mapping[str, Sequence[object]]) -> None:
    """Write Kaldi text: a line is an id and its columns, as `str` gives them."""
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, columns in rows.items():
            file.write(" ".join([name, *map(str, columns)]) + "\n")


def read_ctm(path: Path, channel: str | None = None) -> SpansById:
    """Read a CTM of any tool: `id channel start duration word [confidence]`; `;;` opens a comment.

    Args:
        path: the file.
        channel: the channel to read; None reads files that have one channel per id.

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
    for number, line in _lines(path):
        if line.lstrip().startswith(";;"):
            continue
        name, span, found = _ctm_line(line, f"{path}:{number}")
        if channel is not None and found != channel:
            continue
        if channels.setdefault(name, found) != found:
            raise ValueError(
                f"{name}: {path}:{number} has channel {found} beside {channels[name]}; "
                "say which to read"
            )
        spans.setdefault(name, []).append(span)
    return {name: sorted(items, key=_by_time) for name, items in spans.items()}


def _ctm_line(line: str, place: str) -> tuple[str, Span, str]:
    columns = line.split()
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
        span = Span(word, start, round(start + duration, 9), score)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {place}: {error}; got {line.strip()!r}") from error
    return name, span, channel


def write_ctm(path: Path, spans: Mapping[str, Sequence[Span]], channel: str = "1") -> None:
    """Write a CTM with times to the microsecond, in the mapping's order.

    A span without a score has no confidence column.  An utterance without spans has no line.

    Raises:
        ValueError: an id or symbol that is empty or holds white space, a symbol that opens with
            `<ALT`, an id that opens with `;;`.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, items in spans.items():
            file.writelines(ctm_lines(name, items, channel))


def ctm_lines(name: str, spans: Sequence[Span], channel: str = "1") -> Iterator[str]:
    """The lines of one utterance in a CTM, as `write_ctm` writes them.

    Raises:
        ValueError: as `write_ctm`.
    """
    for span in spans:
        if not _is_token(name) or not _is_token(span.symbol) or name.startswith(";;"):
            raise ValueError(
                f"{name}: a CTM's ids and symbols hold no white space, got {span.symbol!r}"
            )
        if span.symbol.startswith("<ALT"):
            raise ValueError(f"{name}: {span.symbol!r} means an alternation in CTM")
        start, end = round(span.start, _CTM_DECIMALS), round(span.end, _CTM_DECIMALS)
        columns = [name, channel, f"{start:.6f}", f"{end - start:.6f}", span.symbol]
        if span.score is not None:
            columns.append(f"{span.score:.6f}")
        yield " ".join(columns) + "\n"


def read_textgrid(path: Path, tier: str = "words") -> list[Span]:
    """Read the labelled intervals of one tier of a Praat TextGrid (long, short or JSON).

    Args:
        path: the file.
        tier: the tier's name; a file with one interval tier is read whatever its name.

    Raises:
        ValueError: no such tier (the error lists those there are), a tier that is cut short, or no
            TextGrid.
        OSError: the file cannot be read.
    """
    try:
        grid = textgrid.openTextgrid(str(path), True, "silence", "rename")
        tiers = {name: grid.getTier(name) for name in grid.tierNames}
        tiers = {name: t for name, t in tiers.items() if isinstance(t, textgrid.IntervalTier)}
        if tier not in tiers and len(tiers) != 1:
            raise ValueError(f"no interval tier {tier!r}; there are {', '.join(tiers) or 'none'}")
        chosen = tiers[tier] if tier in tiers else next(iter(tiers.values()))
        return _labelled(chosen.entries, float(chosen.maxTimestamp))
    except (PraatioException, ValueError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path.stem}: cannot read TextGrid {path}: {error}") from error


def _labelled(entries: Sequence[tuple[float, float, str]], end: float) -> list[Span]:
    # Intervals fill their tier; praatio takes a file that breaks off between two of them for whole.
    last = entries[-1][1] if entries else 0.0
    if last < end - 1e-3:
        raise ValueError(f"the tier ends at {last} s of {end} s: cut short")
    return [Span(label, max(start, 0.0), stop) for start, stop, label in entries if label]


def write_textgrid(
    path: Path, tiers: Mapping[str, Sequence[Span]], duration: float | None = None
) -> None:
    """Write one utterance as a TextGrid (long form) with times to 0.1 ms.

    Args:
        path: the file; its stem is the utterance's id.
        tiers: spans by tier name, conventionally `words` and `phones`.
        duration: the utterance's length in seconds; None ends with the last span.

    Raises:
        ValueError: what a TextGrid cannot hold: empty or padded symbols, spans that overlap, last
            less than 0.1 ms or pass the duration; no duration and no span.
    """
    last = max((span.end for spans in tiers.values() for span in spans), default=None)
    if duration is None:
        if last is None:
            raise ValueError(f"{path.stem}: a TextGrid without spans needs a duration")
        duration = last
    duration = round(duration, _TEXTGRID_DECIMALS)
    grid = textgrid.Textgrid(0.0, duration)
    for name, spans in tiers.items():
        entries = _textgrid_entries(path.stem, sorted(spans, key=_by_time), duration)
        grid.addTier(textgrid.IntervalTier(name, entries, 0.0, duration))
    with written_aside(path) as aside:
        grid.save(str(aside), "long_textgrid", includeBlankSpaces=True, reportingMode="silence")


def _textgrid_entries(
    name: str, spans: Sequence[Span], duration: float
) -> list[tuple[float, float, str]]:
    entries: list[tuple[float, float, str]] = []
    for span in spans:
        start, end = round(span.start, _TEXTGRID_DECIMALS), round(span.end, _TEXTGRID_DECIMALS)
        if not span.symbol or span.symbol != span.symbol.strip():
            raise ValueError(
                f"{name}: a TextGrid label must be non-empty and unpadded, got {span.symbol!r}"
            )
        if end <= start:
            raise ValueError(f"{name}: a TextGrid's spans must last 0.1 ms or more, got {span}")
        if end > duration or (entries and start < entries[-1][1]):
            raise ValueError(
                f"{name}: a TextGrid's spans must not overlap or pass {duration} s, got {span}"
            )
        entries.append((start, end, span.symbol))
    return entries


def fit_textgrid(spans: Sequence[Span], duration: float) -> list[Span]:
    """Move spans onto a TextGrid's grid of 0.1 ms: each lasts one step or more, and none overlap.

    Args:
        spans: in order of time, at most one for each 0.1 ms of the duration.
        duration: the utterance's length in seconds.
    """
    last = _textgrid_steps(duration)
    starts, ends = [], []
    now = 0
    for number, span in enumerate(spans):
        # Those that follow need a step each.
        latest = last - (len(spans) - number)
        starts.append(min(max(_textgrid_steps(span.start), now), latest))
        now = min(max(_textgrid_steps(span.end), starts[-1] + 1), latest + 1)
        ends.append(now)
    return [
        Span(span.symbol, start / _TEXTGRID_STEPS, end / _TEXTGRID_STEPS, span.score)
        for span, start, end in zip(spans, starts, ends, strict=True)
    ]


def _textgrid_steps(seconds: float) -> int:
    # Rounded as the writer of TextGrids rounds: in decimals.
    return round(round(seconds, _TEXTGRID_DECIMALS) * _TEXTGRID_STEPS)


def spans_of(
    supervision: SupervisionSegment, kind: str = "word", origin: float | None = None
) -> list[Span]:
    """The spans of a Lhotse supervision, from its own start; items without symbol are silence.

    Args:
        supervision: times of its alignment are relative to the recording.
        kind: the alignment's name, `word` or `phone`.
        origin: the supervision's start on the recording, in seconds.  None takes its `start`,
            which is wrong after `trim_to_supervisions` or `truncate`: Lhotse shifts the start
            then, not the alignment.

    Raises:
        ValueError: no alignment of that kind; an item that lies wholly outside the supervision.
    """
    alignment = supervision.alignment or {}
    if kind not in alignment:
        raise ValueError(
            f"{supervision.id}: no alignment {kind!r}; there are {', '.join(alignment) or 'none'}"
        )
    zero = supervision.start if origin is None else origin
    spans = []
    for item in alignment[kind]:
        if item.symbol:
            # Eight decimals, as Lhotse's own `end`; a rounding must not make a time negative.
            start = round(item.start - zero, 8)
            end = round(item.start + item.duration - zero, 8)
            if end < 0 or start > supervision.duration:
                raise ValueError(
                    f"{supervision.id}: {item.symbol!r} at [{start}, {end}) lies outside the "
                    f"supervision's {supervision.duration} s; was it moved without its alignment?"
                )
            spans.append(Span(item.symbol, max(start, 0.0), max(end, start, 0.0), item.score))
    return spans


def text_tier(supervision: SupervisionSegment) -> str | None:
    """The alignment that has the times of the text: `phone` where there is one, else `word`.

    A corpus with times of phones has phones as its text.
    """
    alignment = supervision.alignment or {}
    return next((tier for tier in ("phone", "word") if tier in alignment), None)


def with_spans(
    supervision: SupervisionSegment, spans: Sequence[Span], kind: str = "word"
) -> SupervisionSegment:
    """A copy of a supervision with these spans (seconds from its start) as its alignment `kind`.

    Times are not rounded to 10 ms; the supervision itself is left as it is.
    """
    items = [
        AlignmentItem(span.symbol, span.start + supervision.start, span.duration, span.score)
        for span in spans
    ]
    values = {name: getattr(supervision, name) for name in supervision.__dataclass_fields__}
    values["alignment"] = {**(supervision.alignment or {}), kind: items}
    return SupervisionSegment(**values)


def write_supervisions(
    path: Path,
    spans: Mapping[str, Sequence[Span]],
    durations: Mapping[str, float],
    kind: str = "word",
    *,
    others: Mapping[str, Mapping[str, Sequence[Span]]] | None = None,
) -> None:
    """Write a Lhotse manifest: one supervision per utterance, on a recording of the same name.

    Args:
        path: `*.jsonl`, `*.jsonl.gz` or another suffix that Lhotse writes.
        spans: by utterance id.
        durations: seconds of each utterance.
        kind: the alignment's name.
        others: further alignments by name, such as that of the tokens, for utterances among `spans`.

    Raises:
        ValueError: an utterance without a duration.
    """
    missing = [name for name in spans if name not in durations]
    if missing:
        raise ValueError(f"{missing[0]}: no duration is given ({len(missing)} utterances without)")
    alignments = {kind: spans, **(others or {})}

    def segments() -> Iterator[SupervisionSegment]:
        for name, items in spans.items():
            text = " ".join(span.symbol for span in items)
            segment = SupervisionSegment(
                id=name, recording_id=name, start=0.0, duration=durations[name], text=text
            )
            for other, found in alignments.items():
                segment = with_spans(segment, found.get(name, ()), other)
            yield segment

    with written_aside(path) as aside:
        SupervisionSet.from_segments(segments()).to_file(aside)


def read_supervisions(path: Path, kind: str = "word") -> SpansById:
    """Read the spans of each supervision of a Lhotse manifest, by supervision id.

    Raises:
        ValueError: a file that is no manifest of supervisions, a supervision without such an
            alignment, an id that repeats.
        OSError: the file cannot be read.
    """
    spans: SpansById = {}
    for supervision in _supervisions(path):
        if supervision.id in spans:
            raise ValueError(f"{supervision.id}: each id must stand once; {path} repeats it")
        spans[supervision.id] = spans_of(supervision, kind)
    return spans


def _supervisions(path: Path) -> list[SupervisionSegment]:
    try:
        items = list(SupervisionSet.from_file(path))
    except FileNotFoundError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        OSError,
        zlib.error,
        AssertionError,
    ) as error:
        raise ValueError(f"{path}: cannot read a Lhotse manifest: {error!r}") from error
    for item in items:
        if not isinstance(item, SupervisionSegment):
            raise ValueError(f"{path}: must hold supervisions, got a {type(item).__name__}")
    return items


def holds_times(path: Path) -> bool:
    """Whether `read_spans` takes the path for one of its kinds, going by its name."""
    return (
        path.is_dir()
        or path.suffix.lower() in (".ctm", ".textgrid")
        or path.name.endswith(_SUPERVISION_SUFFIXES)
    )


def read_spans(path: Path, tier: str = "words", channel: str | None = None) -> SpansById:
    """Read times by kind: `*.ctm`, `*.TextGrid`, a folder of TextGrids, a Lhotse manifest.

    Args:
        path: a TextGrid's stem is its utterance's id; folders are searched through.
        tier: the TextGrid's tier; for supervisions the alignment `word` or `phone` that it names.
        channel: the CTM's channel.

    Raises:
        ValueError: an unknown kind of file, a folder without TextGrids, whatever the reader raises.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        spans: SpansById = {}
        for file in sorted(p for p in path.rglob("*") if p.suffix.lower() == ".textgrid"):
            if file.stem in spans:
                raise ValueError(f"{file.stem}: each id must stand once; {file} repeats it")
            spans[file.stem] = read_textgrid(file, tier)
        if not spans:
            raise ValueError(f"{path}: a folder must hold TextGrids, found none")
        return spans
    if path.suffix.lower() == ".textgrid":
        return {path.stem: read_textgrid(path, tier)}
    if path.suffix.lower() == ".ctm":
        return read_ctm(path, channel)
    if path.name.endswith(_SUPERVISION_SUFFIXES):
        return read_supervisions(path, tier.removesuffix("s"))
    raise ValueError(
        f"{path}: times are read from *.ctm, *.TextGrid, a folder of TextGrids or "
        f"{', '.join('*' + suffix for suffix in _SUPERVISION_SUFFIXES)}"
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be UTF-8 text: {error}") from error


def _is_token(text: str) -> bool:
    return bool(text) and not any(character.isspace() for character in text)


def _by_time(span: Span) -> tuple[float, float]:
    return span.start, span.end
