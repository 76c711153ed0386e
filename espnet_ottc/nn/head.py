"""OTTC on top of any encoder, in plain PyTorch: the loss, the labels that were found, and their times."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.spans import FrameGrid, Span, with_unaligned
from espnet_ottc.nn.frame_weights import FrameWeightHead
from espnet_ottc.ops.flat_start import flat_start_loss
from espnet_ottc.ops.greedy_decoding import spoken_labels
from espnet_ottc.ops.label_decoding import best_path
from espnet_ottc.ops.loss import Scale, check_null, ottc_loss
from espnet_ottc.ops.regularizers import kl_to_uniform, roughness
from espnet_ottc.ops.targets import (
    add_boundary_labels,
    add_pauses,
    compact,
    insert_blanks,
    leave_out,
)
from espnet_ottc.ops.transport import frame_weights
from espnet_ottc.ops.validation import (
    check_floating,
    check_integer,
    check_lengths,
    check_shape,
    raise_first,
    valid_mask,
    values_are_checked,
)


class OTTCHead(nn.Module):
    """Two linear heads with the loss, the decoder and the aligner that belong to them.

    An encoder gives `hidden` (B, T, D), frames of any kind: of speech, of handwriting, of sensors.  The label
    head gives a score per frame and label, the frame-weight head one per frame, which starts uniform.

    Silence needs a label.  With `boundary` that label is put at both ends of every sequence, and hypotheses
    come without it.  For characters it is the word separator.  Or frames get a `null_capacity`, and the blank
    learns which of them belong to no label; a word separator may then be `unaligned`, and pauses between
    words are the blank's.  Blanks between equal neighbours are put in, and removed, too.

    Attributes:
        flat_start: share of the loss, in [0, 1], that a sum over all alignments makes (see
            `espnet_ottc.ops.flat_start`); it is 0 unless you set it.  Where labels follow each other without
            pauses, set `flat_start_share(epoch, epochs)` at the beginning of each epoch.
        null_weight: weight of what the null capacity adds to the loss.  Let it rise from 0 once the frame
            weights have left the diagonal, by `espnet_ottc.ops.null_capacity.null_share`.

    Args:
        hidden: D, width of the encoder's output.
        vocabulary: V, the number of labels, blank included; or their V symbols, by which `align` names them.
        boundary: id or symbol of the boundary label; None where the labels themselves cover silence.
        blank: id or symbol of the blank.
        dropout: probability in front of both heads, in training mode.
        kl_weight: weight of `kl_to_uniform`, which keeps frame weights near uniform.
        roughness_weight: weight of `roughness`, which keeps them smooth.
        scale: unit of the loss: "utterance" (nats per unit of mass), "labels" or "frames".
        null_capacity: as in `ottc_loss`, with the blank as null label; 0: no label takes what is left over.
        null_weight: as there.
        unaligned: id or symbol of a label that texts have and that gets no frames, for a `null_capacity`;
            what `decode` finds does not have it, and `align` gives it the time between its neighbours.

    Raises:
        ValueError: fewer than two labels, symbols that repeat, an id or symbol that is no label, a boundary
            label that is the blank, a weight below 0, a capacity outside [0, 1], an unaligned label without
            a capacity or one that is blank or boundary.

    Source: OTTC (arXiv 2502.01588), sections 4.3 and 5.
    """

    def __init__(
        self,
        hidden: int,
        vocabulary: int | Sequence[str],
        *,
        boundary: int | str | None = None,
        blank: int | str = 0,
        dropout: float = 0.1,
        kl_weight: float = 0.1,
        roughness_weight: float = 1.0,
        scale: Scale = "utterance",
        null_capacity: float = 0.0,
        null_weight: float = 1.0,
        unaligned: int | str | None = None,
    ) -> None:
        super().__init__()
        symbols = (
            [str(i) for i in range(vocabulary)] if isinstance(vocabulary, int) else list(vocabulary)
        )
        if len(symbols) < 2 or len(set(symbols)) < len(symbols):
            raise ValueError(
                f"vocabulary must hold two labels or more, all different; got {vocabulary}"
            )
        self.symbols = symbols
        self.blank = _label_id("blank", blank, symbols)
        self.boundary = None if boundary is None else _label_id("boundary", boundary, symbols)
        if self.boundary == self.blank:
            raise ValueError(f"boundary must not be the blank; both are {symbols[self.blank]!r}")
        for name, weight in (("kl_weight", kl_weight), ("roughness_weight", roughness_weight)):
            if not weight >= 0:
                raise ValueError(f"{name} must not be negative, got {weight}")
        self.kl_weight, self.roughness_weight = kl_weight, roughness_weight
        self.scale: Scale = scale
        check_null(null_capacity, null_weight, self.blank)
        self.null_capacity, self.null_weight = null_capacity, null_weight
        self.unaligned = None if unaligned is None else _label_id("unaligned", unaligned, symbols)
        if self.unaligned is not None:
            if self.unaligned in (self.blank, self.boundary):
                raise ValueError(
                    f"unaligned must be neither blank nor boundary, which have frames; got {unaligned!r}"
                )
            if null_capacity == 0:
                raise ValueError("unaligned needs a null_capacity: otherwise no label takes pauses")
        self.flat_start = 0.0
        self.dropout = nn.Dropout(dropout)
        self.label_head = nn.Linear(hidden, len(symbols))
        self.frame_head = FrameWeightHead(hidden, dropout)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, V) label scores and (B, T) frame scores of (B, T, D), as `ottc_loss` takes them."""
        check_floating("hidden", hidden, 3)
        return self.label_head(self.dropout(hidden)), self.frame_head(hidden)

    def loss(
        self,
        hidden: Tensor,
        lengths: Tensor | None,
        labels: Tensor,
        label_lengths: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch, a scalar: OTTC's, with the penalties on the frame weights.

        Args:
            hidden: (B, T, D) encoder output.
            lengths: (B,) valid frames, in [0, T]; None: all are.
            labels: (B, U) label ids without boundary labels at their ends.  Negative ids are padding
                wherever they stand, as the -100 of transformers.
            label_lengths: (B,) valid labels; None where negative ids alone are padding.

        Raises:
            TypeError, ValueError: a wrong dtype or shape; on the CPU also an id outside the vocabulary, a
                blank among the labels, or labels without frames.
        """
        logits, frame_logits = self(hidden)
        lengths = self._lengths(hidden, lengths)
        own = self._own(labels, label_lengths)
        targets, counts = self._complete(*own)
        loss = ottc_loss(
            logits,
            frame_logits,
            targets,
            lengths,
            counts,
            scale=self.scale,
            null_capacity=self.null_capacity,
            null_weight=self.null_weight,
            null=self.blank,
        )
        if self.training and self.flat_start > 0:
            sought = (targets, counts)
            if self.null_capacity > 0:
                sought = add_pauses(
                    *own, self.blank, boundary=self.boundary, unaligned=self.unaligned
                )
            searched = flat_start_loss(logits, frame_logits, sought[0], lengths, sought[1])
            loss = torch.lerp(
                loss, self._mean(searched, lengths, counts).to(loss), float(self.flat_start)
            )
        penalty = self.kl_weight * kl_to_uniform(frame_logits, lengths)
        penalty = penalty + self.roughness_weight * roughness(frame_logits, lengths)
        return loss + self._mean(penalty, lengths, counts)

    def targets(self, labels: Tensor, label_lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The label sequences that the loss transports to: (B, N) and their (B,) lengths.

        Padding and the unaligned label are removed, boundary labels and blanks are put in.  Arguments and
        errors as for `loss`.
        """
        return self._complete(*self._own(labels, label_lengths))

    def _own(self, labels: Tensor, label_lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The caller's labels without padding, and how many they are."""
        check_integer("labels", labels, 2)
        kept = labels >= 0
        if label_lengths is not None:
            check_integer("label_lengths", label_lengths, 1)
            check_shape("label_lengths", label_lengths, (len(labels),), "(B,)")
            kept &= valid_mask(label_lengths.to(labels.device), labels.shape[1])
        if values_are_checked(None, labels):
            self._check(labels, kept)
        return compact(labels.long(), kept, self.blank), kept.sum(1)

    def _complete(self, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss transports to, from labels without padding."""
        if self.unaligned is not None:
            targets, counts = leave_out(targets, counts, self.unaligned, self.blank)
        if self.boundary is not None:
            targets, counts = add_boundary_labels(targets, counts, self.boundary)
        return insert_blanks(targets, counts, self.blank)

    def alpha(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T) frame weights of (B, T, D): sum 1 over the valid frames, 0 beyond."""
        check_floating("hidden", hidden, 3)
        return frame_weights(self.frame_head(hidden), self._lengths(hidden, lengths))

    @torch.no_grad()
    def decode(self, hidden: Tensor, lengths: Tensor | None = None) -> list[list[int]]:
        """The label ids of each utterance, without blanks and without boundary labels at the ends.

        Args:
            hidden: (B, T, D) encoder output.
            lengths: (B,) valid frames; None: all are.
        """
        lengths = self._lengths(hidden, lengths)
        log_probs, alpha = self._posteriors(hidden, lengths)
        path = best_path(log_probs, alpha, lengths, blank=self.blank, boundary=self.boundary)
        found, counts = spoken_labels(
            path.labels, path.lengths, blank=self.blank, boundary=self.boundary
        )
        rows = zip(found.tolist(), counts.tolist(), strict=True)
        return [row[:count] for row, count in rows]

    @torch.no_grad()
    def align(
        self,
        hidden: Tensor,
        lengths: Tensor | None = None,
        labels: Tensor | Sequence[Sequence[int]] | None = None,
        *,
        frame_shift: float,
        offset: float = 0.0,
        aligner: str = "viterbi",
    ) -> list[list[Span]]:
        """When each label is: for every utterance one span for each of its labels, in order.

        `espnet_ottc.alignment.spans.words_from_tokens` joins spans of characters to those of words.

        Args:
            hidden: (B, T, D) encoder output.
            lengths: (B,) valid frames; None: all are.
            labels: (B, U) ids with negative ones as padding, or a list of ids for each utterance; None: what
                `decode` finds.
            frame_shift: seconds from one frame to the next.
            offset: seconds of the left edge of frame 0.
            aligner: "viterbi" searches the labels' posteriors, "transport" reads the plan of the loss.

        Returns:
            Spans in seconds; the symbol is the label's, or its id where the vocabulary is a number.

        Raises:
            TypeError, ValueError: as `loss`; an utterance with more labels, blanks between equal ones and
                boundary labels included, than frames: its place in the batch is named.
        """
        grid = FrameGrid(frame_shift, offset)
        lengths = self._lengths(hidden, lengths)
        log_probs, alpha = self._posteriors(hidden, lengths)
        if labels is None:
            labels = self.decode(hidden, lengths)
        if not isinstance(labels, Tensor):
            labels = _padded(labels, hidden.device)
        targets, counts = self.targets(labels)
        names = [f"utterance {b}" for b in range(len(hidden))]
        null = self.blank if self.null_capacity > 0 else None
        batch = AlignmentBatch(names, log_probs, lengths, targets, counts, alpha, null=null)
        result = make_aligner(aligner).align(batch)
        for name, reason in result.infeasible.items():
            raise ValueError(f"{name}: {reason}")
        found = [result.alignments[name].spans(self.symbols, grid) for name in names]
        own = [[label for label in row if label >= 0] for row in labels.tolist()]
        return [self._spans(*one) for one in zip(found, own, _rows(targets, counts), strict=True)]

    def _spans(self, spans: list[Span], own: list[int], sequence: list[int]) -> list[Span]:
        """One span for each of the caller's own labels, from those of a complete sequence."""
        aligned = [label for label in own if label != self.unaligned]
        given = self._given(aligned, sequence)
        kept = [span for span, is_own in zip(spans, given, strict=True) if is_own]
        if self.unaligned is None:
            return kept
        return with_unaligned(
            kept, [self.symbols[label] for label in own], self.symbols[self.unaligned]
        )

    def _given(self, own: list[int], sequence: list[int]) -> list[bool]:
        """Which labels of a complete sequence are the caller's own: neither put in at an end nor a blank."""
        kept = [label != self.blank for label in sequence]
        if self.boundary is not None:
            kept[0] &= own[:1] == [self.boundary]
            kept[-1] &= own[-1:] == [self.boundary]
        return kept

    def _posteriors(self, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        logits, frame_logits = self(hidden)
        wide = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(wide).log_softmax(2), frame_weights(frame_logits.to(wide), lengths)

    def _lengths(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return torch.full((len(hidden),), hidden.shape[1], device=hidden.device)
        check_integer("lengths", lengths, 1)
        check_shape("lengths", lengths, (len(hidden),), "(B,)")
        if values_are_checked(None, lengths):
            check_lengths("lengths", lengths, *hidden.shape[:2])
        return lengths.to(hidden.device).long()

    def _mean(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """The mean of (B,) values per unit of mass, in the loss's unit."""
        if self.scale != "utterance":
            values = values * (lengths if self.scale == "frames" else counts)
        return values.mean()

    def _check(self, labels: Tensor, kept: Tensor) -> None:
        V = len(self.symbols)
        raise_first(
            (kept & (labels >= V)).any(1),
            lambda b: (
                f"labels must be ids below {V}, or negative as padding; got {labels[b].tolist()}"
            ),
        )
        raise_first(
            (kept & (labels == self.blank)).any(1),
            lambda b: (
                f"labels must not hold the blank {self.blank}, which is put in where it is needed (padding "
                f"is -100, or beyond label_lengths); got {labels[b].tolist()}"
            ),
        )


def _label_id(name: str, label: int | str, symbols: Sequence[str]) -> int:
    if isinstance(label, str):
        if label not in symbols:
            raise ValueError(f"{name} must be one of the vocabulary's symbols, got {label!r}")
        return list(symbols).index(label)
    if not 0 <= label < len(symbols):
        raise ValueError(f"{name} must be an id in [0, {len(symbols)}), got {label}")
    return label


def _padded(labels: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    width = max((len(row) for row in labels), default=0)
    rows = [[*row, *[-1] * (width - len(row))] for row in labels]
    return torch.tensor(rows, dtype=torch.int64, device=device).reshape(len(rows), width)


def _rows(padded: Tensor, counts: Tensor) -> list[list[int]]:
    rows = zip(padded.tolist(), counts.tolist(), strict=True)
    return [row[:count] for row, count in rows]
