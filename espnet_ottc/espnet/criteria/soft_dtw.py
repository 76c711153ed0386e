"""Soft dynamic time warping between frames and labels."""

import types

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_ottc.espnet.criteria.base import CriterionBatch, Losses
from espnet_ottc.espnet.criteria.options import SoftDTWOptions
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.utils.extras import MissingExtraError

# Nats for a label of probability 0, which costs infinity: warping must not see one.
_INFINITE = 1e12


class SoftDTW(SequenceCriterion):
    """`ctc_type: soft_dtw`: soft dynamic time warping between frames and labels.

    L = soft-min_γ over warping paths π of Σ_{(t, u) in π} −log p(y_u | frame t), on the label sequences of
    OTTC.  A path steps by one frame, one label or both, so that a frame may belong to several labels.
    Computed by tslearn, on the CPU, in O(T·U).

    Source: Cuturi and Blondel, "Soft-DTW: a differentiable loss function for time-series", 2017
    (arXiv 1703.01541); OTTC (arXiv 2502.01588), the ablation of that name.

    Raises:
        ImportError: tslearn is not installed, or is older than 0.10.
    """

    options_type = SoftDTWOptions
    options: SoftDTWOptions

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Make the loss of tslearn."""
        super().set_up(odim, encoder_output_size)
        gamma = self.options.gamma
        self.soft_dtw = _tslearn().SoftDTWLossPyTorch(gamma=gamma, dist_func=_label_costs)

    def losses(self, batch: CriterionBatch) -> Losses:
        """As in `Criterion.losses`; utterances one by one, since warping knows no padding."""
        log_probs = F.log_softmax(self.ctc_lo(self.dropped(batch.encoded)).float(), dim=2)
        labels = self.labels_of_text(batch.targets, batch.target_lengths)
        _keep_pytorch_threads()
        losses = []
        counts = zip(batch.lengths.tolist(), labels.lengths.tolist(), strict=True)
        for b, (T, U) in enumerate(counts):
            if not T or not U:
                losses.append(log_probs[b].sum() * 0.0)
                continue
            sequence = F.one_hot(labels.targets[b, :U], log_probs.shape[2]).to(log_probs.dtype)
            loss = self.soft_dtw(log_probs[b : b + 1, :T], sequence[None])[0]
            losses.append(torch.where(loss > _INFINITE / 2, torch.inf, loss))
        return Losses(self.reduced(torch.stack(losses)), {})


def _label_costs(log_probs: Tensor, labels: Tensor) -> Tensor:
    """−log p(y_u | t) as (B, T, U) from (B, T, V) and one-hot (B, U, V)."""
    return -log_probs.clamp(min=-_INFINITE) @ labels.transpose(1, 2)


def _keep_pytorch_threads() -> None:
    """Let numba run tslearn's loop over a batch of one utterance on one thread.

    Numba's OpenMP layer sets the number of threads of the whole process, PyTorch's too: trainings side
    by side, each with its share of the cores, would take each other's.
    """
    import numba

    numba.set_num_threads(1)


def _tslearn() -> types.ModuleType:
    """The module that has the loss.  Before 0.10 its gradients were wrong."""
    try:
        import tslearn.metrics
    except ImportError as error:
        raise MissingExtraError("ctc_type: soft_dtw", "soft_dtw", ["tslearn"]) from error
    if tuple(map(int, tslearn.__version__.split(".")[:2])) < (0, 10):
        raise MissingExtraError("ctc_type: soft_dtw", "soft_dtw", ["tslearn>=0.10"])
    module: types.ModuleType = tslearn.metrics
    return module
