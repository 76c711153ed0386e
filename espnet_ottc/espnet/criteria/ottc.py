"""The OTTC criterion in the place of ESPnet's CTC."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from kaldialign import edit_distance
from torch import Tensor
from torch.func import functional_call

from espnet_ottc.espnet.criteria.base import BLANK, CriterionBatch, Losses
from espnet_ottc.espnet.criteria.options import OTTCOptions
from espnet_ottc.espnet.criteria.sequence import Labels, SequenceCriterion
from espnet_ottc.espnet.criteria.transition_scale import TransitionScale
from espnet_ottc.nn.frame_weights import FrameWeightHead
from espnet_ottc.ops.boundaries import boundaries
from espnet_ottc.ops.flat_start import flat_start_loss, flat_start_share
from espnet_ottc.ops.label_weights import (
    EstimatedLabelWeights,
    LearnedLabelWeights,
    run_length_label_weights,
)
from espnet_ottc.ops.loss import ottc_loss
from espnet_ottc.ops.null_capacity import null_share, unused_capacity
from espnet_ottc.ops.regularizers import consistency, kl_to_uniform, roughness
from espnet_ottc.ops.targets import add_pauses
from espnet_ottc.ops.transport import frame_weights
from espnet_ottc.ops.viterbi_decoding import viterbi_labels


class ObservedBatch(NamedTuple):
    """What an observer sees of one batch; nothing in it has a gradient."""

    logits: Tensor  # (B, T, V)
    alpha: Tensor  # (B, T)
    lengths: Tensor  # (B,)
    labels: Labels


class Observer(Protocol):
    """Something that wants to see the batches that the criterion works on."""

    def see(self, batch: ObservedBatch) -> None:
        """Look at one batch."""


class OTTC(SequenceCriterion):
    """One-dimensional optimal temporal transport classification with CTC's interface.

    The token head is CTC's own (`ctc_lo`), so that whatever reads CTC's posteriors, or loads a CTC model's
    parameters, works; beside it stand the frame-weight head and, as the options ask, learned label weights
    and a second token head for an auxiliary CTC loss.

    The other arguments are those of `Criterion`.

    Args:
        options: see `OTTCOptions`.

    Source: OTTC (arXiv 2502.01588), sections 4.3 and 5.
    """

    options_type = OTTCOptions
    options: OTTCOptions

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Make the frame-weight head, learnt label weights and the auxiliary head, as the options ask."""
        super().set_up(odim, encoder_output_size)
        options = self.options
        self.consistency_weight = options.consistency_weight
        self.drop_threshold = options.drop_threshold
        self.frozen = options.freeze_alpha_after_epoch == 0
        self.flat_start = flat_start_share(1, options.flat_start_epochs)
        self.null = BLANK if options.null_capacity > 0 else None
        self.null_share = null_share(1, options.null_after_epoch)
        self.observer: Observer | None = None
        self.frame_head = (
            FrameWeightHead(encoder_output_size, options.dropout)
            if options.alpha == "learned"
            else None
        )
        self.label_weighting = _label_weighting(odim, options)
        self.transition_scale = TransitionScale()
        self.aux_ctc_lo = (
            torch.nn.Linear(encoder_output_size, odim) if options.aux_ctc_weight > 0 else None
        )

    @property
    def needs_ottc_model(self) -> str | None:
        """The option, if any, that works in `model: ottc` alone; written as in a YAML file."""
        return (
            "label_weights: ali"
            if self.options.label_weights == "ali"
            else super().needs_ottc_model
        )

    def set_epoch(self, epoch: int) -> None:
        """Tell the schedule which epoch begins, counted from 1."""
        last = self.options.freeze_alpha_after_epoch
        self.frozen = last is not None and epoch > last
        self.flat_start = flat_start_share(epoch, self.options.flat_start_epochs)
        self.null_share = null_share(epoch, self.options.null_after_epoch)
        self.train(self.training)
        if isinstance(self.label_weighting, EstimatedLabelWeights):
            self.label_weighting.update()

    def train(self, mode: bool = True) -> "OTTC":
        """Like any module's; a frozen frame-weight head stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.frozen and self.frame_head is not None:
            self.frame_head.eval()
        return self

    def losses(self, batch: CriterionBatch) -> Losses:
        """The loss and its parts.

        Raises:
            ValueError: `label_weights: ali` without an alignment, or values that break the loss's rules.
        """
        hidden = self.dropped(batch.encoded)
        logits = self.ctc_lo(hidden)
        frame_logits = self.frame_scores(batch.encoded)
        labels = self.labels(batch)
        loss, parts = self._transport_loss(logits, frame_logits, batch, labels)
        if self.options.penalised:
            loss = loss + self._penalty(frame_logits, batch.lengths, labels)
        if self.aux_ctc_lo is not None:
            log_probs = F.log_softmax(self.aux_ctc_lo(hidden).float(), dim=2)
            aux_ctc = self.reduced(self.ctc_losses(log_probs, batch))
            loss = loss + self.options.aux_ctc_weight * aux_ctc
            parts["loss_aux_ctc"] = aux_ctc.detach()
        if self.training and self.consistency_weight > 0:
            per_frame = consistency(logits, batch.lengths) / batch.lengths.clamp(min=1)
            apart = self._scaled(per_frame, batch.lengths, labels)
            loss = loss + self.consistency_weight * apart
            parts["loss_consistency"] = apart.detach()
        if self.frozen and self.frame_head is not None:
            # DistributedDataParallel waits for a gradient of every parameter; these are zeros,
            # which the trainer keeps from the optimizer.
            loss = loss + 0.0 * sum(p.sum() for p in self.frame_head.parameters())
        self._observe(logits, frame_logits, batch.lengths, labels)
        return Losses(loss, parts)

    def labels(self, batch: CriterionBatch) -> Labels:
        """The label sequences that the loss transports to: boundary labels and separating blanks added.

        With `label_weights: ali` they are the runs of the alignment; its blanks at both ends, where there
        are any, become the boundary label.

        Raises:
            ValueError: `label_weights: ali` without an alignment.
        """
        if self.options.label_weights != "ali":
            return self.labels_of_text(batch.targets, batch.target_lengths)
        if batch.alignment is None or batch.alignment_lengths is None:
            raise ValueError(
                "label_weights: ali needs the data stream ali (frame labels of a forced alignment) in "
                "training and validation data, and model: ottc; no such stream came"
            )
        return _labels_of_alignment(batch.alignment, batch.alignment_lengths, self.boundary)

    def labels_with_pauses(self, ys_pad: Tensor, ys_lens: Tensor) -> Labels:
        """Label sequences with the null label where texts may pause, as `add_pauses`; for the flat start."""
        targets, lengths = add_pauses(
            ys_pad.long(), ys_lens, BLANK, boundary=self.boundary, unaligned=self.unaligned
        )
        return Labels(targets, lengths, self.label_weights(targets, lengths))

    def alpha(self, hs_pad: Tensor, hlens: Tensor) -> Tensor:
        """Frame weights (B, T) from the encoder's output (B, T, D): sum 1 over the valid frames, 0 beyond."""
        return frame_weights(self.frame_scores(hs_pad), hlens)

    def viterbi(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Hypotheses like `greedy`'s by the best path through the frames, on which changes have a price."""
        return self.viterbi_of(self.frame_log_probs(hs_pad), self.alpha(hs_pad, hlens), hlens)

    def viterbi_of(
        self, log_probs: Tensor, alpha: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As in `Criterion`; the price is the one that served best on the validation set."""
        return self._viterbi(log_probs, alpha, lengths, self.transition_scale.best())

    def count_errors(self, hs_pad: Tensor, hlens: Tensor, ys_pad: Tensor, ys_lens: Tensor) -> None:
        """See on a batch of the validation set how many errors each price of a change makes.

        The first batch after training begins anew; a model that is not being trained keeps its price.

        Args:
            hs_pad: (B, T, D) encoder output.
            hlens: (B,).
            ys_pad: (B, U) token ids without boundary labels, padded with anything.
            ys_lens: (B,).
        """
        if not self.transition_scale.begin():
            return
        log_probs, alpha = self.frame_log_probs(hs_pad), self.alpha(hs_pad, hlens)
        right = _rows(ys_pad, ys_lens)
        errors = []
        for scale in self.transition_scale.SCALES:
            found = _rows(*self._viterbi(log_probs, alpha, hlens, scale))
            errors.append(
                sum(edit_distance(*pair)["total"] for pair in zip(right, found, strict=True))
            )
        self.transition_scale.add(errors)

    def _viterbi(
        self, log_probs: Tensor, alpha: Tensor | None, lengths: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        if alpha is None:
            return self.greedy_of(log_probs, alpha, lengths)
        boundary = self.boundary
        return viterbi_labels(
            log_probs, alpha, lengths, transition_scale=scale, blank=BLANK, boundary=boundary
        )

    def label_weights(self, targets: Tensor, lengths: Tensor) -> Tensor | None:
        """As `SequenceCriterion.label_weights`: learned or estimated ones where the options ask for them."""
        if self.label_weighting is None:
            return None
        weights: Tensor = self.label_weighting(targets, lengths)
        return weights

    def frame_scores(self, hs_pad: Tensor) -> Tensor:
        """As `SequenceCriterion.frame_scores`: of the frame-weight head, or 0 without it."""
        if self.frame_head is None:
            return torch.zeros(hs_pad.shape[:2], device=hs_pad.device)
        if not self.frozen:
            frame_logits: Tensor = self.frame_head(hs_pad)
            return frame_logits
        # The encoder still learns to keep the weights where the loss wants them: without a gradient through
        # the head it would move on under it, and they would decay.
        fixed = {name: p.detach() for name, p in self.frame_head.named_parameters()}
        frame_logits = functional_call(self.frame_head, fixed, (hs_pad,))
        return frame_logits

    def _transport_loss(
        self, logits: Tensor, frame_logits: Tensor, batch: CriterionBatch, labels: Labels
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """OTTC's loss, with the flat start's as long as it lasts, and both as parts."""
        frames = batch.lengths
        lengths = (frames, labels.lengths, labels.weights)
        # The best model is chosen by one and the same loss in all epochs.
        null_weight = self.options.null_weight * (self.null_share if self.training else 1.0)
        ottc = ottc_loss(
            logits,
            frame_logits,
            labels.targets,
            *lengths,
            reduction="mean" if self.reduce else "none",
            scale=self.options.scale,
            zero_infinity=self.zero_infinity,
            null_capacity=self.options.null_capacity,
            null_weight=null_weight,
            null=BLANK,
        )
        parts = {"loss_ottc": ottc.detach()}
        if self.null is not None:
            alpha = frame_weights(frame_logits.detach(), frames)
            unused = unused_capacity(alpha, frames, labels.lengths, self.options.null_capacity)
            parts["null_mass"] = self.reduced(unused.sum(1))
        if not self.training or self.flat_start == 0:
            return ottc, parts
        sought = labels
        if self.null is not None:
            sought = self.labels_with_pauses(batch.targets, batch.target_lengths)
        searched = flat_start_loss(
            logits, frame_logits, sought.targets, frames, sought.lengths, sought.weights
        )
        searched = self._scaled(searched, frames, labels)
        parts["loss_flat_start"] = searched.detach()
        # Not the sum alone: OTTC's loss may be infinite while it does not count.
        loss = searched if self.flat_start == 1 else torch.lerp(ottc, searched, self.flat_start)
        return loss, parts

    def _observe(
        self, logits: Tensor, frame_logits: Tensor, frames: Tensor, labels: Labels
    ) -> None:
        """Let the label weights learn from the plan, and the observer see the batch."""
        weighting = self.label_weighting
        if self.training and isinstance(weighting, EstimatedLabelWeights):
            assert labels.weights is not None
            alpha = frame_weights(frame_logits.detach(), frames)
            starts, ends = boundaries(alpha, labels.weights, frames, labels.lengths)
            weighting.measure(labels.targets, labels.lengths, ends - starts)
        if self.observer is not None:
            alpha = frame_weights(frame_logits.detach(), frames)
            self.observer.see(ObservedBatch(logits.detach(), alpha, frames, labels))

    def _penalty(self, frame_logits: Tensor, hlens: Tensor, labels: Labels) -> Tensor:
        options = self.options
        penalty = options.alpha_kl_weight * kl_to_uniform(frame_logits, hlens)
        penalty = penalty + options.alpha_roughness_weight * roughness(frame_logits, hlens)
        return self._scaled(penalty, hlens, labels)

    def _scaled(self, values: Tensor, hlens: Tensor, labels: Labels) -> Tensor:
        """Values (B,) per unit of mass in the loss's unit, reduced like it."""
        if self.options.scale != "utterance":
            values = values * (hlens if self.options.scale == "frames" else labels.lengths)
        return self.reduced(values)


def _label_weighting(
    odim: int, options: OTTCOptions
) -> LearnedLabelWeights | EstimatedLabelWeights | None:
    if options.label_weights == "learned":
        return LearnedLabelWeights(odim, floor=options.label_weight_floor, dropout=options.dropout)
    if options.label_weights == "self":
        return EstimatedLabelWeights(
            odim, floor=options.label_weight_floor, damping=options.label_weight_damping
        )
    return None


def _labels_of_alignment(alignment: Tensor, lengths: Tensor, boundary: int | None) -> Labels:
    targets, counts, weights = run_length_label_weights(alignment.long(), lengths, BLANK)
    if boundary is not None:
        positions = torch.arange(targets.shape[1], device=targets.device)
        end = (positions == 0) | (positions == counts[:, None] - 1)
        targets = torch.where(end & (targets == BLANK), boundary, targets)
    return Labels(targets, counts, weights)


def _rows(labels: Tensor, lengths: Tensor) -> list[list[int]]:
    """The labels of each utterance."""
    return [row[:n] for row, n in zip(labels.tolist(), lengths.tolist(), strict=True)]
