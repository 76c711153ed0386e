"""Spans from the transport plan: sub-frame boundaries at no cost.

With A = cumsum(α) as a function of the position on the frame axis (linear inside a frame) and
B = cumsum(β), label u takes the time in which A runs from B(u−1) to B(u) (OTTC, arXiv 2502.01588,
Section 4.2).
"""

from dataclasses import dataclass

import torch

from espnet_ottc.alignment.aligners.interface import (
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    mean_probabilities,
)
from espnet_ottc.ops.boundaries import boundaries, labels_at_centres
from espnet_ottc.ops.transport import transport_plan
from espnet_ottc.ops.weights import uniform_label_weights


@dataclass(frozen=True)
class TransportAligner:
    """Reads the alignment off the plan between the model's frame weights α and the label weights β.

    Label u runs from where A passes B(u−1) to where it passes B(u), inside frames; a frame belongs to
    the label at its centre (OTTC, arXiv 2502.01588, Section 4.2).
    """

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align each utterance; frames of weight 0 belong to no label.

        Infeasible, and reported: labels without a frame.  A label's score is its mean probability,
        weighted by the mass that the plan moves.

        Args:
            batch: with `alpha`; blanks and boundary labels among its targets, as the model was trained.

        Returns:
            The alignments, and why others have none.

        Raises:
            ValueError: no `alpha`; weights that are negative, not finite or do not sum to 1.
        """
        if batch.alpha is None:
            raise ValueError("the transport aligner needs frame weights: alpha is None")
        beta = (
            uniform_label_weights(batch.target_lengths, batch.targets.shape[1], dtype=torch.float64)
            if batch.beta is None
            else batch.beta
        )
        result = AlignmentResult()
        for b in ((batch.lengths == 0) & (batch.target_lengths > 0)).nonzero()[:, 0].tolist():
            result.infeasible[batch.utterance_ids[b]] = (
                f"{int(batch.target_lengths[b])} labels, no frame"
            )
        # An utterance without frames takes no part; the plan would refuse it.
        label_lengths = torch.where(batch.lengths > 0, batch.target_lengths, 0)
        frame_lengths = torch.where(label_lengths > 0, batch.lengths, 0)
        plan = transport_plan(batch.alpha, beta, frame_lengths, label_lengths, validate=True)
        starts, ends = boundaries(batch.alpha, beta, frame_lengths, label_lengths)
        frame_labels = labels_at_centres(batch.alpha, beta, frame_lengths, label_lengths)
        for b, name in enumerate(batch.utterance_ids):
            if name in result.infeasible:
                continue
            T, U, S = int(batch.lengths[b]), int(label_lengths[b]), int(plan.lengths[b])
            targets = batch.targets[b, :U]
            scores = mean_probabilities(
                batch.log_probs[b],
                plan.frames[b, :S],
                plan.labels[b, :S],
                plan.mass[b, :S],
                targets,
            )
            result.alignments[name] = TokenAlignment(
                utterance_id=name,
                targets=targets.long().cpu(),
                frame_labels=frame_labels[b, :T].cpu(),
                starts=starts[b, :U].cpu(),
                ends=ends[b, :U].cpu(),
                scores=scores.detach().cpu(),
            )
        return result
