"""The encoder of ESPnet's model on recordings of any length."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from espnet_ottc.alignment.windows import Window, Windows
from espnet_ottc.espnet.as_trained import AsTrained
from espnet_ottc.espnet.encoders.frame_grid import frame_grid


class WindowedEncoding:
    """Takes the place of the method `encode` of ESPnet's model, for one utterance at a time.

    A recording is heard as in training, see `AsTrained`.  One that is longer than a window is encoded by
    windows, as the aligner does it.  ESPnet's own method needs memory that grows with the square of the
    length.

    Args:
        model: ESPnet's ASR model in evaluation mode.
        sampling_rate: Hz of its samples.
        windows: how recordings are cut; None takes the default.
    """

    def __init__(self, model: Any, sampling_rate: int, windows: Windows | None = None) -> None:
        self.model, self.whole = model, model.encode
        self.sampling_rate = sampling_rate
        self.windows = windows or Windows()
        self._as_trained = AsTrained.of(model, sampling_rate)

    @cached_property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        self.model.encode = self.whole
        try:
            return round(frame_grid(self.model, self.sampling_rate).shift * self.sampling_rate)
        finally:
            self.model.encode = self

    def __call__(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Any, Tensor]:
        """The encoder's output for (1, N) samples, and its length, in the form that ESPnet's method has."""
        if self._as_trained is not None:
            speech = self._as_trained(speech[0])[None]
        count = speech.shape[1]
        if count <= self.windows.length * self.sampling_rate:
            encoded, lengths = self.whole(speech, speech_lengths)
            return encoded, lengths
        windows = list(self.windows.cut(count, self.sampling_rate, self.stride))
        parts = []
        for window in windows:
            stretch = speech[:, window.start : window.stop]
            lengths = torch.full_like(speech_lengths, stretch.shape[1])
            parts.append(self.whole(stretch, lengths)[0])
        if not isinstance(parts[0], tuple):
            encoded = _joined(windows, parts)
            return encoded, torch.full_like(speech_lengths, encoded.shape[1])
        # With the outputs of intermediate layers, each beside its number.
        encoded = _joined(windows, [last for last, _ in parts])
        numbers = [number for number, _ in parts[0][1]]
        layers = [
            (number, _joined(windows, [inner[place][1] for _, inner in parts]))
            for place, number in enumerate(numbers)
        ]
        return (encoded, layers), torch.full_like(speech_lengths, encoded.shape[1])


def _joined(windows: Sequence[Window], parts: Sequence[Tensor]) -> Tensor:
    """(1, T, D) of the frames that count of (1, T_w, D) each."""
    return torch.cat([w.kept(part[0]) for w, part in zip(windows, parts, strict=True)])[None]
