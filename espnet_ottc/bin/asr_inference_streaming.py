"""ESPnet's streaming decoding with OTTC: `ottc-decode-streaming`, or this module by `python -m`.

All options of `espnet2.bin.asr_inference_streaming`.  `--help` names the most important ones without
importing ESPnet, `--help_espnet` lists all.
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


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode block by block, as ESPnet does.

    Raises:
        ValueError: a file of parameters that holds more than tensors: ESPnet would run what is in it.
    """
    _espnet_help.answer(_help(), cmd)
    command = _espnet()
    parser = command.get_parser()
    if _espnet_help.asks_for_espnets_help(cmd):
        parser.print_help()
        return
    from espnet_ottc.espnet.checkpoints import check_parameters
    from espnet_ottc.espnet.decoding.streaming import OTTCSpeech2TextStreaming

    arguments = vars(parser.parse_args(cmd))
    arguments.pop("config", None)
    for option in ("asr_model_file", "lm_file"):
        if arguments[option] is not None:
            check_parameters(Path(arguments[option]))
    # ESPnet's loop takes the class by name from its module, and no option leads there.
    with mock.patch.object(command, "Speech2TextStreaming", OTTCSpeech2TextStreaming):
        command.inference(**arguments)


def _espnet() -> types.ModuleType:
    """ESPnet's command, once OTTC is registered."""
    # What ESPnet prints while it is imported is no output of this command.
    with contextlib.redirect_stdout(sys.stderr):
        if status := run(lambda: importlib.import_module("espnet_ottc.espnet.register")):
            sys.exit(status)
        return importlib.import_module("espnet2.bin.asr_inference_streaming")


def _help() -> argparse.ArgumentParser:
    parser = _espnet_help.help_parser(
        "ottc-decode-streaming",
        "Decode block by block with a model that ESPnet trained with OTTC or CTC and a contextual\n"
        "block encoder.  Options are those of espnet2.bin.asr_inference_streaming.",
    )
    parser.add_argument("--asr_train_config", metavar="FILE", help="config.yaml of the training")
    parser.add_argument("--asr_model_file", metavar="FILE", help="parameters (*.pth)")
    parser.add_argument(
        "--data_path_and_name_and_type", metavar="PATH,NAME,TYPE", help="what is decoded"
    )
    parser.add_argument(
        "--sim_chunk_length", metavar="N", help="samples that come at a time; 0: all at once"
    )
    parser.add_argument("--output_dir", metavar="DIR", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
