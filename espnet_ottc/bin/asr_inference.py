"""ESPnet's ASR decoding with OTTC: `python -m espnet_ottc.bin.asr_inference`.

All options of `espnet2.bin.asr_inference`, and `--greedy true` or `--best_path true` for decoding without
the beam search.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

# What ESPnet prints while it is imported is no output of this command.
with contextlib.redirect_stdout(sys.stderr):
    from espnet.utils.cli_utils import get_commandline_args
    from espnet2.bin import asr_inference
    from espnet2.utils.types import str2bool

    import espnet_ottc.espnet.register  # noqa: F401
    from espnet_ottc.espnet.checkpoints import check_parameters
    from espnet_ottc.espnet.decoding.inference import (
        BestPathSpeech2Text,
        GreedySpeech2Text,
        OTTCSpeech2Text,
    )


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser with two more options."""
    parser: argparse.ArgumentParser = asr_inference.get_parser()
    parser.add_argument(
        "--greedy",
        type=str2bool,
        default=False,
        help="Greedy decoding of OTTC or CTC (best label per frame) instead of the beam search",
    )
    parser.add_argument(
        "--best_path",
        type=str2bool,
        default=False,
        help="The label sequence of OTTC's smallest loss, or of CTC's best path (which is the greedy one), "
        "instead of the beam search",
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode as ESPnet does.

    Raises:
        ValueError: a file of parameters that holds more than tensors: ESPnet would run what is in it.
    """
    print(get_commandline_args(), file=sys.stderr)
    parser = get_parser()
    arguments = vars(parser.parse_args(cmd))
    arguments.pop("config", None)
    greedy, best_path = arguments.pop("greedy"), arguments.pop("best_path")
    if greedy and best_path:
        parser.error("--greedy and --best_path exclude each other, got both")
    for option in ("asr_model_file", "lm_file"):
        if arguments[option] is not None:
            check_parameters(Path(arguments[option]))
    decoder = OTTCSpeech2Text
    if greedy or best_path:
        decoder = BestPathSpeech2Text if best_path else GreedySpeech2Text
    # ESPnet's loop takes the class by name from its module, and no option leads there.
    with mock.patch.object(asr_inference, "Speech2Text", decoder):
        asr_inference.inference(**arguments)


if __name__ == "__main__":
    main()
