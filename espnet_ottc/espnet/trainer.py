"""ESPnet's trainer with the criterion's schedule, and diagnostics of the transport in its logs."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from espnet_ottc.espnet.building import criteria_of
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.diagnostics import (
    TransportDiagnostics,
    boundary_movement,
    collapse_warning,
    read_alignments,
    silence_tokens,
    write_alignments,
)
from espnet_ottc.espnet.recording import RecordingTrainer
from espnet_ottc.espnet.untouched import untouched

ALIGNMENT_DIR = "alignments"


class OTTCTrainer(RecordingTrainer):
    """The trainer of this package's criteria, which learn from it which epoch it is.

    Each validation shows the transport.  ESPnet's reporter, and so the log, TensorBoard and the records, gets
    entropy (nats) and effective number of frames of alpha, that number as a share of T, the share of frames
    that greedy decoding drops, the share of frames whose best label is blank or separator, and how far label
    starts moved since the epoch before (frames, mean over a few fixed utterances).  The alignments of these
    utterances stay in `alignments/<epoch>epoch.json` of the output directory.
    """

    @classmethod
    def train_one_epoch(cls, model: nn.Module, **arguments: Any) -> bool:
        """One epoch of training; called by ESPnet with keywords only."""
        for criterion in criteria_of(model):
            criterion.set_epoch(arguments["reporter"].get_epoch())
        with untouched(frozen_parameters(model), arguments["optimizers"]):
            return super().train_one_epoch(model, **arguments)

    @classmethod
    def validate_one_epoch(
        cls,
        model: nn.Module,
        *,
        iterator: Iterable[tuple[list[str], dict[str, Tensor]]],
        reporter: Any,
        options: Any,
        distributed_option: Any,
    ) -> None:
        """One pass through the validation data; called by ESPnet with keywords only."""
        arguments = {
            "model": model,
            "reporter": reporter,
            "options": options,
            "distributed_option": distributed_option,
        }
        criterion = criterion_of(model)
        if criterion is None:
            super().validate_one_epoch(iterator=iterator, **arguments)
            return
        silence = silence_tokens(criterion, criterion.token_list)
        diagnostics = TransportDiagnostics(criterion, silence)
        criterion.observer = diagnostics
        try:
            super().validate_one_epoch(iterator=diagnostics.watch(iterator), **arguments)
        finally:
            criterion.observer = None
        if distributed_option.distributed:
            diagnostics.sum_over_processes(next(criterion.parameters()).device)
        stats = diagnostics.averages()
        if warning := collapse_warning(stats):
            logging.warning(warning)
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            directory = Path(options.output_dir) / ALIGNMENT_DIR
            stats.update(_follow(diagnostics, directory, reporter.get_epoch()))
        if stats:
            reporter.register(stats)
            reporter.next()


def criterion_of(model: nn.Module) -> OTTC | None:
    """The (first) OTTC criterion of a model, which may be wrapped for several processes; None without one."""
    return next((found for found in criteria_of(model) if isinstance(found, OTTC)), None)


def frozen_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Those of frame-weight heads that stay as they are from now on."""
    return [
        parameter
        for criterion in criteria_of(model)
        if isinstance(criterion, OTTC) and criterion.frozen and criterion.frame_head is not None
        for parameter in criterion.frame_head.parameters()
    ]


def _follow(diagnostics: TransportDiagnostics, directory: Path, epoch: int) -> dict[str, float]:
    """Keep this epoch's alignments, and measure them against those of the epoch before."""
    if not diagnostics.alignments:
        return {}
    before = read_alignments(directory / f"{epoch - 1}epoch.json")
    write_alignments(directory / f"{epoch}epoch.json", diagnostics.alignments)
    moved = boundary_movement(before, diagnostics.alignments)
    return {} if moved is None else {"boundary_moved_frames": moved}
