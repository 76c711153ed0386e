"""Where the frames of strided convolutions over samples lie."""

from collections.abc import Iterable
from dataclasses import dataclass

from espnet_ottc.alignment.spans import FrameGrid


@dataclass(frozen=True)
class Stride:
    """What a stack of convolutions without padding does to samples.

    Attributes:
        samples: from one frame to the next.
        field: samples that a frame hears.
    """

    samples: int
    field: int

    @classmethod
    def of(cls, layers: Iterable[tuple[int, int]]) -> "Stride":
        """From kernel size and stride of each layer."""
        step, field = 1, 1
        for kernel, stride in layers:
            field += (kernel - 1) * step
            step *= stride
        return cls(step, field)

    def frames(self, count: int) -> int:
        """The frames of so many samples."""
        return max((count - self.field) // self.samples + 1, 0)

    def grid(self, sampling_rate: int) -> FrameGrid:
        """Frames stand for `samples` samples around the centre of what they hear."""
        return FrameGrid(
            self.samples / sampling_rate, (self.field - self.samples) / 2 / sampling_rate
        )
