"""Criteria whose label sequences are complete: every label, silence too, gets frames of its own."""

from typing import NamedTuple

import torch
from torch import Tensor

from espnet_ottc.alignment.aligners.viterbi import viterbi_path
from espnet_ottc.espnet.criteria.base import BLANK, Criterion
from espnet_ottc.ops.greedy_decoding import greedy_labels, kept_frames, silence_to_blank
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks, leave_out
from espnet_ottc.ops.validation import valid_mask


class Labels(NamedTuple):
    """The label sequences of a batch, with their weights."""

    targets: Tensor  # (B, U) int64
    lengths: Tensor  # (B,) int64
    weights: Tensor | None  # (B, U), or None: uniform


class SequenceCriterion(Criterion):
    """A criterion that aligns frames with a label sequence in which no blank is optional.

    The sequence has a blank between equal neighbours and, where the option `boundary_label` is set, that
    label at both ends, so that silence has a label.  Hypotheses come without it at their ends.  With a
    `null` label silence may be that label's instead, between any two labels and at the ends.

    The other arguments are those of `Criterion`.

    Args:
        options: with `boundary_label`, an id or None.

    Raises:
        ValueError: a boundary label outside the vocabulary.
        TypeError: one that is a token instead of an id.
    """

    # Frames that weigh less than this share of 1/T do not count in greedy decoding.
    drop_threshold: float = 0.0

    # The label of frames that belong to no other; None where every frame belongs to one.
    null: int | None = None

    boundary: int | None
    unaligned: int | None

    def set_up(self, odim: int, encoder_output_size: int) -> None:
        """Check the labels among the options."""
        self.boundary = _label_id("boundary_label", self.options.boundary_label, odim)
        # Other criteria than OTTC have no such option.
        unaligned = getattr(self.options, "unaligned_label", None)
        self.unaligned = _label_id("unaligned_label", unaligned, odim)

    def alpha(self, hs_pad: Tensor, hlens: Tensor) -> Tensor | None:
        """Frame weights (B, T), sum 1 over the valid frames; None where all frames count the same."""
        return None

    def frame_scores(self, hs_pad: Tensor) -> Tensor | None:
        """Scores (B, T) whose softmax over the valid frames is `alpha`; None where all count the same."""
        return None

    def labels_of_text(self, ys_pad: Tensor, ys_lens: Tensor) -> Labels:
        """The label sequences of texts; where weights come from an alignment, they are uniform.

        Args:
            ys_pad: (B, U) token ids without boundary labels, padded with anything.
            ys_lens: (B,).
        """
        targets, lengths = ys_pad.long(), ys_lens
        if self.unaligned is not None:
            targets, lengths = leave_out(targets, lengths, self.unaligned, BLANK)
        if self.boundary is not None:
            targets, lengths = add_boundary_labels(targets, lengths, self.boundary)
        targets, lengths = insert_blanks(targets, lengths, BLANK)
        return Labels(targets, lengths, self.label_weights(targets, lengths))

    def label_weights(self, targets: Tensor, lengths: Tensor) -> Tensor | None:
        """Weights (B, U) of complete label sequences, sum 1; None: uniform."""
        return None

    def greedy(self, hs_pad: Tensor, hlens: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy hypotheses: labels (B, T) padded with the blank, and their lengths (B,)."""
        return self.greedy_of(self.frame_log_probs(hs_pad), self.alpha(hs_pad, hlens), hlens)

    def greedy_of(
        self, log_probs: Tensor, alpha: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As in `Criterion`; frames of negligible weight do not count."""
        return greedy_labels(
            log_probs.argmax(2),
            alpha,
            lengths,
            drop_threshold=self.drop_threshold,
            blank=BLANK,
            boundary=self.boundary,
        )

    def forced_align(
        self,
        hs_pad: Tensor,
        hlens: Tensor,
        ys_pad: Tensor,
        ys_lens: Tensor,
        blank_idx: int = BLANK,
    ) -> tuple[Tensor, Tensor]:
        """As `Criterion.forced_align`, along the complete label sequence, and for any number of utterances.

        The boundary labels at both ends come as blanks, so that the path spells the text as CTC's does;
        frames of the null label are blanks, too.

        Raises:
            ValueError: fewer frames than labels; it starts with the utterance's place in the batch.
        """
        labels = self.labels_of_text(ys_pad, ys_lens)
        log_probs = self.frame_log_probs(hs_pad).detach()
        used = valid_mask(hlens, hs_pad.shape[1])
        for b in (labels.lengths.cpu() > hlens.cpu()).nonzero().flatten().tolist():
            raise ValueError(
                f"utterance {b}: {int(labels.lengths[b])} labels need at least as many frames, "
                f"got {int(hlens[b])}"
            )
        places, _ = viterbi_path(log_probs, used, labels.targets, labels.lengths, self.null)
        spoken = places >= 0
        tokens = labels.targets.gather(1, places.clamp(min=0))
        path = torch.where(spoken, tokens, blank_idx if self.null is None else self.null)
        scores = log_probs.gather(2, path[..., None])[..., 0]
        path = torch.where(spoken, path, blank_idx)
        if self.boundary is not None:
            ends = spoken & ((places == 0) | (places == labels.lengths[:, None] - 1))
            path = torch.where(ends, blank_idx, path)
        return path, torch.where(used, scores, 0.0)

    def log_softmax(self, hs_pad: Tensor) -> Tensor:
        """Log-probabilities (B, T, V) for CTC-style search and segmentation.

        Such a search scores texts without boundary labels, so that leading and trailing silence counts as
        blank here; `frame_log_probs` has the model's own posteriors.  All T frames are taken as valid.
        """
        log_probs = self.frame_log_probs(hs_pad)
        if self.boundary is None:
            return log_probs
        lengths = torch.full(hs_pad.shape[:1], hs_pad.shape[1], device=hs_pad.device)
        alpha = self.alpha(hs_pad, lengths)
        kept = kept_frames(log_probs[..., BLANK], alpha, lengths, self.drop_threshold)
        return silence_to_blank(log_probs, kept, BLANK, self.boundary)


def _label_id(name: str, label: object, odim: int) -> int | None:
    if label is None:
        return None
    if not isinstance(label, int):
        raise TypeError(
            f"{name} must be an id here, got {label!r}; espnet_ottc.espnet.register builds criteria "
            f"from tokens, and {name}_id of espnet_ottc.espnet.criteria.options finds a token's id"
        )
    if label >= odim:
        raise ValueError(f"{name} must be below {odim}, the vocabulary; got {label}")
    return label
