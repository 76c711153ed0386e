"""Progress for whoever waits: a bar on a terminal, a line every half minute in a log."""

import io
import sys
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS = 30.0
_LINE = "  {desc}: {n_fmt} of {total_fmt} in {elapsed}, {remaining} to go"
# Where nobody knows how many there are.
_ENDLESS = "  {desc}: {n_fmt} in {elapsed}"


def progress(
    items: Iterable[Any] | None = None, *, title: str, unit: str, total: int | None = None
) -> "tqdm":
    """tqdm's bar over `items` (or to `update()`), drawn as suits standard error.

    Args:
        items: to go through.
        title: what is done.
        unit: what is counted.
        total: number of items, where they have no length.
    """
    from espnet_ottc.utils.progress_bars import Bar  # late: a command's help needs no tqdm

    if sys.stderr.isatty():
        return Bar(items, desc=title, unit=unit, total=total, leave=False)
    known = total is not None or isinstance(items, Sized)
    return Bar(
        items,
        desc=title,
        unit=unit,
        total=total,
        leave=False,
        file=_Lines(),
        mininterval=_SECONDS,
        delay=_SECONDS,
        bar_format=_LINE if known else _ENDLESS,
        position=0,  # several at once would move the cursor
    )


class _Lines(io.TextIOBase):
    """Gives everything that tqdm draws over one another a line of its own."""

    def write(self, text: str) -> int:
        line = text.strip("\r\n")
        if line.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)
