"""ESPnet's ASR model with what OTTC needs besides: the alignment stream, and its own error rates."""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor, nn

from espnet_ottc.espnet.boundary_head import BoundaryHead, parse_head_conf
from espnet_ottc.espnet.criteria.base import BLANK, Criterion, CriterionBatch
from espnet_ottc.espnet.criteria.options.boundary_label import SENTENCEPIECE_SPACE
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.transfer.adapter import LinguisticAdapter
from espnet_ottc.espnet.transfer.loss import Transfer, check_same_teacher, logged, weighted
from espnet_ottc.espnet.transfer.options import parse_transfer_conf
from espnet_ottc.ops.greedy_decoding import stripped
from espnet_ottc.ops.targets import collapse
from espnet_ottc.utils.training_checkpoints import CHECKPOINT


class Alignment(NamedTuple):
    """Frame labels of a forced alignment: (B, N) token ids and (B,) lengths."""

    labels: Tensor
    lengths: Tensor


class OTTCASRModel(ESPnetASRModel):  # type: ignore[misc]
    """`model: ottc`: ESPnet's hybrid CTC/attention model, which stands in for it whenever OTTC is trained.

    It takes the optional data stream `ali` (token id of each frame; any frame rate, since only shares of
    run lengths count), from which `label_weights: ali` derives labels and weights.  Error rates of the
    criterion are those of its greedy decoding, without padding frames (ESPnet's count them): `cer_ctc`,
    and `wer_ctc` besides.  The parts of the criterion's loss appear as `loss_ottc`, `loss_flat_start`,
    `loss_aux_ctc` and `loss_consistency`.  A criterion with a `consistency_weight` gets each training batch
    twice, in one batch.

    With a `transfer_conf` (see `TransferOptions`) a language model teaches the frames of the post-encoder
    `linguistic_adapter`, whatever the criterion is.  The loss that is validated, by which ESPnet chooses
    models, leaves that out.  The log has `loss_align` (by token), `loss_uot`, `token_mass_least` (the
    smallest token mass of the batch, as a share of its weight), `frame_mass_kept` (the share of the frames'
    weight that is moved) and `uot_residual`.

    With a boundary head it knows sharper times (`espnet_ottc.espnet.boundary_head`); the trainer trains one
    when all epochs are done.

    Args:
        arguments: of ESPnet's model.
        transfer_conf: options of the transfer; None: none.
        boundary_head: whether it gets one; None: if the criterion is OTTC's.
        boundary_conf: options of the head.

    Raises:
        ValueError, TypeError: an unknown option or a bad value; a transfer without its adapter.
    """

    # Set for the length of one forward pass: ESPnet's hooks hand no further arguments through.
    _alignment: Alignment | None = None
    _stats: dict[str, Any] | None = None

    def __init__(
        self,
        *arguments: Any,
        transfer_conf: Mapping[str, Any] | None = None,
        boundary_head: bool | None = None,
        boundary_conf: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.wants_boundary_head = boundary_head
        self.boundary_options = parse_head_conf(boundary_conf)
        self.boundary_head = BoundaryHead()
        self.transfer: Transfer | None = None
        if transfer_conf is not None:
            self.transfer = Transfer(parse_transfer_conf(transfer_conf), self.token_list)
        self._check_transfer()

    def forward(
        self,
        speech: Tensor,
        speech_lengths: Tensor,
        text: Tensor,
        text_lengths: Tensor,
        ali: Tensor | None = None,
        ali_lengths: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, statistics and weight of a batch, as ESPnet's trainer expects them.

        Args:
            speech: (B, N) samples, or (B, T, F) features.
            speech_lengths: (B,).
            text: (B, U) token ids padded with -1.
            text_lengths: (B,).
            ali: (B, M) token id of each frame, or None.
            ali_lengths: (B,), or None.
            kwargs: `utt_id`, and what other data streams there are.

        Raises:
            ValueError: an alignment that does not spell the text, or values that break the loss's rules (NaN
                in the features, for one); on the CPU, where looking is free.  It starts with the utterance.
        """
        if self.training and isinstance(self.ctc, Criterion) and self.ctc.consistency_weight > 0:
            self._check_views()
            speech, speech_lengths = (
                speech.repeat(2, *[1] * (speech.dim() - 1)),
                speech_lengths.repeat(2),
            )
            text, text_lengths = text.repeat(2, 1), text_lengths.repeat(2)
            if ali is not None and ali_lengths is not None:
                ali, ali_lengths = ali.repeat(2, 1), ali_lengths.repeat(2)
            if kwargs.get("utt_id"):
                kwargs["utt_id"] = [*kwargs["utt_id"], *kwargs["utt_id"]]
        if ali is not None and ali_lengths is not None:
            ali = ali[:, : int(ali_lengths.max())]
            self._alignment = Alignment(ali, ali_lengths)
            if ali.device.type == "cpu":
                self._check_alignment(self._alignment, text, text_lengths, kwargs.get("utt_id"))
        self._stats = {}
        try:
            with ExitStack() as stack:
                if self.transfer is not None:
                    stack.enter_context(self.postencoder.capturing())
                loss, stats, weight = super().forward(
                    speech, speech_lengths, text, text_lengths, **kwargs
                )
                if self.transfer is not None:
                    loss = self._with_transfer(loss, self.transfer, text, text_lengths)
                    stats["loss"] = loss.detach()
            stats.update(force_gatherable(self._stats, loss.device))
        except ValueError as error:
            named = _named(error, kwargs.get("utt_id"))
            if named is None:
                raise
            raise named from error
        finally:
            self._alignment, self._stats = None, None
        # ESPnet divides the loss by `accum_grad` where it stands, and the statistics share its memory.
        return loss.clone(), stats, weight

    def set_epoch(self, epoch: int) -> None:
        """Tell the transfer which epoch of training begins, counted from 1."""
        if self.transfer is not None:
            self.transfer.set_epoch(epoch)

    def waiting_parameters(self) -> Sequence[nn.Parameter]:
        """Those of an adapter that nothing trains yet: they wait for the transfer as they were made."""
        transfer, adapter = self.transfer, self.postencoder
        if transfer is None or transfer.active or adapter.feed_back:
            return ()
        return tuple(adapter.parameters())

    def prepare_transfer(self, args: argparse.Namespace | None = None) -> None:
        """Load the teacher, if there is one: what a training with a transfer starts with.

        Args:
            args: ESPnet's options of the training, whose folder keeps which teacher it was; None: nothing
                is kept.

        Raises:
            OSError, ValueError, ImportError: it cannot be loaded, or is another one than before.
        """
        if self.transfer is None:
            return
        self.transfer.prepare(self.postencoder.linguistic_size)
        if args is not None and args.output_dir is not None:
            directory = Path(args.output_dir)
            check_same_teacher(
                self.transfer,
                directory,
                resumed=bool(args.resume) and (directory / CHECKPOINT).is_file(),
                writes=not args.dist_rank,
            )

    def _with_transfer(
        self, loss: Tensor, transfer: Transfer, text: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """The loss with the transfer's in training, and its parts for the log."""
        captured = self.postencoder.captured
        if not transfer.active or (not self.training and transfer.teacher is None):
            if torch.distributed.is_initialized():
                # DistributedDataParallel waits for a gradient of every parameter.
                loss = loss + 0.0 * captured.hidden.sum()
            return loss
        text = text[:, : int(text_lengths.max())]
        losses = transfer.losses(captured, self.ctc, text, text_lengths)
        if self._stats is not None:
            self._stats.update(logged(losses))
        if not self.training:
            return loss
        taught = weighted(losses, text_lengths).mean()
        total: Tensor = loss + transfer.options.weight * taught.to(loss.dtype)
        return total

    def _check_transfer(self) -> None:
        adapter = self.postencoder
        adapted = isinstance(adapter, LinguisticAdapter)
        if self.transfer is None:
            if adapted and not adapter.feed_back:
                raise ValueError(
                    "postencoder_conf: feed_back: false is for model_conf with a transfer_conf, got none: "
                    "the adapter would do nothing"
                )
            return
        if not adapted:
            raise ValueError(
                "transfer_conf needs postencoder: linguistic_adapter, got "
                f"{'none' if adapter is None else type(adapter).__name__}"
            )
        if self.transfer.options.order == "plan" and self.ctc is None:
            raise ValueError("transfer_conf: order: plan needs a criterion, got ctc_weight: 0.0")

    def _calc_ctc_loss(
        self, encoder_out: Tensor, encoder_out_lens: Tensor, ys_pad: Tensor, ys_pad_lens: Tensor
    ) -> tuple[Tensor, float | None]:
        if not isinstance(self.ctc, Criterion):
            loss, cer = super()._calc_ctc_loss(encoder_out, encoder_out_lens, ys_pad, ys_pad_lens)
            return loss, cer
        alignment = self._alignment or (None, None)
        losses = self.ctc.losses(
            CriterionBatch(encoder_out, encoder_out_lens, ys_pad, ys_pad_lens, *alignment)
        )
        stats: dict[str, Any] = dict(losses.parts)
        cer = None
        if not self.training and self.error_calculator is not None:
            hyps, hyp_lens = self.ctc.greedy(encoder_out, encoder_out_lens)
            cer, wer = self._error_rates(hyps, hyp_lens, ys_pad, ys_pad_lens)
            stats["wer_ctc"] = wer
            # The final layer comes first; ESPnet's intermediate layers call again.
            if isinstance(self.ctc, OTTC) and "wer_ctc" not in (self._stats or {}):
                self.ctc.count_errors(encoder_out, encoder_out_lens, ys_pad, ys_pad_lens)
        if self._stats is not None:
            self._stats = {**stats, **self._stats}
        return losses.loss, cer

    def _check_views(self) -> None:
        specaug = getattr(self, "specaug", None)
        if getattr(specaug, "apply_time_warp", False):
            raise ValueError(
                "consistency_weight compares two views frame by frame: specaug_conf must have "
                "apply_time_warp: false"
            )

    def _error_rates(
        self, hyps: Tensor, hyp_lens: Tensor, ys_pad: Tensor, ys_lens: Tensor
    ) -> tuple[float, float]:
        reference = self._texts(ys_pad, ys_lens)
        hypothesis = self._texts(hyps, hyp_lens)
        if not any(text.strip() for text in reference):
            # Not None, which several processes would have to agree on.
            return math.nan, math.nan
        return (
            self.error_calculator.calculate_cer(hypothesis, reference),
            self.error_calculator.calculate_wer(hypothesis, reference),
        )

    def _texts(self, ids: Tensor, lengths: Tensor) -> list[str]:
        space = self.error_calculator.space
        return [
            "".join(self.token_list[token] for token in row[:length])
            .replace(space, " ")
            .replace(SENTENCEPIECE_SPACE, " ")
            for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)
        ]

    def _check_alignment(
        self,
        alignment: Alignment,
        text: Tensor,
        text_lengths: Tensor,
        utt_ids: Sequence[str] | None,
    ) -> None:
        boundary = self.ctc.boundary if isinstance(self.ctc, SequenceCriterion) else None
        labels, lengths = collapse(alignment.labels, alignment.lengths, BLANK)
        for b, (spoken_length, text_length) in enumerate(
            zip(lengths.tolist(), text_lengths.tolist(), strict=True)
        ):
            spoken = stripped(labels[b, :spoken_length].tolist(), boundary)
            wanted = stripped(text[b, :text_length].tolist(), boundary)
            if spoken != wanted:
                name = utt_ids[b] if utt_ids else f"utterance {b}"
                raise ValueError(
                    f"{name}: ali must spell the text once repeats and blanks are removed; "
                    f"it gives {spoken}, the text is {wanted}"
                )


def _named(error: ValueError, utt_ids: Sequence[str] | None) -> ValueError | None:
    """The error of a function that knows an utterance by its place in the batch alone, with its id."""
    place = re.match(r"utterance (\d+): ", str(error))
    if place is None or not utt_ids:
        return None
    return ValueError(f"{utt_ids[int(place[1])]}: {str(error)[place.end() :]}")
