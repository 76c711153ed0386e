"""ESPnet's ASR training with OTTC: `ottc-train`, or `python -m espnet_ottc.bin.asr_train`.

All options of `espnet2.bin.asr_train`; `--print_config --ctc_conf ctc_type=ottc` shows those of the
criterion, and docs/howto/espnet.md explains them.  `--help` names the most important ones without importing
ESPnet, `--help_espnet` lists all.
"""

import argparse
import contextlib
import importlib
import os
import sys
import types
from collections.abc import Sequence

from espnet_ottc.bin import _espnet_help
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.lifetime import end_with


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser, once OTTC is registered."""
    asr_train = _espnet()
    parser: argparse.ArgumentParser = asr_train.get_parser()
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Train as ESPnet does."""
    _espnet_help.answer(_help(), cmd)
    if _espnet_help.asks_for_espnets_help(cmd):
        get_parser().print_help()
        return
    _espnet().main(cmd)


def _espnet() -> types.ModuleType:
    """ESPnet's command, once OTTC is registered."""
    # What ESPnet prints while it is imported would end up in the YAML of --print_config.
    with contextlib.redirect_stdout(sys.stderr):
        if status := run(lambda: importlib.import_module("espnet_ottc.espnet.register")):
            sys.exit(status)
        return importlib.import_module("espnet2.bin.asr_train")


def _help() -> argparse.ArgumentParser:
    parser = _espnet_help.help_parser(
        "ottc-train",
        "Train an ASR model with ESPnet.  Options are those of espnet2.bin.asr_train; OTTC adds:\n\n"
        "  --ctc_conf ctc_type=ottc      the OTTC loss in the place of CTC's\n"
        "  --model ottc                  an ASR model that reads frame alignments too\n"
        "  --encoder dilated_conv        or torchaudio_wav2vec2: encoders that ESPnet does not bring\n"
        "  --postencoder linguistic_adapter  an encoder that a language model teaches\n"
        "  ...cuts.jsonl.gz,speech,lhotse  a data type: audio straight from Lhotse cuts\n"
        "  ...DIR,speech,shar            another: a stream of Lhotse Shar, with its texts",
    )
    parser.add_argument("--output_dir", metavar="DIR", help="folder of the experiment")
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print the configuration; with --ctc_conf ctc_type=ottc, all options of the criterion",
    )
    return parser


# The fresh interpreters that ESPnet starts for several GPUs import the main module under this name and
# call no function of it.
if "__mp_main__" in sys.modules:
    end_with(os.getppid())
    _espnet()
elif "TORCHELASTIC_RUN_ID" in os.environ and __name__ == "__main__":
    # Nor does torchrun end its processes where it is ended by SIGKILL.
    end_with(os.getppid())

if __name__ == "__main__":
    main()
