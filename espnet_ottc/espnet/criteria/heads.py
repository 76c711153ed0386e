"""The head that gives every frame its weight."""

from torch import Tensor, nn


class FrameWeightHead(nn.Module):
    """One unnormalised weight per frame: dropout, linear, GELU, linear (paper, section 5).

    The last layer starts at zero, so that training starts from uniform frame weights, and has no bias:
    the softmax over frames would not see it.

    Args:
        size: D, width of the encoder's output, and of the hidden layer.
        dropout: probability, in training mode.
    """

    def __init__(self, size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(size, size)
        self.activation = nn.GELU()
        self.output = nn.Linear(size, 1, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T) frame logits from the encoder's output (B, T, D)."""
        logits: Tensor = self.output(self.activation(self.hidden(self.dropout(hidden))))
        return logits.squeeze(2)
