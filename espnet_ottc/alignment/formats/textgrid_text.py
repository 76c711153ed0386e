"""TextGrids of any tool, read as Praat reads them.

Praat looks for numbers and strings that stand free, in a fixed order, and passes over all else: comments,
what stands in brackets, names of fields.  So the long and the short form are one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.utils.encodings import decoded
from espnet_ottc.utils.json_files import parsed_object

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"]|"")*)"|<(?P<flag>exists|absent)>|!(?P<comment>[^\n]*)'
    r"|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|(?P<other>\S+)"
)
# Tiers touch and end at times that differ by rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Tier:
    """A tier of a TextGrid.

    Attributes:
        name: of the tier.
        entries: start, end and label of each interval, in order; start and end are the same for a point.
        end: of the tier, in seconds.
        points: whether it has points in time instead of intervals.
    """

    name: str
    entries: tuple[tuple[float, float, str], ...]
    end: float
    points: bool = False


def read_tiers(path: str | Path, encoding: str | None = None) -> list[Tier]:
    """The tiers of a TextGrid in long, short or JSON form.

    Args:
        path: the file.
        encoding: of the file; None guesses (`espnet_ottc.utils.encodings.decoded`).

    Raises:
        ValueError: no TextGrid, one that breaks off, or intervals that overlap by more than a millisecond.
        OSError: the file cannot be read.
    """
    path = Path(path)
    text = decoded(path, encoding).lstrip("\ufeff")
    try:
        is_json = text.lstrip().startswith("{")
        tiers = _json_tiers(text) if is_json else list(_text_tiers(_tokens(text)))
        return [_checked(tier) for tier in tiers]
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, IndexError) as fault:
        raise ValueError(f"{path.stem}: cannot read TextGrid {path}: {fault}") from fault


def _tokens(text: str) -> Iterator[str | float]:
    """Strings, and numbers as floats; flags, comments and all else is passed over."""
    for match in _TOKEN.finditer(text):
        if match["string"] is not None:
            yield match["string"].replace('""', '"')
        elif match["number"] is not None:
            yield float(match["number"])


def _text_tiers(tokens: Iterator[str | float]) -> Iterator[Tier]:
    head = [_string(tokens), _string(tokens)]
    if head[1] != "TextGrid":
        raise ValueError(f"must be a TextGrid, is {head}")
    _number(tokens), _number(tokens)
    for _ in range(int(_number(tokens))):
        kind, name = _string(tokens), _string(tokens)
        if kind not in ("IntervalTier", "TextTier"):
            raise ValueError(f"tiers are IntervalTier or TextTier, got {kind!r}")
        _number(tokens)
        end = _number(tokens)
        entries = []
        for _ in range(int(_number(tokens))):
            start = _number(tokens)
            stop = _number(tokens) if kind == "IntervalTier" else start
            entries.append((start, stop, _string(tokens)))
        yield Tier(name, tuple(entries), end, kind == "TextTier")


def _next(tokens: Iterator[str | float]) -> str | float:
    found = next(tokens, None)
    if found is None:
        raise ValueError("it breaks off")
    return found


def _string(tokens: Iterator[str | float]) -> str:
    found = _next(tokens)
    if not isinstance(found, str):
        raise ValueError(f"a string must stand where {found} is")
    return found


def _number(tokens: Iterator[str | float]) -> float:
    found = _next(tokens)
    if isinstance(found, str):
        raise ValueError(f"a number must stand where {found[:40]!r} is")
    return found


def _json_tiers(text: str) -> list[Tier]:
    """praatio's form of its own: the tiers as JSON."""
    content = parsed_object(text, "its JSON")
    tiers = content["tiers"]
    named = tiers.items() if isinstance(tiers, dict) else [(tier["name"], tier) for tier in tiers]
    found = []
    for name, tier in named:
        points = tier.get("type", tier.get("class")) in ("point", "TextTier")
        end = float(
            tier.get("maxTimestamp", tier.get("xmax", content.get("end", content.get("xmax"))))
        )
        entries = [
            (float(entry[0]), float(entry[0] if points else entry[1]), str(entry[-1]))
            for entry in tier["entries"]
        ]
        found.append(Tier(name, tuple(entries), end, points))
    return found


def _checked(tier: Tier) -> Tier:
    """The tier with times that neither overlap nor are negative by a rounding."""
    last = 0.0
    entries = []
    for start, end, label in sorted(tier.entries, key=lambda entry: (entry[0], entry[1])):
        if start < last - _ROUNDING and not tier.points:
            raise ValueError(f"tier {tier.name!r}: intervals overlap at {start} s")
        start = max(start, last) if not tier.points else max(start, 0.0)
        if end < start - _ROUNDING:
            raise ValueError(f"tier {tier.name!r}: an interval ends at {end} s before {start} s")
        last = max(end, start)
        entries.append((start, last, label))
    return Tier(tier.name, tuple(entries), tier.end, tier.points)
