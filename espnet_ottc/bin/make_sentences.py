"""Write sentences of the synthetic corpora, as text alone: what a language model can learn from.

    python -m espnet_ottc.bin.make_sentences --count 20000 --out sentences.txt

None of them is in a development or test set; they are written as the transcripts, one a line.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _write(options))


def _write(options: argparse.Namespace) -> None:
    from espnet_ottc.synthesis.sentences import load_grammar, words_of
    from espnet_ottc.utils.files import written_aside

    grammar, draw = load_grammar(), random.Random(options.seed)
    with written_aside(options.out) as aside, aside.open("w", encoding="utf-8") as file:
        for _ in range(options.count):
            sentence = words_of(grammar.sentence(draw, "train"))
            file.write(" ".join(sentence).upper() + "\n")
    print(f"{options.count} sentences in {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=_positive, default=20000, help="default %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=1000)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
