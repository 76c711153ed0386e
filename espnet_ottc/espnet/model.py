"""ESPnet's ASR model with what OTTC needs besides: the alignment stream, and its own error rates."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor

from espnet_ottc.espnet.criteria.base import BLANK, Criterion, CriterionBatch
from espnet_ottc.espnet.criteria.options.boundary_label import SENTENCEPIECE_SPACE
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.ops.greedy_decoding import stripped
from espnet_ottc.ops.targets import collapse


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
    """

    # Set for the length of one forward pass: ESPnet's hooks hand no further arguments through.
    _alignment: Alignment | None = None
    _stats: dict[str, Any] | None = None

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
            loss, stats, weight = super().forward(
                speech, speech_lengths, text, text_lengths, **kwargs
            )
            stats.update(force_gatherable(self._stats, loss.device))
        except ValueError as error:
            named = _named(error, kwargs.get("utt_id"))
            if named is None:
                raise
            raise named from error
        finally:
            self._alignment, self._stats = None, None
        return loss, stats, weight

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
