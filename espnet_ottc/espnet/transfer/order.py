"""Where a recogniser itself places its frames in the text, as the expected order of a transport."""

import torch
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_ottc.espnet.criteria.base import BLANK
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.transfer.options import Order
from espnet_ottc.espnet.transfer.spelling import Spelling
from espnet_ottc.ops.unbalanced_order import diagonal_positions, plan_positions
from espnet_ottc.ops.validation import valid_mask
from espnet_ottc.ops.weights import uniform_label_weights


@torch.no_grad()
def frame_positions(
    order: Order,
    criterion: CTC | None,
    encoded: Tensor,
    frames: Tensor,
    tokens: Tensor,
    lengths: Tensor,
    *,
    spelling: Spelling,
) -> Tensor:
    """The middle of each frame in the text, in characters.

    Args:
        order: `diagonal`; or `plan`: OTTC's own plan, and for other criteria the posteriors of all labels
            but the blank, summed up, with the text's tokens spread evenly over them.
        criterion: in CTC's place; needed for `plan`.
        encoded: (B, T, D) what the criterion sees.
        frames: (B,) valid frames.
        tokens: (B, U) the text.
        lengths: (B,) its tokens.
        spelling: of the tokens.

    Returns:
        (B, T) float32; 0 in the padding.
    """
    T = encoded.shape[1]
    text_ends = spelling.ends(tokens, lengths)
    if order == "diagonal":
        extent = text_ends[:, -1] if text_ends.shape[1] else text_ends.new_zeros(len(text_ends))
        return diagonal_positions(frames, T, extent)
    assert criterion is not None
    if isinstance(criterion, OTTC):
        alpha = criterion.alpha(encoded, frames).float()
        targets, label_lengths, weights = criterion.labels_of_text(tokens, lengths)
        text_ends = _label_ends(criterion, targets, label_lengths, spelling)
    else:
        blank: Tensor = criterion.log_softmax(encoded)[..., BLANK]
        spoken = torch.where(valid_mask(frames, T), 1 - blank.float().exp(), 0.0)
        # Of each frame a little, so that there is something to sum up.
        spoken = torch.where(valid_mask(frames, T), spoken + 1e-6, 0.0)
        alpha = spoken / spoken.sum(1, keepdim=True).clamp(min=1e-6)
        label_lengths, weights = lengths, None
    if weights is None:
        weights = uniform_label_weights(label_lengths, text_ends.shape[1])
    return plan_positions(alpha, frames, weights.float().cumsum(1), text_ends, label_lengths)


def _label_ends(criterion: OTTC, targets: Tensor, lengths: Tensor, spelling: Spelling) -> Tensor:
    """The character behind each of OTTC's labels; blanks and the silences at both ends write nothing."""
    valid = valid_mask(lengths, targets.shape[1])
    widths = spelling.characters.to(targets.device)[torch.where(valid, targets, BLANK)]
    if criterion.boundary is not None:
        place = torch.arange(targets.shape[1], device=targets.device)
        outer = (place == 0) | (place == lengths[:, None] - 1)
        widths = torch.where(outer & (targets == criterion.boundary), 0, widths)
    return torch.where(valid, widths, 0).cumsum(1).float()
