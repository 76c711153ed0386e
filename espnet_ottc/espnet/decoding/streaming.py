"""Decoding behind ESPnet's `Speech2TextStreaming` while the recording still goes on.

Frame weights are a softmax over the utterance, which streaming encoders do not see to its end.  But frame
scores come frame by frame, and of two frames heard so far the ratio of weights is final.  So what has been
heard is an utterance of its own, with weights that sum to 1 over it: its labels are searched as those of a
whole one.  What a later block changes is the end of the hypothesis, and the time of the plan's boundaries.
"""

from typing import Any

import torch
from espnet2.bin.asr_inference_streaming import Speech2TextStreaming
from torch import Tensor

from espnet_ottc.espnet.criteria.base import Criterion
from espnet_ottc.espnet.moved import Hypothesis


class OTTCSpeech2TextStreaming(Speech2TextStreaming):  # type: ignore[misc]
    """`Speech2TextStreaming` that searches what has been heard so far, block by block.

    Constructor and results are those of ESPnet's class; the last result, with `is_final`, is that of the
    whole recording.  ESPnet's own search, for models with its CTC, is left alone.  For the criteria of this
    package attention decoder and language model take no part: there is one hypothesis, and the options of the
    search have no effect.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.asr_model.ctc, Criterion):
            self.beam_search = GrowingSearch(self.asr_model)
            self.reset()


class GrowingSearch:
    """The criterion's decoder on an encoder output that grows, in the place of `BatchBeamSearchOnline`.

    Args:
        model: ESPnet's model, with a criterion of this package.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.heard: list[Tensor] = []

    def reset(self) -> None:
        """Forget what has been heard."""
        self.heard = []

    def __call__(self, x: Tensor, **_options: Any) -> list[Hypothesis]:
        """The labels of all that has been heard.

        Args:
            x: (T, D) encoder output that has come since the last call; it may be empty.
        """
        self.heard.append(x)
        hidden = torch.cat(self.heard)[None]
        labels, counts = self.model.ctc.viterbi(hidden, torch.tensor([hidden.shape[1]]))
        found = labels[0, : int(counts[0])].tolist()
        return [Hypothesis(yseq=torch.tensor([self.model.sos, *found, self.model.eos]))]
