"""Cross-entropy along a forced alignment."""

import torch
import torch.nn.functional as F

from espnet_ottc.espnet.criteria.base import BLANK, Criterion, CriterionBatch, Losses
from espnet_ottc.espnet.criteria.options import SinglePathOptions
from espnet_ottc.ops.validation import valid_mask


class SinglePath(Criterion):
    """`ctc_type: single_path`: cross-entropy of each frame with the label that a forced alignment gives it.

    Source: OTTC (arXiv 2502.01588), the ablation "single path".
    """

    options_type = SinglePathOptions
    options: SinglePathOptions

    @property
    def needs_ottc_model(self) -> str | None:
        """The data stream `ali` comes through that model alone."""
        return f"ctc_type: {self.ctc_type}"

    def losses(self, batch: CriterionBatch) -> Losses:
        """As in `Criterion.losses`, with an alignment of one token id a frame.

        Raises:
            ValueError: no alignment, or one with another number of frames.
        """
        alignment, alignment_lengths = batch.alignment, batch.alignment_lengths
        if alignment is None or alignment_lengths is None:
            raise ValueError(
                "ctc_type: single_path needs the data stream ali (frame labels of a forced alignment) in "
                "training and validation data, and model: ottc; no such stream came"
            )
        other = (alignment_lengths != batch.lengths).nonzero()
        if len(other):
            b = int(other[0])
            raise ValueError(
                f"utterance {b}: ali must have one label for each of the encoder's "
                f"{int(batch.lengths[b])} frames, got {int(alignment_lengths[b])}"
            )
        frames = batch.encoded.shape[1]
        logits = self.ctc_lo(self.dropped(batch.encoded)).float()
        path = F.pad(
            alignment.long().clamp(min=BLANK), (0, frames - alignment.shape[1]), value=BLANK
        )
        costs = F.cross_entropy(logits.transpose(1, 2), path, reduction="none")
        losses = torch.where(valid_mask(batch.lengths, frames), costs, 0.0).sum(1)
        return Losses(self.reduced(losses), {})
