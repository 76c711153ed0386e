"""Alignments of parts of a set, as processes of their own leave them for the one that puts them together."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.writing import Times

# Files of a part.
GRID = "frame_grid.json"
FOUND = "found.jsonl"


@dataclass
class SetAlignments:
    """Alignments of a set.

    Attributes:
        times: spans in seconds of words and tokens, and what is infeasible, by aligner.
        frame_labels: the model's best token of each frame, by utterance id.
        durations: seconds, by utterance id.
    """

    times: dict[str, Times]
    frame_labels: dict[str, list[str]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)


def write_utterance(
    file: TextIO,
    utterance: str,
    duration: float,
    frame_labels: Sequence[str],
    times: Mapping[str, tuple[Sequence[Span], Sequence[Span]] | str],
) -> None:
    """Write what `read_parts` reads of an utterance.

    Args:
        file: `FOUND` of a part.
        utterance: id.
        duration: seconds.
        frame_labels: the model's best token of each frame.
        times: spans of words and of tokens, or why there are none, by aligner.
    """
    found = {
        name: one if isinstance(one, str) else [list(map(_values, spans)) for spans in one]
        for name, one in times.items()
    }
    file.write(json.dumps([utterance, duration, list(frame_labels), found]) + "\n")


def read_parts(folders: Iterable[Path], aligners: Iterable[str]) -> SetAlignments:
    """Put parts together; floats are those that were written, to the last bit.

    Args:
        folders: of the parts, in the set's order.
        aligners: names of the results.
    """
    whole = SetAlignments({name: Times() for name in aligners})
    for folder in folders:
        with (folder / FOUND).open(encoding="utf-8") as file:
            for line in file:
                utterance, duration, labels, found = json.loads(line)
                whole.durations[utterance] = duration
                whole.frame_labels[utterance] = labels
                for name, one in found.items():
                    times = whole.times[name]
                    if isinstance(one, str):
                        times.infeasible[utterance] = one
                    else:
                        words, tokens = (list(map(_span, spans)) for spans in one)
                        times.words[utterance], times.tokens[utterance] = words, tokens
    return whole


def _values(span: Span) -> list[Any]:
    return [span.symbol, span.start, span.end, span.score]


def _span(values: list[Any]) -> Span:
    return Span(*values)
