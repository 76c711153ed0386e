"""What a model says about recordings of any length: windows with overlap, whose inner frames are kept.

Every way from sound to frames goes through here, so that no model hears more than a window at once, and
several stretches share a forward pass where that changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from espnet_ottc.alignment.threads import in_threads
from espnet_ottc.ops.transport import frame_weights

# Windows start at a multiple of so many frames, so that encoders that pool frames pool the same ones.
_GRID = 16
# So many windows share a forward pass on a GPU; on a CPU more than one cost memory and save nothing.
_TOGETHER_ON_GPU = 8
# So many passes are made at once on a CPU, since a small model alone leaves its other cores idle.
_AT_ONCE_ON_CPU = 4


@dataclass(frozen=True, eq=False)
class FrameOutputs:
    """What a model says about the frames of one stretch of sound; on the CPU.

    Attributes:
        log_probs: (T, V) float32 log-probabilities of the tokens.
        frame_scores: (T,) float32 scores whose softmax over an utterance's frames is OTTC's α; None for a
            model without.
    """

    log_probs: Tensor
    frame_scores: Tensor | None = None

    @property
    def alpha(self) -> Tensor | None:
        """(T,) frame weights α, if the frames are those of a whole utterance; None for a model without."""
        if self.frame_scores is None:
            return None
        return frame_weights(self.frame_scores[None], torch.tensor([len(self.frame_scores)]))[0]


class FrameModel(Protocol):
    """A model of frames, as windows need it.

    Attributes:
        sampling_rate: Hz of the samples that it takes.
        stride: samples from one frame to the next.
        least_samples: fewer than these have no frame.
        pads: whether stretches of different lengths may share a forward pass: the shorter ones get what they
            get alone, apart from rounding.
        device: where it computes.
    """

    sampling_rate: int
    stride: int
    least_samples: int
    pads: bool
    device: torch.device

    def prepare(self, samples: Tensor) -> Tensor:
        """What the model does with the whole recording first, such as normalising its loudness.

        Args:
            samples: (N,) float32 at `sampling_rate`.
        """
        ...

    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        """Run the model once, on stretches of prepared samples, (N,) each; of one length unless it `pads`."""
        ...


@dataclass(frozen=True)
class Window:
    """A stretch of a recording, and which of its frames count.

    Attributes:
        start, stop: samples.
        first: frames of it that are left out at its start.
        last: the end of those that are kept; None: to its last.
    """

    start: int
    stop: int
    first: int
    last: int | None

    def kept(self, frames: Tensor) -> Tensor:
        """The frames that count of (T, ...) of the window."""
        return frames[self.first : self.last]


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

    def cut(self, count: int, sampling_rate: int, stride: int) -> Iterator[Window]:
        """The windows of a recording.

        Args:
            count: its samples.
            sampling_rate: Hz.
            stride: samples from one frame of the model to the next.
        """
        unit = _GRID * stride
        context = -(-round(self.context * sampling_rate) // unit) * unit
        length = max(round(self.length * sampling_rate) // unit * unit, 4 * context, unit)
        if count <= length:
            yield Window(0, count, 0, None)
            return
        begun = 0
        while True:
            start = max(begun - context, 0)
            if start + length >= count:
                # The last one is as long as the others: a model may not like what is left.
                start = max(-(-(count - length) // unit) * unit, 0)
                yield Window(start, count, (begun - start) // stride, None)
                return
            end = start + length - context
            yield Window(start, start + length, (begun - start) // stride, (end - start) // stride)
            begun = end

    def seconds_together(self, device: torch.device | str) -> float:
        """Seconds of sound in one forward pass: a window's on a CPU, several windows' on a GPU."""
        cuda = torch.device(device).type == "cuda"
        return self.length * (_TOGETHER_ON_GPU if cuda else 1)


def check_length(model: FrameModel, samples: Tensor) -> None:
    """Refuse a recording in which a model finds no frame.

    Raises:
        ValueError: fewer samples than `least_samples`.
    """
    if len(samples) < model.least_samples:
        raise ValueError(
            f"it is too short: {len(samples) / model.sampling_rate * 1000:.0f} ms, and the model needs "
            f"{model.least_samples / model.sampling_rate * 1000:.0f} ms"
        )


def frame_outputs(
    model: FrameModel, recordings: Sequence[Tensor], windows: Windows | None = None
) -> list[FrameOutputs]:
    """Run a model on recordings; memory beyond the result is that of one forward pass, of four on a CPU.

    Args:
        model: whose frames are `stride` samples apart.
        recordings: (N,) float32 samples each, at the model's rate.
        windows: how they are cut; None takes the default.

    Returns:
        The frames of each recording.  Where a frame of the model hears less than `context`, they are those
        of the whole recording at once, and alone, apart from rounding.

    Raises:
        ValueError: fewer samples than the model needs for a frame.
    """
    windows = windows or Windows()
    for samples in recordings:
        check_length(model, samples)
    prepared = [model.prepare(samples) for samples in recordings]
    pieces = [
        (number, window)
        for number, samples in enumerate(prepared)
        for window in windows.cut(len(samples), model.sampling_rate, model.stride)
    ]
    sizes = [window.stop - window.start for _, window in pieces]
    budget = round(windows.seconds_together(model.device) * model.sampling_rate)
    found: dict[int, FrameOutputs] = {}
    # The longest first: those of about one length share a pass.
    order = sorted(range(len(pieces)), key=lambda place: -sizes[place])
    batches = list(together(order, sizes, budget, equal=not model.pads))

    def pass_over(batch: Sequence[int]) -> list[FrameOutputs]:
        return model.outputs(
            [prepared[n][w.start : w.stop] for n, w in (pieces[place] for place in batch)]
        )

    at_once = _AT_ONCE_ON_CPU if model.device.type == "cpu" else 1
    # The first alone: it is the longest, and a model may keep what it makes for it, as a table of positions.
    passes = [
        *map(pass_over, batches[:1]),
        *in_threads(pass_over, batches[1:], at_once),
    ]
    for batch, made in zip(batches, passes, strict=True):
        found.update(zip(batch, made, strict=True))
    parts: list[list[FrameOutputs]] = [[] for _ in recordings]
    for place, (number, window) in enumerate(pieces):
        outputs = found.pop(place)
        scores = outputs.frame_scores
        kept = None if scores is None else window.kept(scores)
        parts[number].append(FrameOutputs(window.kept(outputs.log_probs), kept))
    return [_joined(of_one) for of_one in parts]


def together(
    places: Sequence[int], sizes: Sequence[float], budget: float, *, equal: bool = False
) -> Iterator[list[int]]:
    """Neighbours whose padded batch is not larger than a budget; one that is larger comes alone.

    Args:
        places: indices into `sizes`, in the order in which they are wanted.
        sizes: of all.
        budget: the largest size times the number, at most.
        equal: let only those of one size come together.
    """
    batch: list[int] = []
    for place in places:
        largest = max((sizes[other] for other in batch), default=0)
        full = max(largest, sizes[place]) * (len(batch) + 1) > budget
        if batch and (full or (equal and sizes[place] != largest)):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _joined(parts: Sequence[FrameOutputs]) -> FrameOutputs:
    if len(parts) == 1:
        return parts[0]
    scores = [part.frame_scores for part in parts if part.frame_scores is not None]
    return FrameOutputs(
        torch.cat([part.log_probs for part in parts]), torch.cat(scores) if scores else None
    )
