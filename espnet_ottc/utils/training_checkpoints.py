"""The checkpoint that a training resumes from, kept whole while ESPnet writes the next one.

ESPnet overwrites `checkpoint.pth` at each epoch's end, and links the best models after it: whoever resumes
from that file alone may find it half written, or the links missing for good.
"""

import os
import shutil
from pathlib import Path

CHECKPOINT = "checkpoint.pth"
# The parameters that are used unless others are named: the mean of the best epochs that were kept.
DEFAULT_CHECKPOINT = "valid.loss.ave.pth"
# A boundary head that was trained with the model, in the folder of the training.
BOUNDARY_MODEL = "boundary_model"
KEPT_CHECKPOINT = "checkpoint.kept.pth"
# Who trains into a folder holds it.
WRITER_LOCK = ".writer.lock"


def keep_checkpoint(experiment: Path) -> None:
    """Put the checkpoint with which an epoch starts where ESPnet does not write it over."""
    checkpoint = experiment / CHECKPOINT
    if checkpoint.exists():
        os.replace(checkpoint, experiment / KEPT_CHECKPOINT)


def restore_checkpoint(experiment: Path) -> None:
    """Let ESPnet resume at the start of the epoch that was interrupted; without a kept one, anew."""
    kept = experiment / KEPT_CHECKPOINT
    if kept.exists():
        shutil.copyfile(kept, experiment / f".{CHECKPOINT}.partial")
        os.replace(experiment / f".{CHECKPOINT}.partial", experiment / CHECKPOINT)
    else:
        (experiment / CHECKPOINT).unlink(missing_ok=True)
