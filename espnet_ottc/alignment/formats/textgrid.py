"""TextGrids of Praat: read as Praat reads them, written by praatio."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats.textgrid_text import Tier, read_tiers
from espnet_ottc.alignment.spans import Span, in_order
from espnet_ottc.utils.escapes import escaped, is_unfit_for_text, unescaped
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import written_aside

# The tier of words, and what P2FA and WebMAUS call it.
WORD_TIER = "words"
_WORD_TIERS_ELSEWHERE = ("word", "ort-mau")
# praatio writes 0.00001 as 1e-05, and cannot read that: TextGrids hold whole tenths of
# milliseconds, and an interval lasts one at least.
_DECIMALS = 4
_STEPS = 10_000


def read_textgrid(
    path: str | Path, tier: str = WORD_TIER, encoding: str | None = None
) -> list[Span]:
    """Read the labelled intervals of one tier of a Praat TextGrid (long, short or JSON).

    Args:
        path: the file.
        tier: the tier's name.  Without such a tier those of several speakers are read together, as
            `ann - words` and `bob - words` (`tiers_called`).  A file with one interval tier is read
            whatever its name.
        encoding: of the file; None guesses.

    Returns:
        The spans, in order of time.

    Raises:
        ValueError: no such tier (the error lists those there are), or no TextGrid.
        OSError: the file cannot be read.
    """
    path = Path(path)
    tiers = [one for one in read_tiers(path, encoding) if not one.points]
    names = [one.name for one in tiers]
    chosen = tiers_called(tier, tiers)
    if not chosen and len(tiers) != 1:
        raise ValueError(
            f"{path.stem}: cannot read TextGrid {path}: no interval tier {tier!r}; "
            f"there are {', '.join(names) or 'none'}"
        )
    return in_order([span for one in chosen or tiers for span in spans_of_tier(one)])


def tiers_called(name: str, tiers: Sequence[Tier]) -> list[Tier]:
    """The tiers of a name: one that is called just so, or so but for case, or those of several speakers.

    Words are also found under the names that other tools give their tier.

    Args:
        name: to find, such as `words`.
        tiers: to choose from.
    """
    found = [one for one in tiers if one.name == name]
    found = found or [one for one in tiers if one.name.lower() == name.lower()]
    found = found or [one for one in tiers if speaker_of_tier(one.name, name) is not None]
    if not found and name == WORD_TIER:
        found = [one for one in tiers if one.name.lower() in _WORD_TIERS_ELSEWHERE]
    return found


def speaker_of_tier(name: str, tier: str) -> str | None:
    """The speaker of a tier's name such as `ann - words`; None where it is no such name.

    Args:
        name: of the tier.
        tier: what it holds, as `words`.
    """
    for mark in (" - ", "-", "/", "_", ": "):
        for speaker, what in (name.rpartition(mark)[::2], name.partition(mark)[::-2]):
            if what.strip().lower() == tier.lower() and speaker.strip():
                return speaker.strip()
    return None


def spans_of_tier(tier: Tier) -> list[Span]:
    """The labelled intervals of a tier."""
    return [
        Span(unescaped(label), start, end) for start, end, label in tier.entries if label.strip()
    ]


def write_textgrid(
    path: str | Path, tiers: Mapping[str, Sequence[Span]], duration: float | None = None
) -> None:
    """Write one utterance as a TextGrid (long form) with times to 0.1 ms.

    Args:
        path: the file; its stem is the utterance's id.
        tiers: spans by tier name, conventionally `words` and `phones`.
        duration: the utterance's length in seconds; None ends with the last span.

    Raises:
        ValueError: what a TextGrid cannot hold: empty or padded symbols, spans that overlap, last
            less than 0.1 ms or pass the duration; no duration and no span.
        OSError: the file cannot be written.
        ImportError: praatio is not installed.
    """
    path = Path(path)
    require_extra("align", "a TextGrid", ("praatio",))
    from praatio import textgrid

    last = max((span.end for spans in tiers.values() for span in spans), default=None)
    if duration is None:
        if last is None:
            raise ValueError(f"{path.stem}: a TextGrid without spans needs a duration")
        duration = last
    duration = round(duration, _DECIMALS)
    grid = textgrid.Textgrid(0.0, duration)
    for name, spans in tiers.items():
        entries = _entries(path.stem, in_order(spans), duration)
        grid.addTier(textgrid.IntervalTier(name, entries, 0.0, duration))
    with written_aside(path) as aside:
        grid.save(str(aside), "long_textgrid", includeBlankSpaces=True, reportingMode="silence")


def _entries(name: str, spans: Sequence[Span], duration: float) -> list[tuple[float, float, str]]:
    entries: list[tuple[float, float, str]] = []
    for span in spans:
        start, end = round(span.start, _DECIMALS), round(span.end, _DECIMALS)
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
        entries.append((start, end, escaped(span.symbol, is_unfit_for_text)))
    return entries


def fit_textgrid(spans: Sequence[Span], duration: float) -> list[Span]:
    """Move spans onto a TextGrid's grid of 0.1 ms: each lasts one step or more, and none overlap.

    Args:
        spans: in order of time, at most one for each 0.1 ms of the duration.
        duration: the utterance's length in seconds.

    Returns:
        As many spans, each boundary at most as far from its time as the spans before it push it.
    """
    last = _steps(duration)
    starts, ends = [], []
    now = 0
    for number, span in enumerate(spans):
        # Those that follow need a step each.
        latest = last - (len(spans) - number)
        starts.append(min(max(_steps(span.start), now), latest))
        now = min(max(_steps(span.end), starts[-1] + 1), latest + 1)
        ends.append(now)
    return [
        Span(span.symbol, start / _STEPS, end / _STEPS, span.score)
        for span, start, end in zip(spans, starts, ends, strict=True)
    ]


def _steps(seconds: float) -> int:
    # Rounded as the writer of TextGrids rounds: in decimals.
    return round(round(seconds, _DECIMALS) * _STEPS)
