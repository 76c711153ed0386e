"""The files of an alignment: its times in every format, and what has none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ottc.alignment.formats import (
    SpansById,
    fit_textgrid,
    write_ctm,
    write_supervisions,
    write_textgrid,
)
from espnet_ottc.utils.escapes import file_for
from espnet_ottc.utils.files import folder_written_aside, written_aside


@dataclass
class Times:
    """The times that one aligner found.

    Attributes:
        words: spans in seconds, by utterance id.
        tokens: the same of the model's tokens.
        infeasible: utterance id -> why it could not be aligned; it has no spans then.
    """

    words: SpansById = field(default_factory=dict)
    tokens: SpansById = field(default_factory=dict)
    infeasible: dict[str, str] = field(default_factory=dict)


def write_times(out: Path, times: Times, durations: Mapping[str, float]) -> tuple[Path, ...]:
    """Write times in every format that other tools read.

    Args:
        out: folder for `words.ctm`, `tokens.ctm`, `words.jsonl.gz` (Lhotse supervisions with the
            alignments `word` and `token`), `textgrid/` (a file for each utterance, tiers `words` and
            `tokens`) and `infeasible`.
        times: of words and tokens, for the same utterances.
        durations: seconds of each utterance.

    Returns:
        The paths, in this order.

    Raises:
        ValueError: what a format cannot hold (see `espnet_ottc.alignment.formats`); a missing duration.
        OSError: a file cannot be written.
    """
    names = ("words.ctm", "tokens.ctm", "words.jsonl.gz", "textgrid", "infeasible")
    paths = tuple(out / name for name in names)
    words, tokens, supervisions, grids, infeasible = paths
    write_ctm(words, times.words)
    write_ctm(tokens, times.tokens)
    write_supervisions(supervisions, times.words, durations, others={"token": times.tokens})
    with folder_written_aside(grids) as aside:
        for name, spans in times.words.items():
            tiers = {"words": spans, "tokens": times.tokens[name]}
            fitted = {
                tier: fit_textgrid(content, durations[name]) for tier, content in tiers.items()
            }
            write_textgrid(file_for(aside, name, ".TextGrid"), fitted, durations[name])
    write_infeasible(infeasible, times.infeasible)
    return paths


def write_infeasible(path: Path, infeasible: Mapping[str, str]) -> None:
    """Write the utterances that could not be aligned: a line is an id and the reason."""
    with written_aside(path) as aside:
        lines = (f"{name} {why}\n" for name, why in infeasible.items())
        aside.write_text("".join(lines), encoding="utf-8")
