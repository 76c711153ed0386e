"""Word and character error rates of a hypothesis.

    ottc-score-words --ref ref.txt --hyp hyp.txt [--json scores.json]

Reads Kaldi text (`id word word ...`), sclite's trn, stm and, for their words, CTM, TextGrid and Lhotse
supervisions and cuts.  With
`--fold` the words are phones: `wer` is their error rate, and there is no `cer`.
Exit status: 0; 1 for a fault of the input (an utterance on one side only, a malformed file); 2 for
wrong options.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.alignment.scoring import WordScoringOptions, read_glm, score_word_files
from espnet_ottc.bin.scoring_options import add_flag, add_scoring_options, shared_values
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.files import write_json


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="ottc-score-words",
        description="Word and character error rates with sclite's counts and bootstrap intervals.",
    )
    add_scoring_options(
        options,
        "Kaldi text, *.trn, *.stm, *.ctm, *.TextGrid, a folder of TextGrids, Lhotse supervisions or cuts",
    )
    add_flag(
        options,
        "sclite_costs",
        "align with sclite's costs (substitution 4, others 3) instead of equal ones",
    )
    options.add_argument(
        "--glm",
        type=Path,
        metavar="FILE",
        help="a global mapping file of NIST: spellings that count as the same; words that it puts in "
        "parentheses may be missing",
    )
    add_flag(options, "no_characters", "leave the error rate of characters out")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(lambda: score(options))


def score(options: argparse.Namespace) -> None:
    """Score as the options say; print the table, and write the scores where `--json` says."""
    scoring = WordScoringOptions(
        sclite_costs=options.sclite_costs,
        mapping=None if options.glm is None else read_glm(options.glm),
        characters=not options.no_characters,
        **shared_values(options),
    )
    report = score_word_files(options.ref, options.hyp, scoring)
    print(report.as_text())
    if options.json is not None:
        write_json(options.json, report.as_json())


if __name__ == "__main__":
    sys.exit(main())
