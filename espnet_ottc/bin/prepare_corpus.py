"""Prepare a corpus, or another in its layout: Lhotse manifests, then checked cuts.

Examples:
  ottc-prepare manifests --corpus LibriSpeech --out manifests
  ottc-prepare --layout ami manifests --corpus amicorpus --out manifests
  ottc-prepare cuts --manifests manifests --out data \\
      --sets train_960=train-clean-100,train-clean-360,train-other-500 dev-clean test-clean
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.recipe.corpora import CORPORA
from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 1 where the corpus has problems."""
    options = _parser().parse_args(arguments)
    return run(lambda: (_manifests if options.command == "manifests" else _cuts)(options))


def _manifests(options: argparse.Namespace) -> None:
    # Late, since what is prepared needs packages that the help does without.
    from espnet_ottc.recipe.data import say_part

    preparation = CORPORA[options.layout].preparation
    parts = options.parts or preparation.present_parts(options.corpus)
    absent = [part for part in preparation.KNOWN_PARTS if part not in parts]
    if absent and not options.parts:
        print(f"absent from {options.corpus}: {', '.join(absent)}")
    for done in preparation.prepare_parts(
        options.corpus, parts, options.out, alignments=options.alignments, nj=options.nj
    ):
        say_part(done, options.out)


def _cuts(options: argparse.Namespace) -> None:
    from espnet_ottc.recipe.data import write_sets

    write_sets(
        CORPORA[options.layout].preparation,
        options.manifests,
        options.out,
        dict(options.sets),
        nj=options.nj,
        drop_bad_alignments=options.drop_bad_alignments,
        decode=not options.skip_decoding,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ottc-prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--layout", choices=sorted(CORPORA), default="librispeech", help="default: librispeech"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    manifests = commands.add_parser(
        "manifests", help="corpus directory -> manifests of recordings and supervisions"
    )
    manifests.add_argument("--corpus", type=Path, required=True, help="directory with the parts")
    manifests.add_argument("--out", type=Path, required=True, help="directory of the manifests")
    manifests.add_argument(
        "--parts", nargs="+", default=[], metavar="PART", help="default: all that are present"
    )
    manifests.add_argument(
        "--alignments",
        type=Path,
        help="directory with the parts' *.alignment.txt (default: beside the transcripts)",
    )
    manifests.add_argument("--nj", type=_positive, default=1, help="threads (default: 1)")
    cuts = commands.add_parser(
        "cuts", help="manifests -> OUT/SET/cuts.jsonl.gz and OUT/SET/text, every utterance checked"
    )
    cuts.add_argument("--manifests", type=Path, required=True, help="directory of the manifests")
    cuts.add_argument("--out", type=Path, required=True, help="directory of the sets")
    cuts.add_argument(
        "--sets",
        nargs="+",
        type=_set,
        required=True,
        metavar="SET",
        help="a part, or NAME=PART,PART for a set of several",
    )
    cuts.add_argument("--nj", type=_positive, default=1, help="threads (default: 1)")
    cuts.add_argument(
        "--drop_bad_alignments",
        action="store_true",
        help="keep utterances whose alignment does not match their text, without word times",
    )
    cuts.add_argument(
        "--skip_decoding", action="store_true", help="do not read all audio to find broken files"
    )
    return parser


def _set(text: str) -> tuple[str, list[str]]:
    name, equals, parts = text.partition("=")
    names = parts.split(",") if equals else [name]
    if not name or not all(names):
        raise argparse.ArgumentTypeError(f"must be PART or NAME=PART,PART, got {text!r}")
    return name, names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
