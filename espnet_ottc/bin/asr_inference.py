"""ESPnet's ASR decoding with OTTC: `ottc-decode`, or `python -m espnet_ottc.bin.asr_inference`.

All options of `espnet2.bin.asr_inference`, and `--greedy true` or `--viterbi true` for decoding without
the beam search.  `--help` names the most important ones without importing ESPnet, `--help_espnet` lists all.
"""

import argparse
import contextlib
import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from espnet_ottc.bin import _espnet_help
from espnet_ottc.utils.commands import run

_GREEDY = "Greedy decoding of OTTC or CTC (best label per frame) instead of the beam search"
_VITERBI = (
    "OTTC's best path through the frames, on which a change of label has its price; for CTC greedy; "
    "instead of the beam search"
)


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser with two more options."""
    command = _espnet()
    from espnet2.utils.types import str2bool

    parser: argparse.ArgumentParser = command.get_parser()
    parser.add_argument("--greedy", type=str2bool, default=False, help=_GREEDY)
    parser.add_argument("--viterbi", type=str2bool, default=False, help=_VITERBI)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode as ESPnet does; with one line and status 1 where a file of parameters is none.

    ESPnet would run what else is in such a file.
    """
    _espnet_help.answer(_help(), cmd)
    command, parser = _espnet(), get_parser()
    if _espnet_help.asks_for_espnets_help(cmd):
        parser.print_help()
        return
    from espnet_ottc.espnet.checkpoints import check_parameters
    from espnet_ottc.espnet.decoding import inference
    from espnet_ottc.espnet.moved import get_commandline_args

    print(get_commandline_args(), file=sys.stderr)
    arguments = vars(parser.parse_args(cmd))
    arguments.pop("config", None)
    greedy, viterbi = arguments.pop("greedy"), arguments.pop("viterbi")
    if greedy and viterbi:
        parser.error("--greedy and --viterbi exclude each other, got both")

    def check() -> None:
        for option in ("asr_model_file", "lm_file"):
            if arguments[option] is not None:
                check_parameters(Path(arguments[option]))

    if status := run(check):
        sys.exit(status)
    decoder = inference.OTTCSpeech2Text
    if greedy or viterbi:
        decoder = inference.ViterbiSpeech2Text if viterbi else inference.GreedySpeech2Text
    # ESPnet's loop takes the class by name from its module, and no option leads there.
    with mock.patch.object(command, "Speech2Text", decoder):
        command.inference(**arguments)


def _espnet() -> types.ModuleType:
    """ESPnet's command, once OTTC is registered."""
    # What ESPnet prints while it is imported is no output of this command.
    with contextlib.redirect_stdout(sys.stderr):
        if status := run(lambda: importlib.import_module("espnet_ottc.espnet.register")):
            sys.exit(status)
        return importlib.import_module("espnet2.bin.asr_inference")


def _help() -> argparse.ArgumentParser:
    parser = _espnet_help.help_parser(
        "ottc-decode",
        "Decode with a model that ESPnet trained with OTTC or CTC.  Options are those of\n"
        "espnet2.bin.asr_inference, and two more: --greedy and --viterbi.",
    )
    parser.add_argument("--greedy", metavar="true", help=_GREEDY)
    parser.add_argument("--viterbi", metavar="true", help=_VITERBI)
    parser.add_argument("--asr_train_config", metavar="FILE", help="config.yaml of the training")
    parser.add_argument("--asr_model_file", metavar="FILE", help="parameters (*.pth)")
    parser.add_argument(
        "--data_path_and_name_and_type", metavar="PATH,NAME,TYPE", help="what is decoded"
    )
    parser.add_argument("--output_dir", metavar="DIR", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
