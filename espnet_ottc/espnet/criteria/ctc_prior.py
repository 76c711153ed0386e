"""CTC with label priors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_ottc.espnet.criteria.base import Criterion, CriterionBatch, Losses
from espnet_ottc.espnet.criteria.options import PriorCTCOptions
from espnet_ottc.ops.distributed import sum_over_processes
from espnet_ottc.ops.validation import valid_mask

# A token that the last epoch hardly used must not get an unbounded bonus.
_RAREST = math.exp(-12.0)


class PriorCTC(Criterion):
    """`ctc_type: ctc_prior`: CTC on posteriors divided by a power of the labels' priors.

    A frame's score for token k is log p(k | t) − s · log P(k), where P is the mean posterior over the frames
    of the epoch before; uniform, which makes it CTC, in the first and as long as `prior_after_epoch` says.
    The blank, which takes most frames of CTC, has a high prior, and so paths of few frames on labels lose
    their advantage.  Decoding and alignment use the scores that training used.

    Source: Huang et al., "Less Peaky and More Accurate CTC Forced Alignment by Label Priors", 2024
    (arXiv 2406.02560), section 3.
    """

    options_type = PriorCTCOptions
    options: PriorCTCOptions

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Buffers for the prior that is in use and for the next one."""
        self.register_buffer("log_prior", torch.zeros(odim))
        self.register_buffer("occupancy", torch.zeros(odim))

    def set_epoch(self, epoch: int) -> None:
        """The posteriors of the epoch that has ended become the prior, once priors are due."""
        total = self.occupancy.sum()
        if float(total) > 0 and epoch > self.options.prior_after_epoch:
            self.log_prior.copy_((self.occupancy / total).clamp(min=_RAREST).log())
        self.occupancy.zero_()

    def losses(self, batch: CriterionBatch) -> Losses:
        """As in `Criterion.losses`; training mode collects the posteriors for the next prior.

        In evaluation mode the loss is CTC's on the distributions that decoding uses.
        """
        log_probs = F.log_softmax(self.ctc_lo(self.dropped(batch.encoded)).float(), dim=2)
        valid = valid_mask(batch.lengths, batch.encoded.shape[1])
        if self.training:
            self.occupancy += sum_over_processes(log_probs.detach()[valid].exp().sum(0))
        scores = log_probs - self.options.prior_scale * self.log_prior
        # torch's CTC needs distributions, and its gradient is wrong for other scores; what normalising
        # takes from every path of an utterance is given back after it.
        norms = scores.logsumexp(2)
        losses = self.ctc_losses(scores - norms[..., None], batch)
        if self.training:
            # Not in validation: these sums move with the prior, and with them losses of two epochs could
            # not be compared.  The loss of an utterance too short for its text, 0 or infinite, stays it.
            back = torch.where(valid, norms, 0.0).sum(1)
            losses = torch.where(losses > 0, losses - back, losses)
        return Losses(self.reduced(losses), {})

    def frame_log_probs(self, hs_pad: Tensor) -> Tensor:
        """The scores of training, normalised: (B, T, V) in float32."""
        scores = super().frame_log_probs(hs_pad) - self.options.prior_scale * self.log_prior
        return F.log_softmax(scores, dim=2)

    def log_softmax(self, hs_pad: Tensor) -> Tensor:
        """As `frame_log_probs`."""
        return self.frame_log_probs(hs_pad)

    def softmax(self, hs_pad: Tensor) -> Tensor:
        """Its exponential."""
        return self.log_softmax(hs_pad).exp()

    def argmax(self, hs_pad: Tensor) -> Tensor:
        """(B, T) best token of each frame."""
        return self.frame_log_probs(hs_pad).argmax(2)
