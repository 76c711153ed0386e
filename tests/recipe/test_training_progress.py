"""What the recipe reads from ESPnet's log, and the checkpoint that it keeps for a resumed trainer."""

from pathlib import Path

import pytest

from espnet_ottc.espnet import trainer
from espnet_ottc.espnet.diagnostics import HEAVIEST_TOKEN
from espnet_ottc.recipe.training import Progress, keep_checkpoint, restore_checkpoint

STARTED = (
    "[host] 2025-01-01 (trainer:336) INFO: {}/20epoch started. Estimated time to finish: 1 minute"
)
BATCHES = "[host] 2025-01-01 (trainer:797) INFO: 3epoch:train:31-40batch: iter_time=0.01, loss=5.0"
RESULTS = (
    "[host] 2025-01-01 (trainer:394) INFO: 3epoch results: [train] iter_time=0.001, loss_ctc=7.5, "
    "loss=7.25, time=3 seconds, total_count=150, [valid] loss_ctc=6.5, cer_ctc=0.125, loss=6.25, "
    "time=1 second, total_count=30"
)


@pytest.fixture
def experiment(tmp_path) -> Path:
    return tmp_path


def _save(experiment: Path, text: str) -> None:
    (experiment / "checkpoint.pth").write_text(text)


def test_an_epoch_is_a_line_where_there_is_no_terminal(capsys):
    with Progress("ottc, seed 1") as progress:
        for line in (STARTED.format(3), BATCHES, RESULTS, "something else"):
            progress.see(line)
    assert progress.epochs == 3
    assert capsys.readouterr().out.splitlines() == [
        "  ottc, seed 1: epoch 3: loss 7.25, valid 6.25, valid CER 0.125"
    ]


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


def test_a_collapse_is_shown_once(capsys, caplog):
    trainer._warn_of_collapse({HEAVIEST_TOKEN: 0.9})
    assert not caplog.messages
    trainer._warn_of_collapse({HEAVIEST_TOKEN: 0.951})
    (message,) = caplog.messages
    with Progress("ottc, seed 1") as progress:
        for _ in range(2):
            progress.see(f"[host] 2025-01-01 (training:140) WARNING: {message}\n")
    assert capsys.readouterr().out.splitlines() == [f"  ottc, seed 1: warning: {message}"]
    assert "95 %" in message
