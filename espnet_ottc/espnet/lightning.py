"""ESPnet-3's trainer, which is Lightning's, told of the schedules of this package's criteria."""

import functools
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from espnet3.components.modeling.lightning_module import ESPnetLightningModule

from espnet_ottc.espnet.building import criteria_of
from espnet_ottc.espnet.trainer import frozen_parameters


class EpochCallback(lightning.Callback):
    """Says to criteria which epoch begins, and keeps frozen frame-weight heads as they are."""

    def on_train_epoch_start(self, trainer: Any, pl_module: torch.nn.Module) -> None:
        """Count from 1, as ESPnet's own trainer does."""
        for criterion in criteria_of(pl_module):
            criterion.set_epoch(trainer.current_epoch + 1)

    def on_before_optimizer_step(
        self, trainer: Any, pl_module: torch.nn.Module, optimizer: Any
    ) -> None:
        """A step leaves parameters without a gradient alone, weight decay and momentum included."""
        for parameter in frozen_parameters(pl_module):
            parameter.grad = None


def follow_epochs() -> None:
    """Give every `ESPnetLightningModule` an `EpochCallback`; once per process."""
    original = ESPnetLightningModule.configure_callbacks
    if hasattr(original, "wrapped_for_ottc"):
        return

    @functools.wraps(original)
    def configure_callbacks(self: ESPnetLightningModule) -> list[Any]:
        callbacks = original(self)
        given = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
        return [*given, EpochCallback()]

    configure_callbacks.wrapped_for_ottc = True  # type: ignore[attr-defined]
    ESPnetLightningModule.configure_callbacks = configure_callbacks
