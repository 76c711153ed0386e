"""What ESPnet's model and trainer, as this package extends them, ask of a criterion in CTC's place."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_ottc.espnet.decoding.labels import greedy_labels

# ESPnet reserves the first token for the blank wherever CTC is used.
BLANK = 0


class Losses(NamedTuple):
    """What a criterion computed: scalars, or (B,) where `reduce` is off."""

    loss: Tensor  # the sum that is trained on
    parts: dict[str, Tensor]  # name in the log -> value


class Criterion(CTC):  # type: ignore[misc]
    """A criterion with CTC's token head (`ctc_lo`) and CTC's interface.

    Whatever reads CTC's posteriors, or loads a CTC model's parameters, works with it.

    Args:
        odim: V, number of tokens; 0 is the blank.
        encoder_output_size: D.
        options: the criterion's own, a dataclass of `espnet_ottc.espnet.criteria.options`.
        dropout_rate: dropout in front of the token heads, in training mode only (ESPnet's CTC applies it in
            evaluation mode too).
        reduce: the mean loss over the batch; otherwise one loss per utterance, which is not divided by the
            batch (ESPnet's CTC does so).
    """

    # Above 0, training batches come twice, masked differently: rows b and B/2 + b are one utterance.
    consistency_weight: float = 0.0

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: Any,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
    ) -> None:
        super().__init__(odim, encoder_output_size, dropout_rate=dropout_rate, reduce=reduce)
        self.ctc_type = options.ctc_type
        self.options = options

    def set_epoch(self, epoch: int) -> None:
        """Tell the criterion which epoch of training begins, counted from 1."""

    def forward(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Tensor:
        """The loss alone; arguments as in `losses`."""
        return self.losses(hs_pad, hlens, ys_pad, ys_lens, alignment, alignment_lengths).loss

    def losses(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        alignment: Tensor | None = None,
        alignment_lengths: Tensor | None = None,
    ) -> Losses:
        """The loss and its parts.

        Args:
            hs_pad: (B, T, D) encoder output.
            hlens: (B,) valid frames.
            ys_pad: (B, U) token ids, padded with anything.
            ys_lens: (B,) valid tokens.
            alignment: (B, N) token id of each frame of a forced alignment, for criteria that train on one.
            alignment_lengths: (B,).
        """
        raise NotImplementedError

    def greedy(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy hypotheses: labels (B, T) padded with the blank, and their lengths (B,)."""
        return greedy_labels(self.argmax(hs_pad), None, hlens, blank=BLANK)

    def best_path(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Hypotheses like `greedy`'s: the labels of the best path, which for CTC are the greedy ones."""
        return self.greedy(hs_pad, hlens)

    def frame_log_probs(self, hs_pad: Tensor) -> Tensor:
        """The model's log-probabilities (B, T, V) of each frame, at least in float32."""
        logits = self.ctc_lo(hs_pad)
        return F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=2)

    def reduced(self, losses: Tensor) -> Tensor:
        """The mean of (B,) losses where `reduce` is on."""
        return losses.mean() if self.reduce else losses
