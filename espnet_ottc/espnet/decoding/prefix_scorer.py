"""OTTC's prefix scores in the place of CTC's in ESPnet's beam search."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.moved import BatchPartialScorerInterface
from espnet_ottc.ops.precision import LOG_ZERO
from espnet_ottc.ops.prefix_scores import Prefix, PrefixScores


class Extensions(NamedTuple):
    """What may follow: one prefix with each of some labels, or each of several with any label."""

    prefixes: list[Prefix]
    labels: Tensor | None  # of the one prefix


class OTTCPrefixScorer(BatchPartialScorerInterface):  # type: ignore[misc]
    """What `CTCPrefixScorer` is to CTC, for OTTC with uniform label weights.

    The score of a hypothesis is the negative loss, as in training; that of a prefix the best that can still
    become of it.  Used by both of ESPnet's searches, with and without batches of hypotheses.

    Args:
        ottc: the criterion.
        eos: id of the end of a sentence.
    """

    def __init__(self, ottc: OTTC, eos: int) -> None:
        self.ottc = ottc
        self.eos = eos
        self.search: PrefixScores | None = None

    def init_state(self, x: Tensor) -> Prefix:
        """The empty prefix of an utterance with (T, D) encoder output."""
        hidden, lengths = x[None], torch.tensor([len(x)], device=x.device)
        self.search = PrefixScores(
            self.ottc.frame_log_probs(hidden)[0],
            self.ottc.alpha(hidden, lengths)[0],
            boundary=self.ottc.boundary,
            unused=(self.eos,),
        )
        # What the first label loses is counted too, so that scores add up to the negative loss.
        return replace(self.search.start(), score=0.0)

    batch_init_state = init_state

    def score_partial(
        self, y: Tensor, ids: Tensor, state: Prefix, x: Tensor
    ) -> tuple[Tensor, Extensions]:
        """Gain (len(ids),) of each of the labels `ids` over the prefix."""
        return self._gains(state, x)[ids], Extensions([state], ids)

    def batch_score_partial(
        self, y: Tensor, ids: Tensor, state: list[Prefix], x: Tensor
    ) -> tuple[Tensor, Extensions]:
        """Gain (N, V) of each label over each of N prefixes."""
        return torch.stack([self._gains(prefix, x) for prefix in state]), Extensions(state, None)

    def select_state(
        self, state: list[Prefix] | Extensions, i: int, new_id: int | None = None
    ) -> Prefix:
        """The i-th of several prefixes; or an extension: the i-th one, or of the i-th prefix by `new_id`."""
        if not isinstance(state, Extensions):
            return state[i]
        assert self.search is not None
        if state.labels is not None:
            return self.search.extend(state.prefixes[0], int(state.labels[i]))
        assert new_id is not None
        return self.search.extend(state.prefixes[i], int(new_id))

    def _gains(self, prefix: Prefix, x: Tensor) -> Tensor:
        assert self.search is not None
        scores = self.search.next_scores(prefix)
        scores[self.eos] = self.search.final_score(prefix)
        # From what cannot be there is nothing to gain.
        gains = scores - prefix.score if prefix.possible else torch.full_like(scores, LOG_ZERO)
        return gains.to(x)
