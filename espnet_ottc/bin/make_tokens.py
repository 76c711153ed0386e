"""Make ESPnet's token list from transcripts: characters, SentencePiece's BPE, or words.

    python -m espnet_ottc.bin.make_tokens --text data/train/text --out tokens.txt --token_type char

The list starts with `<blank>` and `<unk>` and ends with `<sos/eos>`, as ESPnet wants it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _make(options))


def _make(options: argparse.Namespace) -> None:
    from espnet_ottc.recipe.tokens import write_tokens

    count = write_tokens(
        options.text,
        options.out,
        token_type=options.token_type,
        nbpe=options.nbpe,
        bpe_model=options.bpe_model,
    )
    print(f"{count} tokens in {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--text", type=Path, required=True, help="Kaldi text of the training set")
    parser.add_argument("--out", type=Path, required=True, help="token list to write")
    parser.add_argument(
        "--token_type", choices=["char", "bpe", "word"], default="char", help="tokens"
    )
    parser.add_argument("--nbpe", type=int, default=500, help="size of the BPE vocabulary")
    parser.add_argument("--bpe_model", type=Path, help="SentencePiece model to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
