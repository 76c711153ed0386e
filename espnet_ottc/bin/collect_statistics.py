"""Collect lengths and sums of features of a part of a set: what the recipe's stage 4 hands to a worker.

Options are those of `ottc-train --collect_stats true`.
"""

import argparse
from collections.abc import Sequence
from unittest import mock

from espnet_ottc.bin import _espnet_help, asr_train
from espnet_ottc.utils.commands import quiet_imports


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect as ESPnet does, utterance by utterance."""
    description = (
        "Lengths and sums of features of a part of a set; the options are those of ottc-train."
    )
    _espnet_help.answer(argparse.ArgumentParser(description=description), cmd)
    with quiet_imports():
        asr_train.get_parser()
        from espnet2.tasks import abs_task

        from espnet_ottc.espnet.feature_sums import collect_with_sums
    with mock.patch.object(abs_task, "collect_stats", collect_with_sums):
        asr_train.main(cmd)


if __name__ == "__main__":
    main()
