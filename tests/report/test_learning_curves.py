"""Learning curves out of a training's records or TensorBoard events."""

import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from espnet_ottc.report.curves import read_curves
from espnet_ottc.utils.training_records import EpochRecord, append_epoch


def test_an_epochs_value_is_its_mean_and_not_that_of_a_log_interval(experiment: Any) -> None:
    curves = read_curves(experiment.folder("ctc", 1), "ctc", 1)
    assert curves.of("train", "loss") == pytest.approx({1: 100.0, 2: 50.0, 3: 100 / 3})
    assert curves.of("valid", "loss") == pytest.approx({1: 101.0, 2: 51.0, 3: 100 / 3 + 1})


def test_what_was_not_logged_is_empty(experiment: Any) -> None:
    assert read_curves(experiment.folder("ctc", 1), "ctc", 1).of("valid", "none") == {}


@pytest.mark.parametrize("name", ["events.out.tfevents.0", "events.out.tfevents.9999999999"])
def test_a_resumed_training_keeps_the_epoch_that_stayed(experiment: Any, name: str) -> None:
    folder = experiment.folder("ctc", 1)
    for phase in ("train", "valid"):
        place = folder / "tensorboard" / phase
        writer = SummaryWriter(str(place), filename_suffix=".later")
        writer.add_scalar("loss", 7.0, 30)
        if phase == "train":
            writer.add_scalar("iter_epoch", 3, 30)
        writer.close()
        # Whatever the order of their names is.
        next(place.glob("*.later")).rename(place / name)
    curves = read_curves(folder, "ctc", 1)
    assert curves.of("train", "loss") == pytest.approx({1: 100.0, 2: 50.0, 3: 7.0})
    assert curves.of("valid", "loss")[3] == 7.0


def test_a_folder_without_events_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no epochs\.jsonl, and no TensorBoard events"):
        read_curves(tmp_path, "ctc", 1)


def test_records_come_before_events(experiment: Any) -> None:
    folder = experiment.folder("ctc", 1)
    for epoch in (1, 2):
        append_epoch(folder, EpochRecord(epoch, 9, {"loss": 1.5 * epoch}, {"loss": None}))
    curves = read_curves(folder, "ctc", 1)
    assert curves.of("train", "loss") == {1: 1.5, 2: 3.0}
    assert curves.of("valid", "loss") == {}


def test_curves_of_records_need_no_tensorboard_and_others_name_its_extra(
    experiment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    append_epoch(tmp_path, EpochRecord(1, 9, {"loss": 1.5}, {}))
    assert read_curves(tmp_path, "ctc", 1).of("train", "loss") == {1: 1.5}
    with pytest.raises(ImportError, match=r"espnet-ottc\[espnet\]"):
        read_curves(experiment.folder("ctc", 1), "ctc", 1)
