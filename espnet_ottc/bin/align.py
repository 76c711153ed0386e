"""Times of words in recordings, by any model with CTC or OTTC.

    ottc-align talk.mp3 --text talk.txt --model NAME
    ottc-align recordings/ --out times --model exp/ottc/seed1 --format srt textgrid
    ottc-align recordings/ --out times --train
    ottc-align recordings/ --out times --model MODEL --adapt

Texts are given by --text, or lie beside the recordings; without one, the model recognises what is said.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.utils.commands import (
    UserError,
    check_file,
    check_folder,
    check_other_folder,
    run,
    say,
)
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    from espnet_ottc.aligner.aligner import AlignerOptions
    from espnet_ottc.aligner.running import Outcome
    from espnet_ottc.aligner.utterance import Failure, Utterance

_LISTED = 5
# In --out: what --train and --adapt make of a --model.
TUNED_MODEL = "tuned_model"
# Needs recordings without long silence at their ends.
_SPREADS = "transport"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    It is 1 where something got no times, and 3 where more than `--max-doubtful` of it is not sure.
    """
    options = _parser().parse_args(arguments)
    if options.debug:
        align(options)
        return 0
    return run(lambda: align(options), every_fault=True)


def align(options: argparse.Namespace) -> None:
    """Align as the options say.

    Raises:
        FileNotFoundError: a model or a text that is not there.
        ValueError: options that do not fit each other or the inputs.
        UserError: utterances without times, or too many that are doubtful, once all is written.
    """
    require_extra("align", "ottc-align")
    _check_training(options)
    check_folder("--out", options.out)
    for name in ("calibration", "lexicon", "weights"):
        check_file(f"--{name}", getattr(options, name))
    # Late: a command's help needs none of it.
    from espnet_ottc.aligner.aligner import AlignerOptions
    from espnet_ottc.aligner.boundary import for_the_trained
    from espnet_ottc.aligner.inputs import InputOptions, gather
    from espnet_ottc.aligner.models.registry import check_device
    from espnet_ottc.aligner.running import RunOptions, run_all
    from espnet_ottc.aligner.workers import AlignerSource
    from espnet_ottc.alignment.confidence import Calibration

    logging.captureWarnings(True)
    check_device(options.device)
    reading = InputOptions(options.text, options.recognise, options.tier, options.channel)
    gathered = gather(options.inputs, reading)
    if not gathered.utterances and not gathered.failures:
        raise ValueError(f"there is nothing to align in {', '.join(options.inputs)}")
    learns = options.train or options.adapt
    if not gathered.utterances and (learns or options.calibrate is not None):
        raise ValueError(f"there is nothing to learn from:\n  {_first_of(gathered.failures)}")
    given = None if options.calibration is None else Calibration.load(options.calibration)
    how = AlignerOptions(
        search=options.aligner,
        decoder=options.decoder,
        language=options.language,
        allow_gaps=options.allow_gaps,
        vad=not options.no_vad,
        calibration=given,
    )
    if options.calibrate is not None:
        _calibrate(options, how, gathered.utterances)
        return
    model = _trained(options, how, gathered.utterances) if learns else options.model
    if learns:
        how = for_the_trained(how, Path(str(model)))
    # A tuned model knows its recogniser's parameters.
    weights = None if learns else options.weights
    source = AlignerSource(model, how, options.device, options.language, weights)
    formats = [*options.format, *(["page"] if options.page else [])]
    running = RunOptions(
        options.out, list(dict.fromkeys(formats)), options.processes, options.again, options.debug
    )
    outcome = run_all(gathered.utterances, gathered.failures, source, running)
    _say_outcome(outcome, options)


def _say_outcome(outcome: "Outcome", options: argparse.Namespace) -> None:
    """How many words there are, and where.

    Raises:
        UserError: utterances without times, or too many that are doubtful.
    """
    from espnet_ottc.aligner.running import FAILED

    where = options.out if options.out is not None else "beside the recordings"
    kept = outcome.done - outcome.fresh
    earlier = f", {kept} of an earlier run" if kept else ""
    say(f"{outcome.summary.as_text()}{earlier}: {where}")
    if outcome.failures:
        total = outcome.done + len(outcome.failures)
        failed = (options.out or Path()) / FAILED
        raise UserError(
            f"{len(outcome.failures)} of {total} failed ({failed}):\n  {_first_of(outcome.failures)}"
        )
    if outcome.summary.exceeds(options.max_doubtful):
        share = 100 * outcome.summary.doubtful_share
        raise UserError(
            f"{share:.0f} % is not ok, more than the {100 * options.max_doubtful:g} % of --max-doubtful: "
            "is it the text of these recordings?",
            status=3,
        )


def _first_of(failures: "Sequence[Failure]") -> str:
    """The first of them, a line each, and how many more there are."""
    lines = [f"{one.source or one.id}: {one.reason}" for one in failures[:_LISTED]]
    more = len(failures) - len(lines)
    return "\n  ".join([*lines, *([f"and {more} more"] if more else [])])


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, got {text}")
    return value


def _searches() -> list[str]:
    from espnet_ottc.alignment.aligners import ALIGNERS, BOUNDARY

    return sorted({*ALIGNERS, BOUNDARY} - {_SPREADS})


def _searching(name: str) -> str:
    if name == _SPREADS:
        raise argparse.ArgumentTypeError(
            f"{name} spreads a text over long silence too: take viterbi, which searches the same labels "
            "(the recipes and Python have transport)"
        )
    if name not in _searches():
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(_searches())}; got {name!r}")
    return name


def _check_training(options: argparse.Namespace) -> None:
    """Refuse what has no use with --train and --adapt, or without, before anything takes time."""
    from espnet_ottc.alignment.aligners import BOUNDARY

    if options.adapt and options.train:
        raise ValueError("--train makes a new model and --adapt goes on from one: give one of them")
    if options.adapt and options.model is None:
        raise ValueError("--adapt needs the --model that is adapted")
    if options.model is None and not options.train:
        raise ValueError("give a --model, or --train to have one trained on these recordings")
    if options.lexicon is not None and not options.train:
        raise ValueError("--lexicon goes with --train: another model has a spelling of its own")
    if not (options.train or options.adapt):
        return
    way = "train" if options.train else "adapt"
    if options.out is None:
        raise ValueError(f"--{way} needs --out, where the model is kept")
    if options.recognise and options.model is None:
        raise ValueError(
            "--train learns from texts, so --recognise cannot be given with it without a --model"
        )
    for name in ("aligner", "allow_gaps", *(["weights"] if options.model is None else [])):
        if getattr(options, name) not in (None, False, BOUNDARY):
            raise ValueError(
                f"--{name} has no use with --{way}, whose model has a search of its own"
            )


def _trained(
    options: argparse.Namespace, how: "AlignerOptions", utterances: Sequence["Utterance"]
) -> str:
    """Learn from the utterances, beside the model if there is one; returns the folder of what was learned."""
    from espnet_ottc.aligner.boundary import train_on
    from espnet_ottc.aligner.lhotse_cuts import heard
    from espnet_ottc.alignment.boundary.model import BoundaryModel, is_boundary_model
    from espnet_ottc.utils.training_checkpoints import BOUNDARY_MODEL

    # Of streams their sound, as it is stored: it is read more than once.
    utterances = list(heard(utterances))
    alone = options.adapt and is_boundary_model(Path(options.model))
    if options.model is not None and not alone:
        from espnet_ottc.bin.tune import tune_model

        return tune_model(options, how, utterances, options.out / TUNED_MODEL)
    if alone and options.weights is not None:
        raise ValueError(f"{options.model} is a boundary model: it takes no other --weights")
    folder = options.out / BOUNDARY_MODEL
    check_other_folder(options.model, folder)
    trained = train_on(
        folder,
        utterances,
        language=how.text_language,
        lexicon=options.lexicon,
        start=BoundaryModel.load(Path(options.model)) if alone else None,
        again=options.again,
    )
    rounds = f"{len(trained.rounds)} rounds" if trained.fresh else "trained by an earlier run"
    say(f"{folder}: {rounds}; {trained.convergence}")
    return str(folder)


def _calibrate(
    options: argparse.Namespace, how: "AlignerOptions", utterances: Sequence["Utterance"]
) -> None:
    """Fit a calibration to the utterances, which have their right texts, and write it."""
    from espnet_ottc.aligner.aligner import Aligner
    from espnet_ottc.aligner.calibrating import calibrated, described
    from espnet_ottc.aligner.lhotse_cuts import heard

    if options.train or options.adapt:
        raise ValueError(
            "--calibrate needs a --model; --train and --adapt calibrate what they make"
        )
    aligner = Aligner.from_pretrained(
        options.model,
        how,
        device=options.device,
        language=options.language,
        weights=options.weights,
    )
    found = calibrated(aligner, list(heard(utterances)))
    found.calibration.save(options.calibrate)
    say(
        f"{options.calibrate}: by {found.recordings} recordings; "
        f"calibration error {described(found.before, found.after)}"
    )


