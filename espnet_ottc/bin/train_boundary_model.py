"""Train a boundary model on Lhotse cuts, as the recipes' systems without a recogniser are.

    python -m espnet_ottc.bin.train_boundary_model --cuts cuts.jsonl.gz --config train.yaml --out DIR

The YAML's `boundary_conf` says what it is like.  `ottc-align --train` trains one without a recipe.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ottc.utils.commands import run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _train(options))


def _train(options: argparse.Namespace) -> None:
    # Late: a command's help needs none of it.
    import yaml

    from espnet_ottc.alignment.boundary.cuts import spoken_cut
    from espnet_ottc.alignment.boundary.options import parse_boundary_conf
    from espnet_ottc.alignment.boundary.session import train_into
    from espnet_ottc.alignment.formats import read_manifest
    from espnet_ottc.alignment.formats.shar import shar_part

    content = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    conf = parse_boundary_conf(content["boundary_conf"])
    cuts = read_manifest(options.cuts, "cuts")
    if options.shar is not None:
        # Their audio stays in memory as it is stored.
        cuts = shar_part(options.shar, cuts)
    utterances = [spoken_cut(cut) for cut in cuts]
    words = (word for utterance in utterances for word in utterance.words)
    lexicon = conf.lexicon(words, whole=options.whole_words)
    suited = conf.suited((utterance.words for utterance in utterances), lexicon)
    config = replace(suited, seed=options.seed)
    # Its scores will show what a model is worth that found no words.
    trained = train_into(options.out, utterances, config, lexicon, anyway=True)
    if not trained.convergence.converged:
        say(f"warning: the training did not find the words: {trained.convergence}")
    say(f"{options.out}: {len(trained.rounds)} rounds; {trained.convergence}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cuts", type=Path, required=True, help="manifest of cuts with texts")
    parser.add_argument("--shar", metavar="DIR", help="a stream with the manifest's audio")
    parser.add_argument("--config", type=Path, required=True, help="YAML with boundary_conf")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    parser.add_argument(
        "--whole_words", action="store_true", help="the words are tokens, perhaps phones"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
