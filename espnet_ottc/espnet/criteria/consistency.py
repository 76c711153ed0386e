"""CTC on two views of each utterance."""

import torch.nn.functional as F

from espnet_ottc.espnet.criteria.base import Criterion, CriterionBatch, Losses
from espnet_ottc.espnet.criteria.options import ConsistencyCTCOptions
from espnet_ottc.ops.regularizers import consistency


class ConsistencyCTC(Criterion):
    """`ctc_type: cr_ctc`: CTC on two views of each utterance, whose posteriors are to agree.

    L = ½ (CTC(a) + CTC(b)) + w · ½ Σ_t [KL(sg p_b ‖ p_a) + KL(sg p_a ‖ p_b)], where a and b are the
    utterance under two draws of SpecAugment and dropout, and sg stops the gradient.

    Source: Yao et al., "CR-CTC: Consistency regularization on CTC for improved speech recognition", 2024
    (arXiv 2410.05101), section 3.
    """

    options_type = ConsistencyCTCOptions
    options: ConsistencyCTCOptions

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Ask the model for two views of each utterance."""
        self.consistency_weight = self.options.consistency_weight

    def losses(self, batch: CriterionBatch) -> Losses:
        """As in `Criterion.losses`; in training mode the second half of the batch is the other view."""
        logits = self.ctc_lo(self.dropped(batch.encoded)).float()
        losses = self.ctc_losses(F.log_softmax(logits, dim=2), batch)
        if not self.training or self.consistency_weight == 0:
            return Losses(self.reduced(losses), {})
        apart = consistency(logits, batch.lengths)
        losses = losses + self.consistency_weight * apart
        return Losses(self.reduced(losses), {"loss_consistency": self.reduced(apart.detach())})
