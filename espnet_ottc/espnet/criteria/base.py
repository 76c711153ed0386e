"""What ESPnet's model and trainer, as this package extends them, ask of a criterion in CTC's place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_ottc.espnet.criteria.options import CriterionOptions
from espnet_ottc.ops.greedy_decoding import greedy_labels

# ESPnet reserves the first token for the blank wherever CTC is used.
BLANK = 0


@dataclass(frozen=True)
class CriterionBatch:
    """What a criterion's loss is computed from: B utterances of at most T frames and U tokens.

    Attributes:
        encoded: (B, T, D) the encoder's output.
        lengths: (B,) valid frames.
        targets: (B, U) token ids without boundary labels, padded with anything.
        target_lengths: (B,) valid tokens.
        alignment: (B, N) token id of each frame of a forced alignment, for criteria that train on one.
        alignment_lengths: (B,) valid frames of it.
    """

    encoded: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    alignment: Tensor | None = None
    alignment_lengths: Tensor | None = None


class Losses(NamedTuple):
    """What a criterion computed: scalars, or (B,) where `reduce` is off."""

    loss: Tensor  # the sum that is trained on
    parts: dict[str, Tensor]  # name in the log -> value


class Criterion(CTC):  # type: ignore[misc]
    """A criterion with CTC's token head (`ctc_lo`) and CTC's interface.

    Whatever reads CTC's posteriors, or loads a CTC model's parameters, works with it.  A subclass names its
    `options_type`, makes its own parameters in `set_up` and computes `losses`.

    Args:
        odim: V, number of tokens; 0 is the blank.
        encoder_output_size: D.
        options: the criterion's own, an `options_type`; None: their defaults.
        dropout_rate: dropout in front of the token heads, in [0, 1), in training mode only (ESPnet's CTC
            applies it in evaluation mode too).
        reduce: the mean loss over the batch; otherwise one loss per utterance, which is not divided by the
            batch (ESPnet's CTC does so).
        zero_infinity: an utterance of infinite loss counts 0 and has no gradient; as ESPnet's CTC by default.

    Raises:
        TypeError: the options of another criterion.
    """

    options_type: ClassVar[type[CriterionOptions]]
    options: Any

    # The tokens behind the ids, where whoever built the criterion knew them.
    token_list: Sequence[str] = ()

    # Above 0, training batches come twice, masked differently: rows b and B/2 + b are one utterance.
    consistency_weight: float = 0.0

    def __init__(
        self,
        odim: int,
        encoder_output_size: int,
        options: CriterionOptions | None = None,
        *,
        dropout_rate: float = 0.0,
        reduce: bool = True,
        zero_infinity: bool = True,
    ) -> None:
        super().__init__(
            odim,
            encoder_output_size,
            dropout_rate=dropout_rate,
            reduce=reduce,
            zero_infinity=zero_infinity,
        )
        self.zero_infinity = zero_infinity
        options = options or self.options_type()
        if not isinstance(options, self.options_type):
            raise TypeError(
                f"options of {type(self).__name__} must be {self.options_type.__name__}, "
                f"got {type(options).__name__}"
            )
        self.options = options
        self.ctc_type = options.ctc_type
        self.set_up(odim, encoder_output_size)

    @property
    def needs_ottc_model(self) -> str | None:
        """The option, if any, that works in `model: ottc` alone; written as in a YAML file."""
        if self.consistency_weight > 0:
            return f"consistency_weight: {self.consistency_weight}"
        return None

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Make what this criterion has beside the token head, as its options ask; called once."""

    def set_epoch(self, epoch: int) -> None:
        """Tell the criterion which epoch of training begins, counted from 1."""

    def forward(self, hs_pad: Tensor, hlens: Tensor, ys_pad: Tensor, ys_lens: Tensor) -> Tensor:
        """The loss alone, with ESPnet's arguments: the first four fields of `CriterionBatch`."""
        return self.losses(CriterionBatch(hs_pad, hlens, ys_pad, ys_lens)).loss

    def losses(self, batch: CriterionBatch) -> Losses:
        """The loss and its parts."""
        raise NotImplementedError

    def dropped(self, encoded: Tensor) -> Tensor:
        """(B, T, D) encoder output behind the dropout in front of the token heads."""
        return F.dropout(encoded, self.dropout_rate, self.training)

    def ctc_losses(self, log_probs: Tensor, batch: CriterionBatch) -> Tensor:
        """CTC's loss (B,) of log-probabilities (B, T, V).

        Where the text does not fit the frames it is infinite, or 0 with `zero_infinity`.
        """
        losses: Tensor = self.ctc_loss(
            log_probs.transpose(0, 1),
            batch.targets.clamp(min=0),
            batch.lengths,
            batch.target_lengths,
        )
        return losses

    def forced_align(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        blank_idx: int = BLANK,
    ) -> tuple[Tensor, Tensor]:
        """The best path for a known text, with the arguments and results of ESPnet's own method.

        Args:
            hs_pad: (1, T, D) encoder output.
            hlens: (1,) valid frames.
            ys_pad: (1, U) token ids.
            ys_lens: (1,) valid tokens.
            blank_idx: the blank.

        Returns:
            (1, T) the token of each frame, and (1, T) its log-probability.

        Raises:
            RuntimeError: too few frames for the text.
        """
        # As ESPnet's: whoever trains needs no torchaudio.
        from torchaudio.functional import forced_align

        path, scores = forced_align(
            self.log_softmax(hs_pad), ys_pad, hlens, ys_lens, blank=blank_idx
        )
        return path, scores

    def greedy(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy hypotheses: labels (B, T) padded with the blank, and their lengths (B,)."""
        return self.greedy_of(self.frame_log_probs(hs_pad), None, hlens)

    def viterbi(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Hypotheses like `greedy`'s by a search over the frames, where the criterion has one."""
        return self.greedy(hs_pad, hlens)

    def greedy_of(
        self, log_probs: Tensor, alpha: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`greedy` from what the model says about frames: log-probabilities (B, T, V) and weights (B, T)."""
        return greedy_labels(log_probs.argmax(2), None, lengths, blank=BLANK)

    def viterbi_of(
        self, log_probs: Tensor, alpha: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`viterbi` from the same."""
        return self.greedy_of(log_probs, alpha, lengths)

    def frame_log_probs(self, hs_pad: Tensor) -> Tensor:
        """The model's log-probabilities (B, T, V) of each frame, at least in float32."""
        logits = self.ctc_lo(hs_pad)
        return F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=2)

    def reduced(self, losses: Tensor) -> Tensor:
        """The mean of (B,) losses where `reduce` is on; infinite ones are 0 where `zero_infinity` is."""
        if self.zero_infinity:
            losses = losses.masked_fill(losses == torch.inf, 0.0)
        return losses.mean() if self.reduce else losses
