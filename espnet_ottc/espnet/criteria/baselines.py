"""Criteria to compare OTTC with, each in CTC's place and on CTC's head."""

import math
import types

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_ottc.espnet.criteria.base import BLANK, Criterion, Losses
from espnet_ottc.espnet.criteria.options import (
    ConsistencyCTCOptions,
    PriorCTCOptions,
    SinglePathOptions,
    SoftDTWOptions,
)
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.ops.distributed import sum_over_processes
from espnet_ottc.ops.regularizers import consistency
from espnet_ottc.ops.validation import valid_mask
from espnet_ottc.utils.extras import MissingExtraError

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

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: PriorCTCOptions | None = None,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
    ) -> None:
        options = options or PriorCTCOptions()
        super().__init__(
            odim, encoder_output_size, options, dropout_rate=dropout_rate, reduce=reduce
        )
        self.register_buffer("log_prior", torch.zeros(odim))
        self.register_buffer("occupancy", torch.zeros(odim))

    def set_epoch(self, epoch: int) -> None:
        """The posteriors of the epoch that has ended become the prior, once priors are due."""
        total = self.occupancy.sum()
        if float(total) > 0 and epoch > self.options.prior_after_epoch:
            self.log_prior.copy_((self.occupancy / total).clamp(min=_RAREST).log())
        self.occupancy.zero_()

    def losses(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Losses:
        """As in `Criterion.losses`; training mode collects the posteriors for the next prior.

        In evaluation mode the loss is CTC's on the distributions that decoding uses.
        """
        hidden = F.dropout(hs_pad, self.dropout_rate, self.training)
        log_probs = F.log_softmax(self.ctc_lo(hidden).float(), dim=2)
        valid = valid_mask(hlens, hs_pad.shape[1])
        if self.training:
            self.occupancy += sum_over_processes(log_probs.detach()[valid].exp().sum(0))
        scores = log_probs - self.options.prior_scale * self.log_prior
        # torch's CTC needs distributions, and its gradient is wrong for other scores; what normalising
        # takes from every path of an utterance is given back after it.
        norms = scores.logsumexp(2)
        log_probs = (scores - norms[..., None]).transpose(0, 1)
        losses = self.ctc_loss(log_probs, ys_pad.clamp(min=0), hlens, ys_lens)
        if self.training:
            # Not in validation: these sums move with the prior, and with them losses of two epochs could
            # not be compared.  The loss of an utterance too short for its text is 0, and stays it.
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


class ConsistencyCTC(Criterion):
    """`ctc_type: cr_ctc`: CTC on two views of each utterance, whose posteriors are to agree.

    L = ½ (CTC(a) + CTC(b)) + w · ½ Σ_t [KL(sg p_b ‖ p_a) + KL(sg p_a ‖ p_b)], where a and b are the
    utterance under two draws of SpecAugment and dropout, and sg stops the gradient.

    Source: Yao et al., "CR-CTC: Consistency regularization on CTC for improved speech recognition", 2024
    (arXiv 2410.05101), section 3.
    """

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: ConsistencyCTCOptions | None = None,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
    ) -> None:
        options = options or ConsistencyCTCOptions()
        super().__init__(
            odim, encoder_output_size, options, dropout_rate=dropout_rate, reduce=reduce
        )
        self.consistency_weight = options.consistency_weight

    def losses(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Losses:
        """As in `Criterion.losses`; in training mode the second half of the batch is the other view."""
        hidden = F.dropout(hs_pad, self.dropout_rate, self.training)
        logits = self.ctc_lo(hidden).float()
        log_probs = F.log_softmax(logits, dim=2).transpose(0, 1)
        losses = self.ctc_loss(log_probs, ys_pad.clamp(min=0), hlens, ys_lens)
        if not self.training or self.consistency_weight == 0:
            return Losses(self.reduced(losses), {})
        apart = consistency(logits, hlens)
        losses = losses + self.consistency_weight * apart
        return Losses(self.reduced(losses), {"loss_consistency": self.reduced(apart.detach())})


class SinglePath(Criterion):
    """`ctc_type: single_path`: cross-entropy of each frame with the label that a forced alignment gives it.

    Source: OTTC (arXiv 2502.01588), the ablation "single path".
    """

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: SinglePathOptions | None = None,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
    ) -> None:
        options = options or SinglePathOptions()
        super().__init__(
            odim, encoder_output_size, options, dropout_rate=dropout_rate, reduce=reduce
        )

    def losses(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Losses:
        """As in `Criterion.losses`, with an alignment of one token id a frame.

        Raises:
            ValueError: no alignment, or one with another number of frames.
        """
        if alignment is None or alignment_lengths is None:
            raise ValueError(
                "ctc_type: single_path needs the data stream ali (frame labels of a forced alignment) in "
                "training and validation data, and model: ottc; no such stream came"
            )
        other = (alignment_lengths != hlens).nonzero()
        if len(other):
            b = int(other[0])
            raise ValueError(
                f"utterance {b}: ali must have one label for each of the encoder's {int(hlens[b])} frames, "
                f"got {int(alignment_lengths[b])}"
            )
        frames = hs_pad.shape[1]
        hidden = F.dropout(hs_pad, self.dropout_rate, self.training)
        logits = self.ctc_lo(hidden).float()
        path = F.pad(
            alignment.long().clamp(min=BLANK), (0, frames - alignment.shape[1]), value=BLANK
        )
        costs = F.cross_entropy(logits.transpose(1, 2), path, reduction="none")
        losses = torch.where(valid_mask(hlens, frames), costs, 0.0).sum(1)
        return Losses(self.reduced(losses), {})


class SoftDTW(SequenceCriterion):
    """`ctc_type: soft_dtw`: soft dynamic time warping between frames and labels.

    L = soft-min_γ over warping paths π of Σ_{(t, u) in π} −log p(y_u | frame t), on the label sequences of
    OTTC.  A path steps by one frame, one label or both, so that a frame may belong to several labels.
    Computed by tslearn, on the CPU, in O(T·U).

    Source: Cuturi and Blondel, "Soft-DTW: a differentiable loss function for time-series", 2017
    (arXiv 1703.01541); OTTC (arXiv 2502.01588), the ablation of that name.

    Raises:
        ImportError: tslearn is not installed.
    """

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: SoftDTWOptions | None = None,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
    ) -> None:
        options = options or SoftDTWOptions()
        super().__init__(
            odim, encoder_output_size, options, dropout_rate=dropout_rate, reduce=reduce
        )
        self.soft_dtw = _tslearn().SoftDTWLossPyTorch(gamma=options.gamma, dist_func=_label_costs)

    def losses(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Losses:
        """As in `Criterion.losses`; utterances one by one, since warping knows no padding."""
        hidden = F.dropout(hs_pad, self.dropout_rate, self.training)
        log_probs = F.log_softmax(self.ctc_lo(hidden).float(), dim=2)
        labels = self.labels_of_text(ys_pad, ys_lens)
        _keep_pytorch_threads()
        losses = []
        for b, (T, U) in enumerate(zip(hlens.tolist(), labels.lengths.tolist(), strict=True)):
            if not T or not U:
                losses.append(log_probs[b].sum() * 0.0)
                continue
            sequence = F.one_hot(labels.targets[b, :U], log_probs.shape[2]).to(log_probs.dtype)
            losses.append(self.soft_dtw(log_probs[b : b + 1, :T], sequence[None])[0])
        return Losses(self.reduced(torch.stack(losses)), {})


def _label_costs(log_probs: Tensor, labels: Tensor) -> Tensor:
    """−log p(y_u | t) as (B, T, U) from (B, T, V) and one-hot (B, U, V)."""
    return -log_probs @ labels.transpose(1, 2)


def _keep_pytorch_threads() -> None:
    """Let numba run tslearn's loop over a batch of one utterance on one thread.

    Numba's OpenMP layer sets the number of threads of the whole process, PyTorch's too: trainings side
    by side, each with its share of the cores, would take each other's.
    """
    import numba

    numba.set_num_threads(1)


def _tslearn() -> types.ModuleType:
    try:
        import tslearn.metrics
    except ImportError as error:
        raise MissingExtraError("ctc_type: soft_dtw", "soft_dtw", ["tslearn"]) from error
    module: types.ModuleType = tslearn.metrics
    return module
