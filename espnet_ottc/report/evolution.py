"""The alignment of one utterance over the epochs of a training (the paper's Figure 5).

OTTC's trainer leaves `alignments/<epoch>epoch.json`: {utterance: {frames, labels (token ids), starts
(frames), alpha}}.  ESPnet's `config.yaml` names the tokens.  `frame_grid.json` ({"shift": seconds,
"offset": seconds}) says where frames lie in time; without it the frames are spread evenly over the
utterance.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_ottc.alignment.spans import FrameGrid, Span, words_from_tokens
from espnet_ottc.utils.json_files import read_json_object

ALIGNMENT_DIR = "alignments"
GRID_FILE = "frame_grid.json"
_NAME = re.compile(r"(\d+)epoch\.json")


@dataclass(frozen=True)
class Snapshot:
    """The alignment of one utterance after one epoch.

    Attributes:
        epoch: 1, 2, ...
        alpha: (T,) frame weights, sum 1.
        tokens: (U,) spans of the labels of the plan, in seconds.
        words: spans of the words that they make.
    """

    epoch: int
    alpha: tuple[float, ...]
    tokens: tuple[Span, ...]
    words: tuple[Span, ...]


@dataclass(frozen=True)
class Evolution:
    """The same utterance over several epochs.

    Attributes:
        utterance: its id.
        grid: where its frames lie in time.
        grid_known: False where the frames were only spread over the utterance.
        snapshots: by epoch.
        epochs: how many epochs left a snapshot.
    """

    utterance: str
    grid: FrameGrid
    grid_known: bool
    snapshots: tuple[Snapshot, ...]
    epochs: int


def snapshot_files(directory: Path) -> dict[int, Path]:
    """Epoch -> file of the snapshots under ESPnet's output directory.

    Raises:
        FileNotFoundError: there are none.
    """
    found = {}
    for path in (directory / ALIGNMENT_DIR).glob("*epoch.json"):
        match = _NAME.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    if not found:
        raise FileNotFoundError(
            f"{directory / ALIGNMENT_DIR}: no snapshots of the alignment (<epoch>epoch.json)"
        )
    return dict(sorted(found.items()))


def followed_utterance(directory: Path) -> str:
    """The utterance in most snapshots; among equals the first of the last snapshot.

    Raises:
        FileNotFoundError: no snapshots.
        ValueError: a file that is no such snapshot; snapshots without utterances.
    """
    seen: Counter[str] = Counter()
    order: list[str] = []
    for path in snapshot_files(directory).values():
        order = list(read_json_object(path))
        seen.update(order)
    if not seen:
        raise ValueError(f"{directory / ALIGNMENT_DIR}: the snapshots hold no utterance")
    most = max(seen.values())
    return next(name for name in (*order, *seen) if seen[name] == most)


def read_evolution(directory: Path, utterance: str, duration: float, count: int = 6) -> Evolution:
    """Read an utterance's alignment after up to `count` epochs, from the first to the last.

    Args:
        directory: ESPnet's output directory.
        utterance: its id.
        duration: its length in seconds, > 0.
        count: how many epochs, at least 2; early ones, where most changes, lie closer.

    Raises:
        FileNotFoundError: no snapshots, no `config.yaml`.
        ValueError: a malformed file.
    """
    symbols, token_type = _tokens(directory / "config.yaml")
    entries = {}
    for epoch, path in snapshot_files(directory).items():
        entry = read_json_object(path).get(utterance)
        if entry is not None:
            entries[epoch] = (_checked(entry, utterance, path, len(symbols)), path)
    if not entries:
        raise ValueError(f"{utterance}: no snapshot under {directory / ALIGNMENT_DIR} has it")
    frames = len(next(iter(entries.values()))[0]["alpha"])
    known = (directory / GRID_FILE).exists()
    grid = _grid(directory / GRID_FILE) if known else FrameGrid(duration / frames)
    snapshots = tuple(
        _snapshot(epoch, entries[epoch][0], symbols, token_type, grid, duration)
        for epoch in chosen_epochs(list(entries), count)
    )
    return Evolution(utterance, grid, known, snapshots, len(entries))


def chosen_epochs(epochs: Sequence[int], count: int) -> list[int]:
    """At most `count` of these epochs: the first, the last, and others at growing distances."""
    ordered = sorted(epochs)
    if len(ordered) <= count:
        return ordered
    last = len(ordered) - 1
    places = {round((last + 1) ** (step / (count - 1))) - 1 for step in range(count)}
    places |= {0, last}
    # Rounding makes early places meet; fill up with the earliest that are left.
    for place in range(last):
        if len(places) >= count:
            break
        places.add(place)
    return [ordered[place] for place in sorted(places)]


def _snapshot(
    epoch: int,
    entry: Mapping[str, Any],
    symbols: Sequence[str],
    token_type: str,
    grid: FrameGrid,
    duration: float,
) -> Snapshot:
    starts = [float(start) for start in entry["starts"]]
    ends = [*starts[1:], float(len(entry["alpha"]))]
    tokens = [
        grid.span(symbols[label], start, end, duration=duration)
        for label, start, end in zip(entry["labels"], starts, ends, strict=True)
    ]
    words = words_from_tokens(tokens, token_type)
    return Snapshot(epoch, tuple(map(float, entry["alpha"])), tuple(tokens), tuple(words))


def _checked(entry: Any, utterance: str, path: Path, vocabulary: int) -> Mapping[str, Any]:
    rule = f"{utterance}: {path} must hold alpha, labels and as many starts"
    if not isinstance(entry, dict):
        raise ValueError(f"{rule}, got a {type(entry).__name__}")
    alpha, labels, starts = (entry.get(name) for name in ("alpha", "labels", "starts"))
    if not (isinstance(alpha, list) and isinstance(labels, list) and isinstance(starts, list)):
        raise ValueError(f"{rule}, got {sorted(entry)}")
    if not alpha or not labels or len(labels) != len(starts):
        raise ValueError(f"{rule}, got {len(alpha)}, {len(labels)} and {len(starts)}")
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in (*alpha, *starts)):
        raise ValueError(f"{rule}; they must be finite numbers")
    if starts != sorted(starts) or not 0 <= starts[0] <= starts[-1] <= len(alpha):
        raise ValueError(f"{rule}; starts must be in order and among the frames, got {starts}")
    if not all(isinstance(label, int) and 0 <= label < vocabulary for label in labels):
        raise ValueError(f"{rule}; labels must be ids below {vocabulary}, got {labels}")
    return entry


def _tokens(path: Path) -> tuple[list[str], str]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise ValueError(f"{path}: must be YAML: {fault}") from fault
    found = config.get("token_list") if isinstance(config, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"{path}: must have the list token_list")
    return [str(symbol) for symbol in found], str(config.get("token_type") or "char")


def _grid(path: Path) -> FrameGrid:
    found = read_json_object(path)
    try:
        return FrameGrid(float(found["shift"]), float(found.get("offset", 0.0)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: must hold shift and offset in seconds: {error!r}") from error
