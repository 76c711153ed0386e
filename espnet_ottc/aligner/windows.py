"""What a model says about a recording of any length: windows with overlap, whose inner frames are kept."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.aligner.models.interface import FrameOutputs

# Windows start at a multiple of so many frames, so that encoders that pool frames pool the same ones.
_GRID = 16


@dataclass(frozen=True)
class Windows:
    """How a recording is cut.

    Attributes:
        length: seconds of a window; a recording that is not longer is taken whole.
        context: seconds at each end of a window whose frames are left out, where another window has them.

    Raises:
        ValueError: a context that leaves nothing, or is negative.
    """

    length: float = 40.0
    context: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= 4 * self.context <= self.length:
            raise ValueError(
                f"windows must be at least 4 times as long as their context, got {self.length} s and "
                f"{self.context} s"
            )


@dataclass(frozen=True)
class _Window:
    start: int  # samples
    stop: int
    first: int  # frames of it that are kept
    last: int | None


def frame_outputs(model: SpeechModel, samples: Tensor, windows: Windows) -> FrameOutputs:
    """Run a model on a recording; memory beyond the result is that of a window.

    Args:
        model: whose frames are `stride` samples apart.
        samples: (N,) float32 at the model's rate.
        windows: how the recording is cut.

    Returns:
        The frames of the whole recording.  Where a frame of the model hears less than `context`, they are
        those of the whole recording at once, apart from rounding.

    Raises:
        ValueError: fewer samples than the model needs for a frame.
    """
    if len(samples) < model.least_samples:
        raise ValueError(
            f"it is too short: {len(samples) / model.sampling_rate * 1000:.0f} ms, and the model needs "
            f"{model.least_samples / model.sampling_rate * 1000:.0f} ms"
        )
    samples = model.prepare(samples)
    log_probs, scores = [], []
    for window in _cut(model, len(samples), windows):
        found = model.outputs([samples[window.start : window.stop]])[0]
        log_probs.append(found.log_probs[window.first : window.last])
        if found.frame_scores is not None:
            scores.append(found.frame_scores[window.first : window.last])
    if len(log_probs) == 1:
        return FrameOutputs(log_probs[0], scores[0] if scores else None)
    return FrameOutputs(torch.cat(log_probs), torch.cat(scores) if scores else None)


def _cut(model: SpeechModel, count: int, windows: Windows) -> Iterator[_Window]:
    unit = _GRID * model.stride
    context = -(-round(windows.context * model.sampling_rate) // unit) * unit
    length = max(round(windows.length * model.sampling_rate) // unit * unit, 4 * context, unit)
    if count <= length:
        yield _Window(0, count, 0, None)
        return
    begun = 0
    while True:
        start = max(begun - context, 0)
        if start + length >= count:
            # The last one is as long as the others: a model may not like what is left.
            start = max(-(-(count - length) // unit) * unit, 0)
            yield _Window(start, count, (begun - start) // model.stride, None)
            return
        end = start + length - context
        yield _Window(
            start, start + length, (begun - start) // model.stride, (end - start) // model.stride
        )
        begun = end
