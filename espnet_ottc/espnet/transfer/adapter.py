"""The adapter between an encoder and a language model's states, in the place of ESPnet's post-encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from espnet2.asr.postencoder.abs_postencoder import AbsPostEncoder
from torch import Tensor, nn


class Captured(NamedTuple):
    """What an adapter saw in one forward pass."""

    hidden: Tensor  # (B, T, D) the frames among the language model's states
    encoded: Tensor  # (B, T, F) what it returned
    lengths: Tensor  # (B,)


class LinguisticAdapter(AbsPostEncoder):  # type: ignore[misc]
    """`postencoder: linguistic_adapter`: projects frames into a language model's space, and back.

    h_t = W a_t + b; with `feed_back` the output is a_t + LN(V LN(h_t) + c), whose last normalisation has the
    weight `initial_scale` at first: at 0 nothing changes, so that the training of a CTC or OTTC model goes on
    as it was.  Without `feed_back` frames pass as they are: nothing is left of the adapter where no
    transfer loss asks for h.

    Args:
        input_size: F, size of the encoder's output.
        linguistic_size: D, size of the teacher's states.
        feed_back: whether the projection comes back into the frames.
        initial_scale: ≥ 0.

    Source: arXiv 2509.05609, Eqs. 1-2, where the scale is 1.
    """

    name = "linguistic_adapter"

    def __init__(
        self,
        input_size: int,
        linguistic_size: int = 128,
        feed_back: bool = True,
        initial_scale: float = 0.0,
    ) -> None:
        super().__init__()
        if linguistic_size < 1:
            raise ValueError(f"linguistic_size must be at least 1, got {linguistic_size}")
        if not 0 <= initial_scale < float("inf"):
            raise ValueError(f"initial_scale must lie in [0, inf), got {initial_scale}")
        self.size = input_size
        self.linguistic_size = linguistic_size
        self.feed_back = feed_back
        # The rest of a model begins as it would without an adapter: the same seed draws the same for it.
        with torch.random.fork_rng(devices=[]):
            self.into_text = nn.Linear(input_size, linguistic_size)
            if feed_back:
                self.text_norm = nn.LayerNorm(linguistic_size)
                self.from_text = nn.Linear(linguistic_size, input_size)
                self.back_norm = nn.LayerNorm(input_size)
                self.back_norm.weight.data.fill_(initial_scale)
        self._captured: Captured | None = None
        self._capturing = False

    def output_size(self) -> int:
        """F."""
        return self.size

    def forward(self, input: Tensor, input_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, F) and their lengths (B,), which stay."""
        if not self.feed_back and not self._capturing:
            return input, input_lengths
        hidden = self.into_text(input)
        output = input
        if self.feed_back:
            output = input + self.back_norm(self.from_text(self.text_norm(hidden)))
        if self._capturing:
            self._captured = Captured(hidden, output, input_lengths)
        return output, input_lengths

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Keep what the next forward pass makes, for `captured`, until the block ends."""
        self._capturing = True
        try:
            yield
        finally:
            self._capturing, self._captured = False, None

    @property
    def captured(self) -> Captured:
        """What the last forward pass made, inside `capturing`."""
        assert self._captured is not None, "no forward pass yet"
        return self._captured
