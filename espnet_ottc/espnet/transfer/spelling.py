"""Where tokens stand in the text that they spell, counted in characters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_ottc.espnet.criteria.options.boundary_label import SENTENCEPIECE_SPACE, SPACE

_UNKNOWN, _UNKNOWN_TEXT = "<unk>", "?"


class Spelling:
    """What each token of a list writes.

    Args:
        token_list: the recogniser's tokens; the first is the blank.  Without `<space>` and `▁` among them,
            longer tokens are words (or phones), which stand apart.
    """

    def __init__(self, token_list: Sequence[str]) -> None:
        plain = [token for token in token_list if not _is_special(token)]
        joined = SPACE in token_list or any(SENTENCEPIECE_SPACE in token for token in plain)
        apart = not joined and any(len(token) > 1 for token in plain)
        self.pieces = [_piece(token, " " if apart else "") for token in token_list]
        self.characters = torch.tensor([len(piece) for piece in self.pieces])

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens write together."""
        return "".join(self.pieces[token] for token in ids)

    def ends(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, U) float32: the character behind each token of (B, U); constant in the padding."""
        valid = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        widths = self.characters.to(tokens.device)[torch.where(valid, tokens, 0)]
        return torch.where(valid, widths, 0).cumsum(1).float()


def middles(ends: Tensor) -> Tensor:
    """(B, U) the middle of each stretch that ends at (B, U), the first starting at 0."""
    starts = torch.nn.functional.pad(ends, (1, 0))[:, : ends.shape[1]]
    return (starts + ends) / 2


def _piece(token: str, before: str) -> str:
    if token == _UNKNOWN:
        return before + _UNKNOWN_TEXT
    if token == SPACE:
        return " "
    return "" if _is_special(token) else before + token.replace(SENTENCEPIECE_SPACE, " ")


def _is_special(token: str) -> bool:
    return len(token) > 2 and token[0] == "<" and token[-1] == ">"
