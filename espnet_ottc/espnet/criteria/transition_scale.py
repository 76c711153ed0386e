"""What a change of label costs in the search for words, chosen on the validation set."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from espnet_ottc.ops.viterbi_decoding import TRANSITION_SCALE


class TransitionScale(nn.Module):
    """Counts the errors of each scale in the validation of an epoch; the epoch's parameters keep the counts.

    No scale suits all models: 1 where posteriors flicker, 0.1 where short labels have one frame.  Files of
    parameters without counts leave it as it is.
    """

    SCALES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)

    errors: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # Averages of models add integers up, which here is right.
        self.register_buffer("errors", torch.zeros(len(self.SCALES), dtype=torch.int64))
        self._begun: bool | None = None

    def train(self, mode: bool = True) -> "TransitionScale":
        """Like any module's; training makes the counts those of another model."""
        super().train(mode)
        if mode:
            self._begun = False
        return self

    def begin(self) -> bool:
        """Whether errors are to be counted: the model has been trained here, and is not being trained now."""
        if self.training or self._begun is None:
            return False
        if not self._begun:
            self.errors.zero_()
            self._begun = True
        return True

    def add(self, errors: Sequence[int]) -> None:
        """Errors of each of `SCALES` on some utterances."""
        self.errors += torch.tensor(errors, device=self.errors.device)

    def best(self) -> float:
        """The scale of the fewest errors; of several, the one that is nearest to the default."""
        errors = self.errors.tolist()
        found = [
            scale for scale, count in zip(self.SCALES, errors, strict=True) if count == min(errors)
        ]
        return min(found, key=lambda scale: abs(scale - TRANSITION_SCALE))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any
    ) -> None:
        if f"{prefix}errors" in state_dict:
            super()._load_from_state_dict(state_dict, prefix, *arguments)
