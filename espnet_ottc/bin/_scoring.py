"""What the scoring commands share: their options, tables, JSON files and exit status."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.metrics import Interval
from espnet_ottc.utils.files import written_aside

# Words that some tools write for silence; they are neither right nor wrong.
SILENCES = ("<eps>", "<sil>")


def add_common_options(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the options of both commands; `files` says which files `--ref` and `--hyp` may be."""
    parser.add_argument("--ref", type=Path, required=True, help=f"reference: {files}")
    parser.add_argument("--hyp", type=Path, required=True, help=f"hypothesis: {files}")
    parser.add_argument("--json", type=Path, help="also write the scores here")
    parser.add_argument("--tier", default="words", help="TextGrid tier to read")
    parser.add_argument("--channel", help="CTM channel to read, where an utterance has several")
    parser.add_argument("--ignore-case", action="store_true", help="compare words in lower case")
    parser.add_argument(
        "--skip",
        nargs="*",
        default=list(SILENCES),
        metavar="WORD",
        help="words left out on both sides (default: %(default)s)",
    )
    parser.add_argument(
        "--missing-is-empty",
        action="store_true",
        help="an utterance without hypothesis counts as empty instead of being an error",
    )
    parser.add_argument(
        "--ignore-extra",
        action="store_true",
        help="hypotheses without reference are left out instead of being an error",
    )
    parser.add_argument(
        "--fold",
        type=Path,
        metavar="FILE",
        help="what is scored are phones, in classes: lines of a phone and its class; a phone without "
        "class is left out on both sides",
    )
    group = parser.add_argument_group("confidence intervals (bootstrap over utterances)")
    group.add_argument("--level", type=float, default=0.95, help="default: %(default)s")
    group.add_argument("--resamples", type=int, default=1000, help="default: %(default)s")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def unit_of(options: argparse.Namespace) -> str:
    """What is scored: "word", or with a folding "phone"."""
    return "word" if options.fold is None else "phone"


def read_folding(path: Path | None) -> dict[str, str]:
    """The class of each phone, empty for one that is left out; nothing without a file.

    Lines that start with `# ` are comments (`h#` is a phone).  A symbol that the file does not have stays
    what it is.

    Raises:
        ValueError: a line with more than a phone and its class, or a phone twice.
    """
    folding: dict[str, str] = {}
    if path is None:
        return folding
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("# "):
            continue
        if len(fields) > 2 or fields[0] in folding:
            raise ValueError(f"{path}:{number}: must be a new phone and its class, got {line!r}")
        folding[fields[0]] = fields[1] if len(fields) == 2 else ""
    return folding


def write_json(path: Path, scores: Mapping[str, Any]) -> None:
    """Write scores as JSON, aside and renamed; what does not exist is null."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(scores, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
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
    """An interval for a table, times `scale`."""
    if interval is None:
        return "-"
    return f"[{scale * interval.low:.2f}, {scale * interval.high:.2f}]"


def interval_list(interval: Interval | None, scale: float = 1.0) -> list[float] | None:
    """An interval for JSON, times `scale`."""
    return None if interval is None else [scale * interval.low, scale * interval.high]
