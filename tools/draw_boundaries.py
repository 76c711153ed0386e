"""Draw the boundaries that aligners found, over an utterance's spectrogram: the picture of docs/times.md.

    R=egs2/librispeech_ottc
    python tools/draw_boundaries.py --cuts $R/data/test-clean/cuts.jsonl.gz --out boundaries.svg \\
        --alignments $R/exp/{ottc/seed1/align_viterbi,narrow/seed1/align_boundary}/test-clean

Reads what stage 9 of a recipe has written.  Without `--utterance` one is chosen by rule, as the report does.
Exit status: 0; 1 for a fault of the input; 2 for wrong options.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.alignment.formats import ctm_ids, read_manifest
from espnet_ottc.report.figures import utterance_figure
from espnet_ottc.report.utterances import SystemTimes, choose_cuts, load_utterance
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.files import written_aside

_SEED = re.compile(r"seed(\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _draw(options))


def read_system(folder: Path) -> SystemTimes:
    """The times in `<system>/seed<N>/align_<decoder>/<set>`.

    Raises:
        ValueError: a folder of another name.
        OSError: there are no times in it.
    """
    training, seed = folder.parents[1], _SEED.fullmatch(folder.parents[1].name)
    decoder = folder.parent.name
    if seed is None or not decoder.startswith("align_"):
        raise ValueError(f"{folder}: must be <system>/seed<N>/align_<decoder>/<set>")
    return SystemTimes(
        training.parent.name,
        decoder.removeprefix("align_"),
        int(seed[1]),
        folder / "words.ctm",
        None,
        frozenset(ctm_ids(folder / "words.ctm")),
    )


def _draw(options: argparse.Namespace) -> None:
    systems = [read_system(folder) for folder in options.alignments]
    if options.utterance is None:
        cuts = choose_cuts(options.cuts, 1, systems)
    else:
        cuts = list(read_manifest(options.cuts, "cuts", only={options.utterance}))
    if not cuts:
        raise ValueError(f"{options.cuts} has no utterance {options.utterance or ''}".rstrip())
    (cut,) = cuts
    lanes = [system.lanes([cut.id])[cut.id] for system in systems]
    names = list(dict.fromkeys(system.system for system in systems))
    svg = utterance_figure(load_utterance(cut, lanes), names, "boundaries")
    with written_aside(options.out) as aside:
        aside.write_text(svg, encoding="utf-8")
    print(f"{options.out}: {cut.id}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/draw_boundaries.py",
        description="Draw the boundaries that aligners found over an utterance's spectrogram.",
        allow_abbrev=False,
    )
    parser.add_argument("--cuts", type=Path, required=True, help="with reference times")
    parser.add_argument("--alignments", type=Path, nargs="+", required=True, metavar="DIR",
                        help="<system>/seed<N>/align_<decoder>/<set>, from top to bottom")  # fmt: skip
    parser.add_argument("--utterance", metavar="ID")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.svg")
    return parser


if __name__ == "__main__":
    sys.exit(main())
