"""Make an ordinary ESPnet CTC model of the auxiliary CTC head of an OTTC training.

    python -m espnet_ottc.bin.export_aux_ctc --experiment exp/ottc_joint/seed1 --out exp/aux

The result decodes and aligns like any model that was trained with CTC.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import quiet_imports, run, say
from espnet_ottc.utils.training_checkpoints import DEFAULT_CHECKPOINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _export(options))


def _export(options: argparse.Namespace) -> None:
    with quiet_imports():
        from espnet_ottc.espnet.auxiliary_ctc import export_auxiliary_ctc
    export_auxiliary_ctc(options.experiment, options.checkpoint, options.out)
    say(f"{options.out / options.checkpoint}")


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m espnet_ottc.bin.export_aux_ctc",
        description="Make an ordinary CTC model of the auxiliary CTC head of an OTTC training.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--experiment", type=Path, required=True, help="with config.yaml")
    options.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, help="its parameters")
    options.add_argument("--out", type=Path, required=True, help="directory of the new model")
    return options


if __name__ == "__main__":
    sys.exit(main())
