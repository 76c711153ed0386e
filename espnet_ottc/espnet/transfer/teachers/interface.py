"""What a transfer loss asks of a language model."""

import hashlib
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from espnet_ottc.espnet.transfer.spelling import Spelling, middles


class Represented(NamedTuple):
    """States of a batch of texts."""

    states: Tensor  # (B, N, D), without gradient
    lengths: Tensor  # (B,) tokens of the teacher
    middles: Tensor  # (B, N) float32 where each token's middle stands, in characters
    extents: Tensor  # (B,) float32 characters of each text


class Teacher:
    """A frozen language model.  It is no module: no optimizer, checkpoint or process group finds it.

    Args:
        network: the model; put into evaluation mode, its parameters without gradient.
        spelling: of the recogniser's tokens.
        size: D of its states.
    """

    name: ClassVar[str]

    def __init__(self, network: nn.Module, spelling: Spelling, size: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.spelling = spelling
        self.size = size
        self._device = torch.device("cpu")

    @torch.no_grad()
    def represent(self, tokens: Tensor, lengths: Tensor) -> Represented:
        """The states of texts, on the device of their tokens.

        Args:
            tokens: (B, U) ids of the recogniser, padded with anything.
            lengths: (B,).
        """
        if tokens.device != self._device:
            self.network.to(tokens.device)
            self._device = tokens.device
        return self.states(tokens, lengths)

    def states(self, tokens: Tensor, lengths: Tensor) -> Represented:
        """As `represent`, for tokens on the network's device."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A hash of the names and values of its parameters and buffers."""
        digest = hashlib.sha256(self.name.encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def of_own_tokens(self, states: Tensor, tokens: Tensor, lengths: Tensor) -> Represented:
        """States (B, U, D) of the recogniser's own tokens."""
        ends = self.spelling.ends(tokens, lengths)
        extents = ends[:, -1] if ends.shape[1] else ends.new_zeros(len(ends))
        return Represented(states, lengths.to(states.device), middles(ends), extents)


def without_padding(tokens: Tensor, lengths: Tensor, filling: int) -> tuple[Tensor, Tensor]:
    """(B, U) ids with `filling` in the padding, and (B, U) bool where they are valid."""
    valid = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    return torch.where(valid, tokens, filling), valid
