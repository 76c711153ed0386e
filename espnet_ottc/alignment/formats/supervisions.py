"""Lhotse's manifests of supervisions, with alignments of words, phones or tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.formats.manifests import read_manifest
from espnet_ottc.alignment.spans import Span, SpansById
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import written_aside

if TYPE_CHECKING:
    from lhotse import SupervisionSegment

# Rounding of times in manifests, in seconds.
_ROUNDING = 0.02
# Of the manifests that Lhotse reads, those that are recognised by their names.
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def spans_of(
    supervision: "SupervisionSegment", kind: str = "word", origin: float | None = None
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


def text_tier(supervision: "SupervisionSegment") -> str | None:
    """The alignment that has the times of the text: `phone` where there is one, else `word`.

    A corpus with times of phones has phones as its text.

    Args:
        supervision: of a Lhotse manifest or cut.

    Returns:
        The alignment's name; None where there is neither.
    """
    alignment = supervision.alignment or {}
    return next((tier for tier in ("phone", "word") if tier in alignment), None)


def with_spans(
    supervision: "SupervisionSegment", spans: Sequence[Span], kind: str = "word"
) -> "SupervisionSegment":
    """A copy of a supervision with these spans (seconds from its start) as its alignment `kind`.

    Times are not rounded to 10 ms; the supervision itself is left as it is.

    Args:
        supervision: to copy.
        spans: in seconds from its start.
        kind: the alignment's name; one that it has already is replaced.
    """
    from lhotse import SupervisionSegment
    from lhotse.supervision import AlignmentItem

    items = [
        AlignmentItem(span.symbol, span.start + supervision.start, span.duration, span.score)
        for span in spans
    ]
    values = {name: getattr(supervision, name) for name in supervision.__dataclass_fields__}
    values["alignment"] = {**(supervision.alignment or {}), kind: items}
    return SupervisionSegment(**values)


def write_supervisions(
    path: str | Path,
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
        OSError: the file cannot be written.
        ImportError: Lhotse is not installed.
    """
    path = Path(path)
    require_extra("align", "a manifest of supervisions", ("lhotse",))
    from lhotse import SupervisionSegment, SupervisionSet

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


def read_supervisions(path: str | Path, kind: str = "word") -> SpansById:
    """Read the spans of each supervision of a Lhotse manifest of supervisions or cuts, by id.

    Supervisions have their own ids.  A cut with one supervision has the cut's, with times from the cut's
    start; of a cut with several each has its own id, and times from its own start.

    Args:
        path: a manifest that Lhotse reads.
        kind: the alignment's name, `word` or `phone`.

    Raises:
        ValueError: a file that is no manifest of supervisions or cuts, a supervision without such an
            alignment, an id that repeats.
        OSError: the file cannot be read.
        ImportError: Lhotse is not installed.
    """
    path = Path(path)
    spans: SpansById = {}
    try:
        for name, found in _spans(path, kind):
            if name in spans:
                raise ValueError(f"{name}: each id must stand once")
            spans[name] = found
    except (ValueError, TypeError, ArithmeticError) as fault:
        text = str(fault)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from fault
    return spans


def _spans(path: Path, kind: str) -> Iterator[tuple[str, list[Span]]]:
    for item in read_manifest(path, "supervisions or cuts"):
        if not hasattr(item, "supervisions"):
            yield item.id, spans_of(item, kind)
            continue
        several = len(item.supervisions) > 1
        for supervision in item.supervisions:
            moved = _on_cut(supervision, item.start)
            if several:
                yield supervision.id, spans_of(moved, kind)
            else:
                whole = replace(moved, duration=max(item.duration, moved.end))
                yield item.id, spans_of(whole, kind, origin=0.0)


def _on_cut(supervision: "SupervisionSegment", cut_start: float) -> "SupervisionSegment":
    """A cut's supervision with times from the cut's start, which Lhotse leaves on the recording."""
    alignment = {}
    for kind, items in (supervision.alignment or {}).items():
        inside = all(
            supervision.start - _ROUNDING <= one.start and one.end <= supervision.end + _ROUNDING
            for one in items
        )
        shift = 0.0 if inside else cut_start
        alignment[kind] = [one._replace(start=round(one.start - shift, 8)) for one in items]
    return replace(supervision, alignment=alignment)
