"""Label weights beta that are not uniform: run lengths of an alignment, learnt from the text, estimated.

`espnet_ottc.ops.weights` has the uniform ones, and the rules that all of them keep.
"""

import math

import torch
from torch import Tensor, nn

from espnet_ottc.ops.distributed import sum_over_processes
from espnet_ottc.ops.targets import compact, run_starts
from espnet_ottc.ops.validation import (
    check_integer,
    check_lengths,
    check_shape,
    check_targets,
    valid_mask,
    values_are_checked,
)
from espnet_ottc.ops.weights import SMALLEST_LABEL_WEIGHT, uniform_label_weights


def run_length_label_weights(
    alignment: Tensor,
    lengths: Tensor,
    blank: int = 0,
    keep_blanks: bool = True,
    *,
    dtype: torch.dtype = torch.float32,
    validate: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Read labels and their weights off a frame-by-frame alignment, such as a best CTC path.

    With its blanks every run of equal frame labels is one label, whose weight is the run's share
    of the frames: the path φYφφEES gives the labels φYφES with beta = 1/7, 1/7, 2/7, 2/7, 1/7
    (paper, appendix A.3.2, oracle experiment).  Without them blank runs are left out, except
    those between equal labels, which the label sequence needs; the other weights are
    renormalised.  The labels then equal `insert_blanks(*collapse(alignment, lengths))`.

    Args:
        alignment: (B, T) label id of each frame, of any integer dtype; what stands beyond
            `lengths` is ignored.
        lengths: (B,) frames of each utterance, 0 <= T_b <= T.
        blank: id of the blank.
        keep_blanks: whether runs of blanks are labels of their own.
        dtype: floating-point dtype of the weights.
        validate: check the values of `lengths`; None does so on the CPU only.

    Returns:
        labels: (B, T) of the alignment's dtype, padded with `blank`.
        label_lengths: (B,) int64; 0 where no frame, or without blanks no label, is there.
        weights: (B, T) of `dtype`, zero in the padding.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, or a length outside [0, T].
    """
    check_integer("alignment", alignment, 2)
    _check_lengths(lengths, alignment, validate=values_are_checked(validate, lengths))
    starts = run_starts(alignment, lengths)
    labels = compact(alignment, starts, blank)
    # Frames of one run share its index; padding counts for nothing wherever it falls.
    runs = (starts.cumsum(1) - 1).clamp(min=0)
    frames = valid_mask(lengths, alignment.shape[1]).long()
    counts = torch.zeros_like(runs).scatter_add_(1, runs, frames)
    if not keep_blanks:
        separates = torch.zeros_like(starts)
        separates[:, 1:-1] = labels[:, :-2] == labels[:, 2:]
        kept = (counts > 0) & ((labels != blank) | separates)
        labels, counts = compact(labels, kept, blank), compact(counts, kept, 0)
    total = counts.sum(1, keepdim=True).clamp(min=1)
    return labels, (counts > 0).sum(1), counts.to(dtype) / total.to(dtype)


class LearnedLabelWeights(nn.Module):
    """Label weights predicted from the label sequence, with a floor that keeps them apart.

    beta_u = f/U + (1 - f) softmax_u(s), with a score s_u for each label from an embedding with
    sinusoidal positions, one transformer encoder layer and a linear layer (paper, appendix
    A.3.2, "Learnable beta").  The last layer starts at zero: training starts from uniform weights.

    Without a floor (f = 0) the loss has a shortcut, as the paper reports: all weight goes to one
    label that is predicted everywhere.  Even then each weight is at least 2e-9, so that the
    constraint on label weights holds in float32; this changes nothing in the collapse.

    Args:
        vocab_size: V.
        floor: smallest weight as a share of the uniform weight 1/U, in [0, 1); 1 would be uniform.
        dim: width of the embedding, a multiple of `heads`.
        heads: attention heads.
        feedforward: width of the layer's inner linear map.
        dropout: probability, in training mode.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        floor: float = 0.5,
        dim: int = 64,
        heads: int = 4,
        feedforward: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {floor}")
        if vocab_size < 1:
            raise ValueError(f"vocab_size must be positive, got {vocab_size}")
        if dim < 2 or dim % 2 or heads < 1 or dim % heads:
            raise ValueError(
                f"dim must be even and a multiple of heads, got dim = {dim} and heads = {heads}"
            )
        self.floor = floor
        self.dim = dim
        self.embedding = nn.Embedding(vocab_size, dim)
        self.layer = nn.TransformerEncoderLayer(dim, heads, feedforward, dropout, batch_first=True)
        self.score = nn.Linear(dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, targets: Tensor, lengths: Tensor) -> Tensor:
        """Return the weights of each label.

        Args:
            targets: (B, U) label ids in [0, V); what stands beyond `lengths` is ignored.
            lengths: (B,) labels of each sequence, 0 <= U_b <= U.

        Returns:
            (B, U) weights of the parameters' dtype (float32 where that is lower), zero in the
            padding, and all zero for an utterance without labels.

        Raises:
            TypeError, ValueError: a wrong dtype or shape, or, on the CPU, a length outside [0, U]
                or a label outside [0, V).
        """
        check_integer("targets", targets, 2)
        validate = values_are_checked(None, targets)
        _check_lengths(lengths, targets, validate=validate)
        if validate:
            check_targets("targets", targets, lengths, self.embedding.num_embeddings)
        U = targets.shape[1]
        valid = valid_mask(lengths, U)
        # The first position is always attended to: a row with nothing to attend to would be NaN.
        attended = valid_mask(lengths.clamp(min=1), U)
        embedded = self.embedding(torch.where(valid, targets, 0).long())
        embedded = embedded + _sinusoids(U, self.dim, embedded)
        hidden = self.layer(embedded, src_key_padding_mask=~attended) if U else embedded
        scores = self.score(hidden).squeeze(2)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        shares = scores.masked_fill(~attended, -math.inf).softmax(1)
        uniform = uniform_label_weights(lengths, U, dtype=shares.dtype)
        # Twice the smallest weight: rounding must not carry one below it.
        smallest = 2 * SMALLEST_LABEL_WEIGHT * lengths.to(shares.dtype)
        floor = smallest.clamp(min=self.floor)[:, None]
        return torch.where(valid, floor * uniform + (1 - floor) * shares, 0.0)


class EstimatedLabelWeights(nn.Module):
    """Label weights from the durations that the model itself has given to each token so far.

    beta_u = f/U + (1 - f) d(y_u) / sum_w d(y_w), where d(v) is the mean duration of token v in units of the
    mean duration of a label.  `measure` collects durations, `update` moves d towards their means:
    d <- c d + (1 - c) mean.  Training starts from uniform weights, d = 1.

    Weights that follow each utterance's own alignment collapse: all frames end on one token.  Three things
    prevent that.  Durations are averaged over all occurrences of a token, the old ones stay with the share c,
    and no weight falls below the floor f/U.

    Args:
        vocab_size: V.
        floor: smallest weight as a share of the uniform weight 1/U, in (0, 1).
        damping: share c of the former durations, in [0, 1).

    Raises:
        ValueError: a value outside its range.
    """

    durations: Tensor  # (V,) d
    frames: Tensor  # (V,) measured since the last update
    occurrences: Tensor  # (V,)

    def __init__(self, vocab_size: int, *, floor: float = 0.5, damping: float = 0.5) -> None:
        super().__init__()
        if not 0 < floor < 1:
            raise ValueError(f"floor must lie in (0, 1), got {floor}")
        if not 0 <= damping < 1:
            raise ValueError(f"damping must lie in [0, 1), got {damping}")
        self.floor = floor
        self.damping = damping
        self.register_buffer("durations", torch.ones(vocab_size))
        self.register_buffer("frames", torch.zeros(vocab_size))
        self.register_buffer("occurrences", torch.zeros(vocab_size))

    def forward(self, targets: Tensor, lengths: Tensor) -> Tensor:
        """Return the weights of each label.

        Args:
            targets: (B, U) label ids in [0, V); what stands beyond `lengths` is ignored.
            lengths: (B,) labels of each sequence, 0 <= U_b <= U.

        Returns:
            (B, U) float32 weights, zero in the padding.
        """
        U = targets.shape[1]
        valid = valid_mask(lengths, U)
        durations = torch.where(valid, self.durations[torch.where(valid, targets, 0).long()], 0.0)
        # Of an utterance without labels the sum is 0.
        total = durations.sum(1, keepdim=True)
        shares = durations / torch.where(total > 0, total, 1.0)
        uniform = uniform_label_weights(lengths, U, dtype=shares.dtype)
        return torch.where(valid, self.floor * uniform + (1 - self.floor) * shares, 0.0)

    @torch.no_grad()
    def measure(self, targets: Tensor, lengths: Tensor, durations: Tensor) -> None:
        """Collect durations of labels, of all processes that train together; each has to call it.

        Args:
            targets: (B, U) label ids.
            lengths: (B,).
            durations: (B, U) >= 0, in frames.
        """
        valid = valid_mask(lengths, targets.shape[1])
        tokens = targets[valid].long()
        spent = durations[valid].to(self.frames.dtype)
        # One sum a batch: single labels would be lost in the rounding of an epoch's sum.
        for total, values in ((self.frames, spent), (self.occurrences, torch.ones_like(spent))):
            total += sum_over_processes(torch.zeros_like(total).index_add_(0, tokens, values))

    @torch.no_grad()
    def update(self) -> None:
        """Move d towards the means of what was measured, and forget that; tokens not seen keep theirs."""
        seen = self.occurrences > 0
        mean = self.frames.sum() / self.occurrences.sum().clamp(min=1)
        found = self.frames / (self.occurrences.clamp(min=1) * torch.where(mean > 0, mean, 1.0))
        moved = self.damping * self.durations + (1 - self.damping) * found
        self.durations.copy_(torch.where(seen, moved, self.durations))
        self.frames.zero_()
        self.occurrences.zero_()


def _sinusoids(length: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (length, dim), of the dtype and on the device of `like`."""
    positions = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    rates = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
    angles = positions * torch.exp(-math.log(10000.0) / dim * rates)
    return torch.stack((angles.sin(), angles.cos()), dim=2).reshape(length, dim).to(like.dtype)


def _check_lengths(lengths: Tensor, padded: Tensor, *, validate: bool) -> None:
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (padded.shape[0],), "(B,)")
    if validate:
        check_lengths("lengths", lengths, *padded.shape)
