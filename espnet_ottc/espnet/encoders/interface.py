"""What ESPnet's task, as this package extends it, asks of an encoder of this package."""

import argparse
from typing import ClassVar

from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import nn


class PackageEncoder(AbsEncoder):  # type: ignore[misc]
    """ESPnet's interface of encoders, and hooks that each encoder may fill.

    `espnet_ottc.espnet.register` calls the hooks of whatever encoder a model has: it knows none by name.
    """

    # The name in `encoder:`.
    name: ClassVar[str]
    # Whether the input is samples, without a frontend.
    takes_waveform: ClassVar[bool] = False

    @property
    def first_centre(self) -> float:
        """Where the first output frame is centred, in steps of the input; 0 is the centre of the first.

        Steps are samples or frames of features, as `takes_waveform` says.
        """
        raise NotImplementedError

    def check_model(self, model: nn.Module) -> None:
        """Look at the model around the encoder, once it is built.

        Args:
            model: ESPnet's ASR model.

        Raises:
            ValueError: it has what the encoder does not go together with; names the option.
        """

    def prepare_training(self, args: argparse.Namespace) -> None:
        """Do what a training starts with; called once, before a checkpoint or --init_param is loaded.

        Args:
            args: ESPnet's options of the training.
        """

    def learning_rate_factors(self) -> dict[str, float]:
        """A factor (> 0) on the learning rate by name of a parameter; 1 for those that are not named."""
        return {}
