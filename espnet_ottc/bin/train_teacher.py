"""Train the small masked language model that teaches a recogniser, on text alone.

    python -m espnet_ottc.bin.train_teacher --text corpus.txt --token_list tokens.txt --out teacher.pth

`--text` has one sentence a line; `--transcripts` are Kaldi texts, whose lines begin with an utterance's id.
Sentences of `--leave_out`, such as those of the evaluation sets, are not trained on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _train(options))


def _train(options: argparse.Namespace) -> None:
    from espnet_ottc.espnet.transfer.masked_lm import MaskedLMTraining
    from espnet_ottc.espnet.transfer.teaching_text import TokenMaker, read_sentences, train_on_text

    sentences = read_sentences(options.text, options.transcripts, options.leave_out)
    maker = TokenMaker(options.token_list, options.token_type, options.bpemodel)
    training = MaskedLMTraining(steps=options.steps, seed=options.seed)
    train_on_text(
        sentences, maker, options.out, training,
        size=options.size, layers=options.layers, heads=options.heads, say=print,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, what in (
        ("--text", "texts, one sentence a line"),
        ("--transcripts", "Kaldi texts"),
        ("--leave_out", "Kaldi texts of sentences to leave out"),
    ):
        parser.add_argument(option, type=Path, nargs="+", default=[], metavar="FILE", help=what)
    parser.add_argument("--token_list", type=Path, required=True, help="the recogniser's tokens")
    parser.add_argument("--token_type", choices=["char", "bpe", "word"], default="char")
    parser.add_argument("--bpemodel", type=Path, help="SentencePiece's model, for bpe")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--steps", type=int, default=2000, help="updates (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="of states (default %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="default %(default)s")
    parser.add_argument("--heads", type=int, default=4, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
