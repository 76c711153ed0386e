"""Learning curves from what a training leaves beside its model: its records, or TensorBoard's events."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.training_records import EpochRecord, read_epochs

PHASES = ("train", "valid")


@dataclass(frozen=True)
class Curves:
    """What a training logged, epoch by epoch.

    Attributes:
        system: its name.
        seed: its seed.
        values: phase ("train", "valid") -> quantity -> epoch (1, 2, ...) -> mean of the epoch.
    """

    system: str
    seed: int
    values: dict[str, dict[str, dict[int, float]]]

    def of(self, phase: str, name: str) -> dict[int, float]:
        """One curve, in the order of epochs; empty where it was not logged."""
        found = self.values.get(phase, {}).get(name, {})
        return dict(sorted(found.items()))


def read_curves(directory: Path, system: str, seed: int) -> Curves:
    """Read the curves of a training's output directory.

    They stand in its records (`epochs.jsonl`) or, for a training that wrote none, in TensorBoard's events.

    Args:
        directory: of the training.
        system: name of the system that was trained.
        seed: of the training.

    Raises:
        FileNotFoundError: neither (no epoch ended, or `use_tensorboard: false` without records).
        ValueError: broken records.
        ImportError: TensorBoard is not installed, and there is nothing but its events.
    """
    records = read_epochs(directory)
    values = _recorded(records) if records else _logged(directory)
    return Curves(system, seed, values)


def _recorded(records: Sequence[EpochRecord]) -> dict[str, dict[str, dict[int, float]]]:
    values: dict[str, dict[str, dict[int, float]]] = {phase: {} for phase in PHASES}
    for record in records:
        for phase, means in (("train", record.train), ("valid", record.valid)):
            for name, value in means.items():
                if value is not None:
                    values[phase].setdefault(name, {})[record.epoch] = value
    return values


def _logged(directory: Path) -> dict[str, dict[str, dict[int, float]]]:
    """The curves of `tensorboard/train` and `tensorboard/valid`.

    ESPnet writes the mean of an epoch at the epoch's last step, after the values of its log
    intervals, and under `iter_epoch` which epoch that is: of several values at such a step the
    last one counts, which after a resumed training is the one of the epoch that stayed.
    """
    scalars = {phase: _scalars(directory / "tensorboard" / phase) for phase in PHASES}
    epochs = {step: int(epoch) for step, epoch in scalars["train"].pop("iter_epoch", {}).items()}
    if not epochs:
        raise FileNotFoundError(
            f"{directory}: no epochs.jsonl, and no TensorBoard events of an epoch"
        )
    return {
        phase: {
            name: {epochs[step]: value for step, value in points.items() if step in epochs}
            for name, points in found.items()
        }
        for phase, found in scalars.items()
    }


def _scalars(directory: Path) -> dict[str, dict[int, float]]:
    if not directory.is_dir():
        return {}
    require_extra("espnet", "curves of a training without epochs.jsonl", ("tensorboard",))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tb_logging

    # It reports each file it opens, and each step that a resumed training repeats.
    tb_logging.get_logger().setLevel("ERROR")
    # It takes files by their names, which are not always in the order of time.
    events = EventAccumulator(
        str(directory), size_guidance={"scalars": 0}, purge_orphaned_data=False
    )
    events.Reload()
    return {
        name: {
            event.step: float(event.value)
            for event in sorted(events.Scalars(name), key=lambda one: one.wall_time)
        }
        for name in events.Tags()["scalars"]
    }