def _parser() -> argparse.ArgumentParser:
    from espnet_ottc.alignment.outputs import DEFAULT_FORMATS, FORMATS

    options = argparse.ArgumentParser(
        prog="ottc-align",
        description="Times of words in recordings: of a text, or of what the model recognises.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("inputs", nargs="+", metavar="INPUT",
                         help="files of sound or video, folders (searched recursively), patterns, Kaldi data "
                         "directories, manifests of Lhotse cuts, folders or URLs of Lhotse Shar; - for a "
                         "list on standard input")  # fmt: skip
    _add_model(options)
    texts = options.add_argument_group("text")
    texts.add_argument("--text", type=Path,
                       help="the text of the recording, a file in Kaldi's form (id word word ...), or a "
                       "folder of texts; by default a text beside each recording")  # fmt: skip
    texts.add_argument(
        "--recognise", action="store_true", help="take no text even where there is one"
    )
    texts.add_argument("--allow_gaps", "--allow-gaps", action="store_true",
                       help="let speech without text lie at the ends and between sentences")  # fmt: skip
    texts.add_argument("--tier", help="of TextGrids with texts (default: words, or all)")
    texts.add_argument("--decoder", choices=["viterbi", "greedy"], default="viterbi",
                       help="how words are recognised; no difference for CTC")  # fmt: skip
    texts.add_argument("--no_vad", "--no-vad", action="store_true",
                       help="seek words in sound that is no speech, too")  # fmt: skip
    sound = options.add_argument_group("sound")
    sound.add_argument(
        "--channel", default="mix", help="mix, left, right, a number from 1, or each"
    )
    results = options.add_argument_group("results")
    results.add_argument(
        "--out", type=Path, help="folder for the results (default: beside each recording)"
    )
    results.add_argument("--format", nargs="+", metavar="NAME", default=list(DEFAULT_FORMATS),
                         help=f"kinds of files: {', '.join(FORMATS)}")  # fmt: skip
    results.add_argument("--page", action="store_true",
                         help="also a page for the browser that plays the recording and shows the words "
                         "as they are said (the format page)")  # fmt: skip
    results.add_argument("--max_doubtful", "--max-doubtful", type=_share, default=0.1, metavar="SHARE",
                         help="exit with status 3 where more words or utterances are not ok")  # fmt: skip
    results.add_argument(
        "--again", action="store_true", help="do anew what an earlier run has done"
    )
    results.add_argument("--aligner", type=_searching, metavar="NAME",
                         help=f"one of {', '.join(_searches())}; by default boundary where there is a "
                         "boundary head, else viterbi for OTTC, ctc for CTC")  # fmt: skip
    results.add_argument("--processes", type=int,
                         help="how many; none: one, and one more for each ten minutes of sound, as far as "
                         "there are GPUs (--device cuda) or cores")  # fmt: skip
    results.add_argument(
        "--debug", action="store_true", help="stop at the first fault, with its traceback"
    )
    return options


def _add_model(options: argparse.ArgumentParser) -> None:
    model = options.add_argument_group("model")
    model.add_argument("--model",
                       help="a folder that --train or ottc-tune kept, an experiment of ESPnet or its "
                       "packed archive, espnet:TAG, torchaudio:BUNDLE, hf:NAME, or a folder of "
                       "transformers")  # fmt: skip
    model.add_argument("--train", action="store_true",
                       help="train a small model on these recordings and their texts, and keep it in the "
                       "folder boundary_model of --out; with --model beside that one, as ottc-tune does, "
                       "in tuned_model of --out")  # fmt: skip
    model.add_argument("--adapt", action="store_true",
                       help="let the boundary model of --model learn these recordings' voices from them and "
                       "their texts first; it is kept where --train keeps one")  # fmt: skip
    model.add_argument("--lexicon", type=Path,
                       help="with --train: lines of a word and its phones")  # fmt: skip
    model.add_argument(
        "--weights", type=Path, help="parameters in place of those of the model's name"
    )
    model.add_argument("--calibrate", type=Path, metavar="FILE",
                       help="align nothing, but learn from the recordings and their right texts how sure "
                       "the model may be, and write that to FILE; as calibration.json in the model's "
                       "folder it is taken from then on")  # fmt: skip
    model.add_argument("--calibration", type=Path, metavar="FILE", help="what --calibrate wrote")
    model.add_argument("--language", help="of the model's adapters and of the text")
    model.add_argument("--device", default="cpu", help="cpu, cuda (all GPUs) or cuda:N")


if __name__ == "__main__":
    sys.exit(main())
