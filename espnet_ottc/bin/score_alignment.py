"""Scores of word (or phone) times against a reference.

    ottc-score-times --ref ref.ctm --hyp hyp.ctm [--json scores.json]

Reads CTM, TextGrid (a file or a folder) and Lhotse supervisions or cuts of any tool, in any pairing.  With
the model's label of every frame (`--frames`), peakiness too.  Exit status: 0; 1 for a fault of the
input (an utterance on one side only, a malformed file); 2 for wrong options.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.alignment.scoring import TimesScoringOptions, score_time_files
from espnet_ottc.bin.scoring_options import add_scoring_options, shared_values
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.files import write_json


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    defaults = TimesScoringOptions()
    options = argparse.ArgumentParser(
        prog="ottc-score-times",
        description="Start F1, IDR, IoU, boundary errors, coverage and peakiness.",
    )
    add_scoring_options(
        options, "*.ctm, *.TextGrid, a folder of TextGrids, Lhotse supervisions or cuts"
    )
    options.add_argument(
        "--collar",
        type=float,
        default=defaults.collar,
        help="seconds by which a start may be off (default: %(default)s)",
    )
    options.add_argument(
        "--inner",
        type=Path,
        metavar="FILE",
        help="a second reference of the same words, inside of the first: a boundary between both has no "
        "error",
    )
    group = options.add_argument_group("peakiness")
    group.add_argument(
        "--frames", type=Path, help="Kaldi text: utterance id and the label of each frame"
    )
    group.add_argument(
        "--special",
        nargs="+",
        default=list(defaults.special),
        metavar="LABEL",
        help="labels that are no speech, as the blank or a silence phone; the time that the reference "
        "has for them is real silence (default: %(default)s)",
    )
    group.add_argument(
        "--durations",
        type=Path,
        help="Kaldi utt2dur: seconds of each utterance, to subtract the reference's real silence",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(lambda: score(options))


def score(options: argparse.Namespace) -> None:
    """Score as the options say; print the table, and write the scores where `--json` says."""
    scoring = TimesScoringOptions(
        collar=options.collar, special=tuple(options.special), **shared_values(options)
    )
    report = score_time_files(
        options.ref,
        options.hyp,
        scoring,
        inner=options.inner,
        frames=options.frames,
        durations=options.durations,
    )
    print(report.as_text())
    if options.json is not None:
        write_json(options.json, report.as_json())


if __name__ == "__main__":
    sys.exit(main())
