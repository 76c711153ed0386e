"""The price of a change of label is the one that made the fewest errors in the last validation."""

import pytest
import torch

from espnet_ottc.espnet.criteria.options import OTTCOptions
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.criteria.transition_scale import TransitionScale
from espnet_ottc.ops.viterbi_decoding import TRANSITION_SCALE

SCALES = TransitionScale.SCALES


def _validated(errors):
    scale = TransitionScale().train().eval()
    assert scale.begin()
    scale.add(errors)
    return scale


def _with(**few):
    return [few.get(f"at_{place}", 9) for place in range(len(SCALES))]


def test_the_scale_of_the_fewest_errors_is_taken_and_of_several_the_nearest_to_the_default():
    assert TransitionScale().best() == TRANSITION_SCALE
    assert _validated(_with(at_7=3)).best() == SCALES[7]
    assert _validated(_with(at_0=3, at_8=3)).best() == SCALES[0]


def test_each_epoch_counts_anew_and_its_batches_add_up():
    scale = _validated(_with(at_1=0))
    scale.train()
    assert not scale.begin()
    scale.eval()
    for errors in (_with(at_7=1, at_6=0), _with(at_7=1, at_6=5)):
        assert scale.begin()
        scale.add(errors)
    assert scale.best() == SCALES[7]
    assert scale.errors.tolist()[6] == 5


def test_a_model_that_is_not_trained_here_keeps_its_price():
    scale = TransitionScale()
    scale.load_state_dict(_validated(_with(at_2=0)).state_dict())
    assert not scale.eval().begin()
    assert scale.best() == SCALES[2]


def test_parameters_without_counts_load_and_others_are_refused():
    scale = _validated(_with(at_3=0))
    scale.load_state_dict({})
    assert scale.best() == SCALES[3]
    with pytest.raises(RuntimeError, match="size mismatch"):
        scale.load_state_dict({"errors": torch.zeros(2, dtype=torch.int64)})


class _Spelled(OTTC):
    """A criterion whose posteriors are given instead of the encoder's output."""

    def frame_log_probs(self, hs_pad):
        return hs_pad

    def alpha(self, hs_pad, hlens):
        return torch.full(hs_pad.shape[:2], 1 / hs_pad.shape[1])


def _flickering():
    """Frames of 2 2 2 2 3 3 3 3 4 4 4 4, one of which looks a little more like another label."""
    labels = torch.tensor([2, 3, 4]).repeat_interleave(4)
    probs = torch.full((12, 6), 0.02)
    probs[torch.arange(12), labels] = 0.9
    probs[5, 5], probs[5, 3] = 0.6, 0.32
    return probs.log()[None], torch.tensor([12])


def test_errors_are_those_of_the_criterions_own_search():
    criterion = _Spelled(6, 4, OTTCOptions()).train().eval()
    hidden, lengths = _flickering()
    criterion.count_errors(hidden, lengths, torch.tensor([[2, 3, 4, -1]]), torch.tensor([3]))
    errors = dict(zip(SCALES, criterion.transition_scale.errors.tolist(), strict=True))
    # The flicker parts the 3 in two and puts a 5 between.
    assert errors[0.0] == 2
    assert errors[criterion.transition_scale.best()] == 0
    found, counts = criterion.viterbi(hidden, lengths)
    assert found[0, : int(counts[0])].tolist() == [2, 3, 4]
    greedy, counts = criterion.greedy(hidden, lengths)
    assert greedy[0, : int(counts[0])].tolist() == [2, 3, 5, 3, 4]
