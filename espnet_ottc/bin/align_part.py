"""Align a part of a set with a trained model: what the recipe's stages 6 and 9 hand to a worker.

`ottc-align` is the command for users.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.utils.commands import quiet_imports, run

if TYPE_CHECKING:
    from lhotse.cut import Cut


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="align_part", description=__doc__)
    parser.add_argument("--model", type=Path, help="parameters of a recogniser")
    parser.add_argument("--boundary", type=Path,
                        help="a boundary model, beside the recogniser or alone")  # fmt: skip
    parser.add_argument("--cuts", type=Path, required=True, help="the set")
    parser.add_argument("--shar", metavar="DIR", help="a stream with the set's audio")
    parser.add_argument("--first", type=int, required=True, help="place of the first utterance")
    parser.add_argument("--stop", type=int, required=True, help="place after the last")
    parser.add_argument("--aligner", nargs="+", required=True, metavar="NAME=ALIGNER",
                        help="aligners, each with the name of its results")  # fmt: skip
    parser.add_argument("--tokens", type=Path,
                        help="write the stream that trainings with these tokens take")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder for the part's files")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = get_parser().parse_args(arguments)
    return run(lambda: _align(options))


def _align(options: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    with quiet_imports():
        from espnet_ottc.alignment.formats import read_manifest
        from espnet_ottc.alignment.formats.shar import shar_part
    wanted = islice(read_manifest(options.cuts, "cuts"), options.first, options.stop)
    cuts: Iterable[Cut] = (
        wanted
        if options.shar is None
        else shar_part(options.shar, wanted, options.first, options.stop)
    )
    chosen = dict(text.split("=", 1) for text in options.aligner)
    if options.model is None:
        _align_by_boundaries(options, cuts, next(iter(chosen)))
    else:
        _align_by_recogniser(options, cuts, chosen)


def _align_by_recogniser(
    options: argparse.Namespace, cuts: Iterable["Cut"], chosen: Mapping[str, str]
) -> None:
    with quiet_imports():
        from espnet_ottc.alignment.boundary.model import BoundaryModel
        from espnet_ottc.alignment.parts import FOUND, GRID, write_utterance
        from espnet_ottc.espnet.cut_alignment import BoundarySearch
        from espnet_ottc.espnet.forced_alignment import (
            check_alignment_source,
            write_forced_alignment,
        )
        from espnet_ottc.espnet.trained_model import TrainedModel
    model = TrainedModel(options.model.parent, options.model.name, options.device)
    if options.boundary is None:
        aligners = {name: model.aligner(aligner) for name, aligner in chosen.items()}
    else:
        search = BoundarySearch(BoundaryModel.load(options.boundary))
        aligners = dict.fromkeys(chosen, search)
    if options.tokens is not None:
        check_alignment_source(model, options.tokens)
        (aligner,) = aligners.values()
        for utterance in write_forced_alignment(model, cuts, aligner, options.out):
            print(f"aligned: {utterance}", flush=True)
        return
    with (options.out / FOUND).open("w", encoding="utf-8") as file:
        for found in model.aligned(cuts, aligners):
            times = {
                name: found.infeasible.get(name) or (found.words[name], found.tokens[name])
                for name in aligners
            }
            write_utterance(file, found.utterance, found.duration, found.frame_labels, times)
            print(f"aligned: {found.utterance}", flush=True)
    grid = {"shift": model.grid.shift, "offset": model.grid.offset}
    (options.out / GRID).write_text(json.dumps(grid) + "\n", encoding="utf-8")


def _align_by_boundaries(options: argparse.Namespace, cuts: Iterable["Cut"], name: str) -> None:
    """Without a recogniser there are no labels of frames, and no grid."""
    from espnet_ottc.alignment.boundary.cuts import align_cuts
    from espnet_ottc.alignment.boundary.model import BoundaryModel
    from espnet_ottc.alignment.parts import FOUND, write_utterance

    model = BoundaryModel.load(options.boundary)
    with (options.out / FOUND).open("w", encoding="utf-8") as file:
        for cut in cuts:
            times, durations = align_cuts(model, [cut])
            why = times.infeasible.get(cut.id)
            found = why or (times.words[cut.id], times.tokens[cut.id])
            write_utterance(file, cut.id, durations[cut.id], [], {name: found})
            print(f"aligned: {cut.id}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
