"""Tables of numbers as plain text."""

from collections.abc import Sequence

from espnet_ottc.alignment.metrics import Interval


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right.

    Args:
        rows: of one length; the first is the header.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def number(value: float | None, decimals: int = 2) -> str:
    """A number for a table; `-` where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def interval_text(interval: Interval | None, scale: float = 1.0) -> str:
    """An interval for a table, times `scale`; `-` where there is none."""
    if interval is None:
        return "-"
    return f"[{scale * interval.low:.2f}, {scale * interval.high:.2f}]"


def interval_list(interval: Interval | None, scale: float = 1.0) -> list[float] | None:
    """An interval for JSON, times `scale`; None where there is none."""
    return None if interval is None else [scale * interval.low, scale * interval.high]
