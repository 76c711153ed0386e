"""ESPnet's trainer with records of its progress, for progress lines and learning curves."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from numbers import Real
from pathlib import Path
from typing import Any
from unittest import mock

import espnet2.train.trainer as espnet_trainer
from espnet2.train.reporter import Reporter, SubReporter
from espnet2.train.trainer import Trainer
from torch import nn
from torch.optim import Optimizer

from espnet_ottc.espnet.boundary_head import restore_head, train_head, wants_head
from espnet_ottc.espnet.checkpoints import checked_training_state, fit_optimizer_state
from espnet_ottc.espnet.diagnostics import collapse_warning
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.untouched import untouched
from espnet_ottc.utils.holding import hold
from espnet_ottc.utils.training_checkpoints import WRITER_LOCK, keep_checkpoint
from espnet_ottc.utils.training_records import (
    EpochRecord,
    Position,
    append_epoch,
    append_position,
    finite,
    now,
    read_epochs,
    replace_epochs,
    start_positions,
)

_SECONDS_BETWEEN_POSITIONS = 1.0
_PHASES = ("train", "valid")


class RecordingTrainer(Trainer):  # type: ignore[misc]
    """ESPnet's trainer, which appends a line to `epochs.jsonl` of its output directory after each epoch.

    While an epoch lasts, `batches.jsonl` says how many of its batches are done.  With `--keep_checkpoint
    true`, the checkpoint of the epoch before stays in `checkpoint.kept.pth`.  A folder has one training at a
    time.  When all epochs are done, a model that has a place for a boundary head gets one.  SIGUSR1, which
    schedulers send some time before they end a job, ends the training with status 128 + SIGUSR1 after its
    epoch: whoever goes on from there has lost nothing.
    """

    _told_to_end = False

    @classmethod
    def _end_after_epoch(cls, number: int, frame: object) -> None:
        RecordingTrainer._told_to_end = True

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> Any:
        """ESPnet's options of a training, `keep_checkpoint`, and all that the command line said."""
        options = super().build_options(args)
        options.arguments = args
        options.keep_checkpoint = getattr(args, "keep_checkpoint", False)
        return options

    @staticmethod
    def resume(
        *, checkpoint: Path | str, optimizers: Sequence[Optimizer], **arguments: Any
    ) -> None:
        """Go on from a checkpoint, also of version 0.1; called by ESPnet, which would run any code in it.

        Raises:
            ValueError: it holds anything but tensors, numbers and durations.
        """
        with checked_training_state(Path(checkpoint)):
            Trainer.resume(checkpoint=checkpoint, optimizers=optimizers, **arguments)
        for optimizer in optimizers:
            fit_optimizer_state(optimizer)

    @classmethod
    def run(cls, *, trainer_options: Any, distributed_option: Any, **arguments: Any) -> None:
        """The whole training; called by ESPnet with keywords only."""
        signal.signal(signal.SIGUSR1, cls._end_after_epoch)
        arguments |= {"trainer_options": trainer_options, "distributed_option": distributed_option}
        if not _is_first_process(distributed_option):
            super().run(**arguments)
            return
        directory = Path(trainer_options.output_dir)

        def refuse(holder: str) -> None:
            raise ValueError(
                f"{directory}: {holder} trains into this folder; wait for it or end it"
            )

        with hold(directory / WRITER_LOCK, refuse):
            start_positions(directory)
            # ESPnet makes its reporter inside, and that alone has the means over an epoch.
            reporter = recording_reporter(directory, trainer_options.max_epoch)
            model = arguments["model"]
            headed = wants_head(model)
            if headed:
                restore_head(model, directory)
            with mock.patch.object(espnet_trainer, "Reporter", reporter):
                super().run(**arguments)
            if headed:
                train_head(model, trainer_options.arguments)

    @classmethod
    def train_one_epoch(cls, model: nn.Module, **arguments: Any) -> bool:
        """One epoch of training; called by ESPnet with keywords only."""
        options, epoch = arguments["options"], arguments["reporter"].get_epoch()
        inner = getattr(model, "module", model)
        waiting: Sequence[nn.Parameter] = ()
        if isinstance(inner, OTTCASRModel):
            inner.set_epoch(epoch)
            waiting = inner.waiting_parameters()
        if _is_first_process(arguments["distributed_option"]):
            directory = Path(options.output_dir)
            if options.keep_checkpoint:
                keep_checkpoint(directory)
            if RecordingTrainer._told_to_end:
                # The others end with this process, which alone writes checkpoints.
                logging.warning("SIGUSR1: ended before epoch %d", epoch)
                sys.exit(128 + signal.SIGUSR1)
            batches = arguments["iterator"]
            arguments["iterator"] = _Counted(batches, directory, epoch, options.max_epoch)
        with untouched(waiting, arguments["optimizers"]):
            return bool(super().train_one_epoch(model=model, **arguments))


def recording_reporter(directory: Path, max_epoch: int) -> type[Reporter]:
    """ESPnet's class of reporters, made to write the records of a training into a directory."""

    class RecordingReporter(Reporter):  # type: ignore[misc]
        """Writes an epoch's record when its validation ends."""

        started = False

        def set_epoch(self, epoch: int) -> None:
            super().set_epoch(epoch)
            if not self.started:
                self.started = True
                replace_epochs(directory, self._records_before(epoch))

        def finish_epoch(self, sub_reporter: SubReporter) -> None:
            super().finish_epoch(sub_reporter)
            if sub_reporter.key == "valid":
                append_epoch(directory, self._record(self.get_epoch()))

        def _records_before(self, epoch: int) -> list[EpochRecord]:
            """Those of the epochs that a resumed training goes on from, written or not."""
            written = {record.epoch: record for record in read_epochs(directory)}
            earlier = sorted(known for known in self.stats if known < epoch)
            return [written.get(known) or self._record(known, old=True) for known in earlier]

        def _record(self, epoch: int, old: bool = False) -> EpochRecord:
            stats = self.stats[epoch]
            train, valid = (_values(stats.get(phase, {})) for phase in _PHASES)
            seconds = sum(
                stats[phase]["time"].total_seconds() for phase in _PHASES if phase in stats
            )
            warning = collapse_warning(valid)
            return EpochRecord(
                epoch=epoch,
                max_epoch=max_epoch,
                train=train,
                valid=valid,
                seconds=round(seconds, 1),
                warnings=() if warning is None else (warning,),
                time=None if old else now(),
            )

    return RecordingReporter


class _Counted:
    """Batches, with a note every second of how many have passed."""

    def __init__(self, batches: Iterable[Any], directory: Path, epoch: int, max_epoch: int) -> None:
        self.batches = batches
        self.directory, self.epoch, self.max_epoch = directory, epoch, max_epoch

    def __iter__(self) -> Iterator[Any]:
        self._note(0)
        noted = time.monotonic()
        for number, batch in enumerate(self.batches, 1):
            yield batch
            if time.monotonic() - noted >= _SECONDS_BETWEEN_POSITIONS:
                self._note(number)
                noted = time.monotonic()

    def __len__(self) -> int:
        # ESPnet's trainer asks for it, and takes a TypeError for "not known".
        if not isinstance(self.batches, Sized):
            raise TypeError("the number of batches is not known")
        return len(self.batches)

    def _note(self, batch: int) -> None:
        append_position(self.directory, Position(self.epoch, self.max_epoch, batch))


def _is_first_process(distributed_option: Any) -> bool:
    return not distributed_option.distributed or distributed_option.dist_rank == 0


def _values(stats: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: finite(float(value)) for name, value in stats.items() if isinstance(value, Real)}
