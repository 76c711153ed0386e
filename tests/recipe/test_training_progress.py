"""What the recipe shows of a training, and the checkpoint that it keeps for a resumed one."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_ottc.espnet.diagnostics import HEAVIEST_TOKEN, collapse_warning
from espnet_ottc.recipe import training_progress
from espnet_ottc.recipe.training_progress import Progress
from espnet_ottc.utils.training_checkpoints import keep_checkpoint, restore_checkpoint
from espnet_ottc.utils.training_records import (
    EpochRecord,
    Position,
    append_epoch,
    append_position,
    replace_epochs,
)

RECORD = EpochRecord(
    epoch=3,
    max_epoch=20,
    train={"loss": 7.25},
    valid={"loss": 6.25, "cer_ctc": 0.125},
    time="2025-01-01T00:00:00+00:00",
)


@pytest.fixture
def experiment(tmp_path) -> Path:
    return tmp_path


def _save(experiment: Path, text: str) -> None:
    (experiment / "checkpoint.pth").write_text(text)


def test_an_epoch_is_a_line_where_there_is_no_terminal(experiment, capsys):
    append_epoch(experiment, replace(RECORD, epoch=2))  # of an earlier run
    with Progress("ottc, seed 1", experiment) as progress:
        append_position(experiment, Position(3, 20, 40))
        append_epoch(experiment, RECORD)
        progress.look()
        append_epoch(experiment, replace(RECORD, epoch=4, valid={"loss": None}))
    assert progress.epochs == 4
    assert capsys.readouterr().out.splitlines() == [
        "  ottc, seed 1: epoch 3: loss 7.25, valid 6.25, valid CER 0.125",
        "  ottc, seed 1: epoch 4: loss 7.25, valid -, valid CER -",
    ]


def test_what_is_to_come_is_estimated_by_whole_epochs_that_were_seen(experiment, capsys):
    # Of an earlier run, perhaps on another machine.
    append_epoch(experiment, replace(RECORD, epoch=1, seconds=10_000.0))
    with Progress("ottc, seed 1", experiment) as progress:
        append_position(experiment, Position(2, 20, 1))
        for epoch, seconds in ((2, 60.0), (3, 70.0), (4, 500.0), (20, 60.0)):
            append_epoch(experiment, replace(RECORD, epoch=epoch, seconds=seconds))
            progress.look()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("0.125")[2] for line in lines] == [
        *(", 18:00 to go", ", 18:25 to go", ", 18:40 to go", ""),
    ]


def test_an_epoch_that_a_resumed_training_repeats_is_shown_again(experiment, capsys):
    append_epoch(experiment, RECORD)
    with Progress("ottc, seed 1", experiment):
        replace_epochs(experiment, [])
        append_epoch(experiment, replace(RECORD, time="2025-01-01T00:05:00+00:00"))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_records_are_looked_at_while_the_training_lasts(experiment, monkeypatch):
    monkeypatch.setattr(training_progress, "_SECONDS", 0.01)
    with Progress("ottc, seed 1", experiment) as progress:
        append_epoch(experiment, RECORD)
        until = time.monotonic() + 120
        while progress.epochs == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert progress.epochs == 3


def test_broken_records_do_not_end_a_training(experiment):
    with Progress("ottc, seed 1", experiment) as progress:
        (experiment / "epochs.jsonl").write_text("nonsense\n")
    assert progress.epochs == 0


def test_a_training_killed_within_an_epoch_resumes_at_its_start(experiment):
    _save(experiment, "after epoch 1")
    keep_checkpoint(experiment)
    restore_checkpoint(experiment)
    assert (experiment / "checkpoint.pth").read_text() == "after epoch 1"


def test_a_training_killed_while_it_saved_resumes_at_the_epoch_before(experiment):
    _save(experiment, "after epoch 1")
    keep_checkpoint(experiment)
    _save(experiment, "half of epoch 2")
    for _ in range(2):
        restore_checkpoint(experiment)
        assert (experiment / "checkpoint.pth").read_text() == "after epoch 1"


def test_the_first_epochs_half_written_end_is_forgotten(experiment):
    keep_checkpoint(experiment)
    _save(experiment, "half of epoch 1")
    restore_checkpoint(experiment)
    assert not (experiment / "checkpoint.pth").exists()


def test_a_collapse_is_shown_once(experiment, capsys):
    assert collapse_warning({HEAVIEST_TOKEN: 0.9}) is None
    assert collapse_warning({}) is None
    message = collapse_warning({HEAVIEST_TOKEN: 0.951})
    assert "95 %" in message
    with Progress("ottc, seed 1", experiment):
        for epoch in (3, 4):
            append_epoch(experiment, replace(RECORD, epoch=epoch, warnings=(message,)))
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "warning" in line] == [f"  ottc, seed 1: warning: {message}"]


def test_trainings_side_by_side_write_no_codes_for_cursors_into_a_log(tmp_path, capsys):
    with Progress("ottc, seed 1", tmp_path / "1") as one, Progress("ctc", tmp_path / "2") as other:
        for epoch in (1, 2):
            for number, progress in (("1", one), ("2", other)):
                append_position(tmp_path / number, Position(epoch, 2, 5))
                append_epoch(tmp_path / number, replace(RECORD, epoch=epoch, time=str(epoch)))
                progress.look()
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == 4
    assert not set(written.out + written.err) & {"\x1b", "\r", "\b"}
