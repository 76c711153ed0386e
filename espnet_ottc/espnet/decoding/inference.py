"""Decoding behind ESPnet's `Speech2Text`, for OTTC and for CTC: its beam search, greedy, Viterbi."""

from typing import Any

import espnet2.bin.asr_inference as asr_inference
import torch
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_ottc.espnet.criteria.base import Criterion
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.decoding.prefix_scorer import OTTCPrefixScorer
from espnet_ottc.espnet.decoding.windowed import WindowedEncoding
from espnet_ottc.espnet.encoders.frame_grid import sampling_rate_of
from espnet_ottc.espnet.moved import BeamSearch, Hypothesis
from espnet_ottc.ops.greedy_decoding import greedy_labels, stripped

# ESPnet's own, whatever stands in its place while `espnet_ottc.bin.asr_inference` runs.
Speech2Text = asr_inference.Speech2Text

Result = tuple[str | None, list[str], list[int], Any]


class OTTCSpeech2Text(Speech2Text):  # type: ignore[misc, valid-type]
    """`Speech2Text` whose beam search scores prefixes by OTTC's loss where the model has it.

    Constructor and results are those of ESPnet's class.  Where label weights are not uniform they depend on
    the labels sought: then OTTC's posteriors are searched as CTC's, with silence at an utterance's ends as
    blank, and hypotheses are freed from boundary labels that are left at their ends.

    Long recordings of one speaker are encoded by windows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not (self.multi_asr or self.enh_s2t_task):
            rate = sampling_rate_of(self.asr_train_args)
            self.asr_model.encode = WindowedEncoding(self.asr_model, rate)
        ctc, search = getattr(self.asr_model, "ctc", None), self.beam_search
        if not isinstance(ctc, OTTC) or ctc.options.label_weights != "uniform":
            return
        # ESPnet's other searches (time_sync, partial_ar) have no scorers of prefixes.
        if isinstance(search, BeamSearch) and "ctc" in search.part_scorers:
            scorer = OTTCPrefixScorer(ctc, self.asr_model.eos)
            search.scorers["ctc"] = search.part_scorers["ctc"] = scorer

    def _decode_single_sample(self, enc: Tensor) -> list[Result]:
        results: list[Result] = super()._decode_single_sample(enc)
        criterion = getattr(self.asr_model, "ctc", None)
        if not isinstance(criterion, SequenceCriterion) or criterion.boundary is None:
            return results
        found: dict[tuple[int, ...], Result] = {}
        for _, _, token_int, hypothesis in results:
            labels = stripped(token_int, criterion.boundary)
            # The better one of two that differ in nothing else comes first.
            found.setdefault(tuple(labels), self._result(labels, hypothesis))
        return list(found.values())

    def _result(self, labels: list[int], hypothesis: Any) -> Result:
        tokens = self.converter.ids2tokens(labels)
        text = None if self.tokenizer is None else self.tokenizer.tokens2text(tokens)
        return text, tokens, labels, hypothesis


class GreedySpeech2Text(OTTCSpeech2Text):
    """`Speech2Text` that reads the best label off each frame instead of searching.

    OTTC drops frames of negligible weight, collapses repeats, removes blanks and strips boundary labels;
    CTC collapses repeats and removes blanks.  There is one hypothesis per utterance; its score is the sum
    of its frames' best log-probabilities.  Options of the search have no effect.

    Raises:
        ValueError: a model without CTC or OTTC (`ctc_weight: 0`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(getattr(self.asr_model, "ctc", None), CTC):
            raise ValueError("greedy decoding needs a model trained with ctc_weight > 0")

    def _decode_single_sample(self, enc: Tensor) -> list[Result]:
        ctc, hidden = self.asr_model.ctc, enc[None]
        lengths = torch.tensor([len(enc)], device=enc.device)
        labels, counts = self._hypotheses(ctc, hidden, lengths)
        scores = ctc.frame_log_probs if isinstance(ctc, Criterion) else ctc.log_softmax
        found = labels[0, : int(counts[0])].tolist()
        sequence = torch.tensor([self.asr_model.sos, *found, self.asr_model.eos])
        score = float(scores(hidden).amax(2).sum())
        return [self._result(found, Hypothesis(yseq=sequence, score=score))]

    def _hypotheses(self, ctc: CTC, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(1, N) labels and their number, from (1, T, D) encoder output."""
        return greedy_hypotheses(ctc, hidden, lengths)


class ViterbiSpeech2Text(GreedySpeech2Text):
    """As `GreedySpeech2Text`, by OTTC's best path through the frames; for CTC they are the same."""

    def _hypotheses(self, ctc: CTC, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return viterbi_hypotheses(ctc, hidden, lengths)


def greedy_hypotheses(ctc: CTC, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N) labels and (B,) their numbers from the best label of each frame.

    Args:
        ctc: OTTC or CTC, this package's or ESPnet's own.
        hidden: (B, T, D) encoder output.
        lengths: (B,) valid frames.
    """
    if isinstance(ctc, Criterion):
        return ctc.greedy(hidden, lengths)
    return greedy_labels(ctc.argmax(hidden), None, lengths)


def viterbi_hypotheses(ctc: CTC, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `greedy_hypotheses`, by OTTC's best path through the frames."""
    if isinstance(ctc, Criterion):
        return ctc.viterbi(hidden, lengths)
    return greedy_hypotheses(ctc, hidden, lengths)
