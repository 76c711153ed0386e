"""The head that gives every frame its weight."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameWeightHead(nn.Module):
    """One unnormalised weight per frame: dropout, linear, GELU, linear (paper, section 5).

    The last layer starts at zero, so that training starts from uniform frame weights, and has no bias:
    the softmax over frames would not see it.  It stays zero when a framework initialises the model anew
    (`init_weights` of transformers, `init` of ESPnet): see `ZeroStartScore`.

    Args:
        size: D, width of the encoder's output, and of the hidden layer.
        dropout: probability, in training mode.
    """

    def __init__(self, size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(size, size)
        self.activation = nn.GELU()
        self.output = ZeroStartScore(size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T) frame logits from the encoder's output (B, T, D)."""
        logits: Tensor = self.output(self.activation(self.hidden(self.dropout(hidden))))
        return logits


class ZeroStartScore(nn.Linear):
    """A linear map (..., D) -> (...) that starts at zero, whatever initialises the model it is in.

    Frameworks draw weights anew once a model is built, and none leaves a weight that was set to zero alone.
    But all set biases to zero.  So the one row of the map is called the bias of a linear layer, whose
    weight is empty and no parameter.  Parameters of version 0.1, which had a weight, are loaded.

    Args:
        size: D.
    """

    def __init__(self, size: int) -> None:
        super().__init__(
            size, 1, bias=False
        )  # draws as it always did, so that seeds keep their meaning
        row = self.weight
        del self.weight
        self.register_buffer("weight", row.new_empty(1, 0), persistent=False)
        self.bias = nn.Parameter(torch.zeros_like(row[0]))

    def reset_parameters(self) -> None:
        """Go back to zero."""
        super().reset_parameters() if self.bias is None else nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(...) scores of (..., D)."""
        return F.linear(hidden, self.bias[None]).squeeze(-1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        old = state_dict.pop(f"{prefix}weight", None)
        if old is not None:
            state_dict[f"{prefix}bias"] = old.flatten()
        super()._load_from_state_dict(state_dict, prefix, *rest)
