"""Learning curves from the TensorBoard events that ESPnet leaves beside a model."""

from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tb_logging

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
    """Read the curves of ESPnet's output directory, `tensorboard/train` and `tensorboard/valid`.

    ESPnet writes the mean of an epoch at the epoch's last step, after the values of its log
    intervals, and under `iter_epoch` which epoch that is: of several values at such a step the
    last one counts, which after a resumed training is the one of the epoch that stayed.

    Raises:
        FileNotFoundError: no events (`use_tensorboard: false`, or no epoch ended).
    """
    scalars = {phase: _scalars(directory / "tensorboard" / phase) for phase in PHASES}
    epochs = {step: int(epoch) for step, epoch in scalars["train"].pop("iter_epoch", {}).items()}
    if not epochs:
        raise FileNotFoundError(f"{directory / 'tensorboard'}: no TensorBoard events of an epoch")
    values = {
        phase: {
            name: {epochs[step]: value for step, value in points.items() if step in epochs}
            for name, points in found.items()
        }
        for phase, found in scalars.items()
    }
    return Curves(system, seed, values)


def _scalars(directory: Path) -> dict[str, dict[int, float]]:
    if not directory.is_dir():
        return {}
    # It reports each file it opens, and each step that a resumed training repeats.
    tb_logging.get_logger().setLevel("ERROR")
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: {event.step: float(event.value) for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }
