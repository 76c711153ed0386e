"""The progress of a training that runs elsewhere, by the records that it writes."""

import statistics
import threading
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from espnet_ottc.utils.commands import say
from espnet_ottc.utils.progress import terminal_row
from espnet_ottc.utils.training_records import EpochRecord, Position, read_epochs, read_position

_SECONDS = 1.0
# Of a row on a terminal: how long it will take is known from whole epochs alone.
_COLUMNS = "{percentage:3.0f}% |{bar:10}| {n_fmt:>7} of {total_fmt:<7} {elapsed:>7}{postfix}"


class Progress:
    """Shows a training's progress: a bar on a terminal, a line per epoch elsewhere.

    As a context it looks at the records every second, and once more at its end.

    Args:
        title: names the training.
        experiment: its output directory; what stands there already is not shown.

    Attributes:
        epochs: the last one that was seen to end; 0 before.
    """

    def __init__(self, title: str, experiment: Path) -> None:
        self.title = title
        self.experiment = experiment
        self.epochs = 0
        self.warned = False
        self._seen = {_key(record) for record in read_epochs(experiment)}
        self._position = read_position(experiment)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._took: list[float] = []
        self._bar = tqdm(desc=title, bar_format=terminal_row(_COLUMNS), disable=None)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.look()
        self._bar.close()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.look()

    def look(self) -> None:
        """Show what has been written since the last look."""
        try:
            records, position = read_epochs(self.experiment), read_position(self.experiment)
        except (OSError, ValueError):
            return  # no training may fail because its progress cannot be shown
        with self._lock:
            for record in records:
                if _key(record) not in self._seen:
                    self._seen.add(_key(record))
                    self._show(record)
            if position is not None and position != self._position:
                self._position = position
                self._show_position(position)

    def _show(self, record: EpochRecord) -> None:
        self.epochs = record.epoch
        # Once is enough, though the share in it differs from epoch to epoch.
        if record.warnings and not self.warned:
            self.warned = True
            say(f"  {self.title}: warning: {'; '.join(record.warnings)}")
        text = f"loss {_value(record.train, 'loss')}, valid {_value(record.valid, 'loss')}"
        text += f", valid CER {_value(record.valid, 'cer_ctc')}{self._remaining(record)}"
        self._bar.total = record.max_epoch
        self._bar.n = record.epoch
        self._bar.set_postfix_str(text)
        if self._bar.disable:
            say(f"  {self.title}: epoch {record.epoch}: {text}")

    def _remaining(self, record: EpochRecord) -> str:
        """How long the epochs to come will take, by those that have been seen."""
        if record.seconds is not None:
            self._took.append(record.seconds)
        left = record.max_epoch - record.epoch
        if not (left and self._took):
            return ""
        seconds = left * statistics.median(self._took)
        return f", {tqdm.format_interval(round(seconds))} to go"

    def _show_position(self, position: Position) -> None:
        if position.epoch <= self.epochs:
            return
        self._bar.total = position.max_epoch
        self._bar.n = position.epoch - 1
        if position.batch:
            self._bar.set_postfix_str(f"batch {position.batch}")
        else:
            self._bar.refresh()


def _key(record: EpochRecord) -> tuple[int, str | None]:
    return record.epoch, record.time


def _value(means: Mapping[str, float | None], name: str) -> str:
    value = means.get(name)
    return "-" if value is None else f"{value:.4g}"
