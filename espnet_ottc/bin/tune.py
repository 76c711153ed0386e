"""Sharper times for a model that is there: a boundary model beside it, learnt from recordings.

    ottc-tune --model MODEL --data DIR --out tuned
    ottc-align talk.mp3 --text talk.txt --model tuned

The recogniser stays as it is.  Texts lie beside the recordings, as `ottc-align` finds them; the model
recognises what has none.  With `--adapt` the boundary model that the model has goes on to learn.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.utils.commands import check_file, check_folder, check_other_folder, run, say
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    from espnet_ottc.aligner.aligner import AlignerOptions
    from espnet_ottc.aligner.utterance import Utterance


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _tune(options), every_fault=True)


def _tune(options: argparse.Namespace) -> None:
    require_extra("align", "ottc-tune")
    check_folder("--out", options.out)
    if options.adapt and options.lexicon is not None:
        raise ValueError("--lexicon has no use with --adapt: the model has a spelling of its own")
    for name in ("lexicon", "weights"):
        check_file(f"--{name}", getattr(options, name))
    # Late: a command's help needs none of it.
    from espnet_ottc.aligner.aligner import AlignerOptions
    from espnet_ottc.aligner.inputs import InputOptions, gather
    from espnet_ottc.aligner.lhotse_cuts import heard
    from espnet_ottc.aligner.models.registry import check_device

    logging.captureWarnings(True)
    check_device(options.device)
    reading = InputOptions(options.text, options.recognise, options.tier, options.channel)
    gathered = gather(options.data, reading)
    for failure in gathered.failures:
        say(f"left out: {failure.source or failure.id}: {failure.reason}")
    if not gathered.utterances:
        raise ValueError(f"there is nothing to learn from in {', '.join(options.data)}")
    how = AlignerOptions(decoder=options.decoder, language=options.language, vad=not options.no_vad)
    tune_model(options, how, list(heard(gathered.utterances)), options.out)


def tune_model(
    options: argparse.Namespace,
    how: "AlignerOptions",
    utterances: "Sequence[Utterance]",
    out: Path,
) -> str:
    """Tune the model that the options name; returns the tuned model's folder.

    Args:
        options: with `model`, `device`, `language`, `weights`, `lexicon`, `adapt` and `again`.
        how: the aligner works.
        utterances: to learn from.
        out: folder for the tuned model.

    Raises:
        ValueError: a model that recognises nothing, nothing to learn from, or no boundary model to adapt.
    """
    from espnet_ottc.aligner.aligner import Aligner
    from espnet_ottc.aligner.tuning import Recogniser, tune
    from espnet_ottc.alignment.boundary.model import is_boundary_model

    if is_boundary_model(Path(options.model)):
        raise ValueError(
            f"{options.model} is a boundary model itself: there is no recogniser to tune; ottc-align --adapt "
            "adapts it"
        )
    check_other_folder(options.model, out)
    aligner = Aligner.from_pretrained(
        options.model,
        how,
        device=options.device,
        language=options.language,
        weights=options.weights,
    )
    start = aligner.model.boundary_model if options.adapt else None
    if options.adapt and start is None:
        raise ValueError(f"{options.model} has no boundary model to adapt: leave out --adapt")
    trained = tune(
        out,
        aligner,
        utterances,
        Recogniser.of(options.model, out, options.language, options.weights),
        lexicon=options.lexicon,
        start=start,
        again=options.again,
        on_recognised=lambda count: say(f"{count} recordings without text were recognised"),
    )
    rounds = f"{len(trained.rounds)} rounds" if trained.fresh else "trained by an earlier run"
    say(f"{out}: {rounds}; {trained.convergence}")
    return str(out)


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="ottc-tune",
        description="Sharper times for a model with CTC or OTTC, learnt from recordings; the recogniser "
        "stays as it is.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--model", required=True,
                         help="an experiment of ESPnet or its packed archive, espnet:TAG, torchaudio:BUNDLE, "
                         "hf:NAME, or a folder of transformers")  # fmt: skip
    options.add_argument("--data", nargs="+", required=True, metavar="INPUT",
                         help="recordings to learn from, as ottc-align takes them: files, folders, patterns, "
                         "Kaldi data directories, manifests of Lhotse cuts")  # fmt: skip
    options.add_argument("--out", type=Path, required=True, help="folder for the tuned model")
    options.add_argument("--text", type=Path, help="the texts, as for ottc-align")
    options.add_argument(
        "--recognise", action="store_true", help="take no text even where there is one"
    )
    options.add_argument("--tier", help="of TextGrids with texts (default: words, or all)")
    options.add_argument("--channel", default="mix", help="mix, left, right, or a number from 1")
    options.add_argument("--decoder", choices=["viterbi", "greedy"], default="viterbi",
                         help="how words are recognised; no difference for CTC")  # fmt: skip
    options.add_argument("--no_vad", "--no-vad", action="store_true",
                         help="seek words in sound that is no speech, too")  # fmt: skip
    options.add_argument("--lexicon", type=Path, help="lines of a word and its phones")
    options.add_argument("--adapt", action="store_true",
                         help="go on from the boundary model of --model, in place of a new one")  # fmt: skip
    options.add_argument(
        "--weights", type=Path, help="parameters in place of those of the model's name"
    )
    options.add_argument("--language", help="of the model's adapters and of the text")
    options.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    options.add_argument("--again", action="store_true", help="train anew what is there")
    return options


if __name__ == "__main__":
    sys.exit(main())
