"""Progress for whoever waits: a table of what runs on a terminal, a line every half minute in a log."""

import io
import shutil
import sys
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS = 30.0
_LINE = "  {desc}: {n_fmt} of {total_fmt} in {elapsed}, {remaining} to go"
# Where nobody knows how many there are.
_ENDLESS = "  {desc}: {n_fmt} in {elapsed}"
# Columns of a row on a terminal, behind its title.
_SHARE = "{percentage:3.0f}% |{bar:10}| "
_KNOWN = _SHARE + "{n_fmt:>7} of {total_fmt:<7} {elapsed:>7}, {remaining} to go"
_UNKNOWN = " " * 18 + "{n_fmt:>7} {elapsed:>18}"
_LEAST_TITLE, _MOST_TITLE = 20, 60


def progress(
    items: Iterable[Any] | None = None, *, title: str, unit: str, total: int | None = None
) -> "tqdm":
    """tqdm's bar over `items` (or to `update()`), drawn as suits standard error.

    Several at a time are rows of one table on a terminal: titles, shares, counts and times stand below each
    other.

    Args:
        items: to go through.
        title: what is done.
        unit: what is counted.
        total: number of items, where they have no length.
    """
    from espnet_ottc.utils.progress_bars import Bar  # late: a command's help needs no tqdm

    known = total is not None or isinstance(items, Sized)
    if sys.stderr.isatty():
        row = terminal_row(_KNOWN if known else _UNKNOWN)
        return Bar(items, desc=title, unit=unit, total=total, leave=False, bar_format=row)
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


def terminal_row(columns: str) -> str:
    """The format of a row of the table on a terminal.

    Args:
        columns: behind the title, as tqdm's formats have them.
    """
    width = shutil.get_terminal_size().columns - 62
    width = min(max(width, _LEAST_TITLE), _MOST_TITLE)
    return f"{{desc:<{width}.{width}}} {columns}"


class _Lines(io.TextIOBase):
    """Gives everything that tqdm draws over one another a line of its own."""

    def write(self, text: str) -> int:
        line = text.strip("\r\n")
        if line.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)
