"""Options that the two scoring commands share."""

import argparse
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.scoring import AUTO, DIALECTS, SILENCES, read_folding
from espnet_ottc.alignment.text.normal import FORMS


def add_scoring_options(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the options of both commands.

    Args:
        parser: to add to.
        files: which files `--ref` and `--hyp` may be, for their help.
    """
    parser.add_argument("--ref", type=Path, required=True, help=f"reference: {files}")
    parser.add_argument("--hyp", type=Path, required=True, help=f"hypothesis: {files}")
    parser.add_argument("--json", type=Path, help="also write the scores here")
    parser.add_argument("--tier", default="words", help="TextGrid tier to read")
    parser.add_argument(
        "--channel", help="channel of CTM or stm to read, where an utterance has several"
    )
    parser.add_argument("--hyp_channel", help="that of the hypothesis, where it is another")
    parser.add_argument(
        "--encoding", help="of text files (default: UTF-8; guessed for TextGrids), such as latin-1"
    )
    parser.add_argument(
        "--normalize",
        choices=FORMS,
        default="nfc",
        help="form in which words and ids are compared: none is letter for letter; nfc, the default, one "
        "normal form of Unicode without invisible characters; loose also straight quotes and plain hyphens",
    )
    parser.add_argument(
        "--dialect",
        choices=[AUTO, *DIALECTS],
        default=AUTO,
        help="whose symbols for silence and noise are left out; auto, the default, goes by the words",
    )
    add_flag(parser, "ignore_case", "compare words in lower case")
    parser.add_argument(
        "--skip",
        nargs="*",
        default=list(SILENCES),
        metavar="WORD",
        help="words left out on both sides (default: %(default)s)",
    )
    add_flag(
        parser,
        "missing_is_empty",
        "an utterance without hypothesis counts as empty instead of being an error",
    )
    add_flag(
        parser,
        "ignore_extra",
        "hypotheses without reference are left out instead of being an error",
    )
    parser.add_argument(
        "--fold",
        type=Path,
        metavar="FILE",
        help="score phones in classes; each line of the file has a phone and its class, and a phone "
        "without class is left out on both sides",
    )
    group = parser.add_argument_group("confidence intervals (bootstrap over utterances)")
    group.add_argument("--level", type=float, default=0.95, help="default: %(default)s")
    group.add_argument("--resamples", type=int, default=1000, help="default: %(default)s")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def add_flag(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """Add a flag; its name with dashes, as earlier versions had it, means the same.

    Args:
        parser: to add to.
        name: with underscores.
        what: its help.
    """
    parser.add_argument(f"--{name}", action="store_true", help=what)
    dashed = f"--{name.replace('_', '-')}"
    parser.add_argument(dashed, action="store_true", dest=name, help=argparse.SUPPRESS)


def shared_values(options: argparse.Namespace) -> dict[str, Any]:
    """What was given, as arguments of the options of `score_words` and of `score_times`.

    Args:
        options: what the parser read.

    Raises:
        ValueError: a malformed folding.
        OSError: the folding cannot be read.
    """

    names = ("ignore_case", "missing_is_empty", "ignore_extra", "level", "resamples", "seed")
    read = ("tier", "channel", "hyp_channel", "encoding", "normalize", "dialect")
    values = {name: getattr(options, name) for name in (*names, *read)}
    values["skip"] = tuple(options.skip)
    values["folding"] = None if options.fold is None else read_folding(options.fold)
    return values
