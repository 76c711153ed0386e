"""CTC with label priors, CTC on two views, frame cross-entropy: against their definitions."""

import itertools
import math
import sys

import pytest
import torch
from espnet2.asr.ctc import CTC

from espnet_ottc.espnet.criteria.base import CriterionBatch
from espnet_ottc.espnet.criteria.consistency import ConsistencyCTC
from espnet_ottc.espnet.criteria.ctc_prior import PriorCTC
from espnet_ottc.espnet.criteria.options import (
    ConsistencyCTCOptions,
    OTTCOptions,
    PriorCTCOptions,
    SoftDTWOptions,
)
from espnet_ottc.espnet.criteria.single_path import SinglePath
from espnet_ottc.espnet.criteria.soft_dtw import SoftDTW
from espnet_ottc.ops.regularizers import consistency

V, D = 4, 6


def _batch(seed=0, frames=5):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, frames, D, generator=generator)
    targets = torch.tensor([[1, 2], [3, -1]])
    return hidden, torch.tensor([frames, frames - 1]), targets, torch.tensor([2, 1])


def _like(criterion):
    """ESPnet's CTC with the parameters of a criterion."""
    builtin = CTC(V, D).eval()
    builtin.ctc_lo.load_state_dict(criterion.ctc_lo.state_dict())
    return builtin


def _spelt(path):
    return [label for label, _ in itertools.groupby(path) if label]


def _enumerated(scores, labels):
    """-log of the sum over all paths that spell the labels, one by one."""
    T = len(scores)
    paths = [p for p in itertools.product(range(V), repeat=T) if _spelt(p) == labels]
    totals = torch.stack([scores[range(T), list(p)].sum() for p in paths])
    return -totals.logsumexp(0)


@pytest.mark.parametrize("criterion", [PriorCTC, ConsistencyCTC, SinglePath, SoftDTW])
def test_a_criterion_refuses_the_options_of_another(criterion):
    with pytest.raises(
        TypeError, match=f"options of {criterion.__name__} must be .* got OTTCOptions"
    ):
        criterion(V, D, OTTCOptions())


def test_without_a_prior_it_is_ctc():
    torch.manual_seed(0)
    criterion = PriorCTC(V, D).train()
    torch.testing.assert_close(criterion(*_batch()), _like(criterion)(*_batch()))


def test_the_prior_enters_loss_and_gradient_as_the_definition_says():
    torch.manual_seed(0)
    criterion = PriorCTC(V, D, PriorCTCOptions(0.7), reduce=False).train()
    prior = torch.tensor([0.6, 0.1, 0.1, 0.2])
    criterion.log_prior.copy_(prior.log())
    hidden, lengths, targets, target_lengths = _batch()
    losses = criterion(hidden, lengths, targets, target_lengths)
    weight = criterion.ctc_lo.weight
    scores = criterion.ctc_lo(hidden).log_softmax(2) - 0.7 * prior.log()
    expected = torch.stack([_enumerated(scores[0], [1, 2]), _enumerated(scores[1, :4], [3])])
    torch.testing.assert_close(losses, expected)
    (gradient,) = torch.autograd.grad(losses.sum(), weight)
    (wanted,) = torch.autograd.grad(expected.sum(), weight)
    torch.testing.assert_close(gradient, wanted)
    best = scores.argmax(2)
    torch.testing.assert_close(criterion.argmax(hidden), best)
    torch.testing.assert_close(criterion.log_softmax(hidden), scores.log_softmax(2))
    torch.testing.assert_close(criterion.softmax(hidden), scores.softmax(2))


def test_the_validation_loss_is_that_of_the_distributions_that_decoding_uses():
    torch.manual_seed(0)
    criterion = PriorCTC(V, D, reduce=False).eval()
    criterion.log_prior.copy_(torch.tensor([0.6, 0.1, 0.1, 0.2]).log())
    hidden, lengths, targets, target_lengths = _batch()
    used = criterion.log_softmax(hidden)
    expected = torch.stack([_enumerated(used[0], [1, 2]), _enumerated(used[1, :4], [3])])
    torch.testing.assert_close(criterion(hidden, lengths, targets, target_lengths), expected)
    # So losses of two epochs compare; a factor of all priors changes nothing.
    criterion.log_prior += 1.0
    torch.testing.assert_close(criterion(hidden, lengths, targets, target_lengths), expected)


def test_the_prior_is_the_mean_posterior_of_the_epochs_valid_frames():
    torch.manual_seed(0)
    criterion = PriorCTC(V, D).train()
    hidden, lengths, targets, target_lengths = _batch()
    posteriors = criterion.ctc_lo(hidden).softmax(2).detach()
    criterion(hidden, lengths, targets, target_lengths)
    assert criterion.log_prior.abs().sum() == 0
    criterion.eval()(hidden, lengths, targets, target_lengths)
    criterion.set_epoch(2)
    expected = torch.cat([posteriors[0], posteriors[1, :4]]).mean(0).log()
    torch.testing.assert_close(criterion.log_prior, expected)
    criterion.set_epoch(3)  # nothing seen since
    torch.testing.assert_close(criterion.log_prior, expected)


def test_priors_wait_for_their_epoch():
    criterion = PriorCTC(V, D, PriorCTCOptions(prior_after_epoch=3))
    for epoch, waits in ((2, True), (3, True), (4, False)):
        criterion.occupancy.copy_(torch.tensor([2.0, 1.0, 1.0, epoch]))
        criterion.set_epoch(epoch)
        assert (criterion.log_prior == 0).all().item() is waits
    # Of the last epoch alone.
    torch.testing.assert_close(criterion.log_prior.exp(), torch.tensor([2.0, 1.0, 1.0, 4.0]) / 8)


def test_an_utterance_too_short_for_its_text_trains_nothing():
    torch.manual_seed(0)
    criterion = PriorCTC(V, D, reduce=False).train()
    hidden, lengths, targets, target_lengths = _batch()
    criterion(hidden, lengths, targets, target_lengths)
    criterion.set_epoch(2)
    losses = criterion(hidden, torch.tensor([5, 1]), targets.flip(0), target_lengths.flip(0))
    assert losses[1] == 0
    losses[1].backward()
    assert criterion.ctc_lo.weight.grad.abs().max() == 0
    unlike = PriorCTC(V, D, reduce=False, zero_infinity=False).train()
    losses = unlike(hidden, torch.tensor([5, 1]), targets.flip(0), target_lengths.flip(0))
    assert losses[1] == torch.inf


def test_a_token_never_used_keeps_a_bounded_prior():
    criterion = PriorCTC(V, D)
    criterion.occupancy.copy_(torch.tensor([10.0, 0.0, 5.0, 5.0]))
    criterion.set_epoch(2)
    assert criterion.log_prior[1].item() == pytest.approx(-12.0)


def test_consistency_is_the_divergence_from_the_other_view_with_its_gradient_stopped():
    torch.manual_seed(0)
    logits = torch.randn(4, 5, V, requires_grad=True)
    lengths = torch.tensor([5, 3, 5, 3])
    p = logits.detach().softmax(2)
    found = consistency(logits, lengths)
    for row in range(4):
        other, n = (row + 2) % 4, int(lengths[row])
        q, own = p[other, :n], p[row, :n]
        assert found[row].item() == pytest.approx((q * (q / own).log()).sum().item(), rel=1e-4)
    found.sum().backward()
    # d/dz KL(sg q || softmax z) = p - q.
    valid = (torch.arange(5) < lengths[:, None])[..., None]
    torch.testing.assert_close(logits.grad, torch.where(valid, p - p.roll(2, 0), 0.0))


@pytest.mark.parametrize("lengths", [[5, 3, 5], [5, 3, 5, 4]])
def test_consistency_needs_pairs(lengths):
    with pytest.raises(ValueError, match="two views of every utterance"):
        consistency(torch.zeros(len(lengths), 5, V), torch.tensor(lengths))


def test_consistency_of_equal_views_is_nothing():
    logits = torch.randn(2, 5, V).repeat(2, 1, 1)
    assert consistency(logits, torch.tensor([5, 3, 5, 3])).abs().max() < 1e-6


def test_cr_ctc_is_the_mean_of_both_views_and_their_divergence():
    torch.manual_seed(0)
    criterion = ConsistencyCTC(V, D, ConsistencyCTCOptions(0.2)).train()
    builtin = _like(criterion)
    one, two = _batch(seed=1), _batch(seed=2)
    batch = [torch.cat(pair) for pair in zip(one, two, strict=True)]
    p, q = (criterion.ctc_lo(view[0]).log_softmax(2) for view in (one, two))
    apart = 0.0
    for b, n in enumerate([5, 4]):
        a, c = p[b, :n], q[b, :n]
        apart += 0.5 * ((c.exp() * (c - a)).sum() + (a.exp() * (a - c)).sum()) / 2
    expected = 0.5 * (builtin(*one) + builtin(*two)) + 0.2 * apart
    losses = criterion.losses(CriterionBatch(*batch))
    torch.testing.assert_close(losses.loss, expected)
    torch.testing.assert_close(losses.parts["loss_consistency"], apart.detach())
    torch.testing.assert_close(criterion.eval()(*one), builtin(*one))


def test_single_path_is_the_cross_entropy_of_the_alignment():
    torch.manual_seed(0)
    criterion = SinglePath(V, D, reduce=False)
    hidden, lengths, targets, target_lengths = _batch()
    alignment = torch.tensor([[0, 1, 1, 2, 0], [3, 3, 0, 0, -1]])
    batch = CriterionBatch(hidden, lengths, targets, target_lengths, alignment, lengths)
    losses = criterion.losses(batch).loss
    log_probs = criterion.ctc_lo(hidden).log_softmax(2)
    for b, n in enumerate([5, 4]):
        expected = -sum(log_probs[b, t, alignment[b, t]].item() for t in range(n))
        assert losses[b].item() == pytest.approx(expected, rel=1e-5)
    assert math.isfinite(losses.sum().item())


@pytest.mark.parametrize("zero_infinity", [True, False])
def test_a_frame_whose_label_is_impossible_costs_its_utterance_alone(zero_infinity):
    torch.manual_seed(0)
    criterion = SinglePath(V, D, reduce=False, zero_infinity=zero_infinity)
    with torch.no_grad():
        criterion.ctc_lo.bias[2] = -torch.inf
    hidden, lengths, targets, target_lengths = _batch()
    alignment = torch.tensor([[0, 1, 1, 2, 0], [3, 3, 0, 0, -1]])
    batch = CriterionBatch(hidden, lengths, targets, target_lengths, alignment, lengths)
    _check_impossible(criterion, criterion.losses(batch).loss)


def _check_impossible(criterion, losses):
    """The first of two utterances is impossible; the second trains alone where infinity is zero."""
    assert 0 < losses[1] < torch.inf
    if not criterion.zero_infinity:
        assert losses[0] == torch.inf
        return
    assert losses[0] == 0
    (alone,) = torch.autograd.grad(losses[1], criterion.ctc_lo.weight, retain_graph=True)
    (both,) = torch.autograd.grad(losses.sum(), criterion.ctc_lo.weight)
    assert both.isfinite().all()
    torch.testing.assert_close(both, alone)


def test_single_path_refuses_an_alignment_of_other_frames_and_none():
    criterion = SinglePath(V, D)
    hidden, lengths, targets, target_lengths = _batch()
    with pytest.raises(ValueError, match="single_path needs the data stream ali"):
        criterion(hidden, lengths, targets, target_lengths)
    alignment = torch.zeros(2, 5, dtype=torch.long), torch.tensor([5, 3])
    batch = CriterionBatch(hidden, lengths, targets, target_lengths, *alignment)
    with pytest.raises(
        ValueError, match=r"utterance 1: ali must have one label .* 4 frames, got 3"
    ):
        criterion.losses(batch)


def _warped(costs, gamma):
    """Soft minimum over all warping paths from the first frame and label to the last, one by one."""
    T, U = costs.shape

    def paths(t, u):
        if (t, u) == (T - 1, U - 1):
            yield [(t, u)]
            return
        for step in ((t + 1, u), (t, u + 1), (t + 1, u + 1)):
            if step[0] < T and step[1] < U:
                yield from ([(t, u), *rest] for rest in paths(*step))

    totals = torch.stack([sum(costs[t, u] for t, u in path) for path in paths(0, 0)])
    return -gamma * (-totals / gamma).logsumexp(0)


def test_soft_dtw_is_the_soft_minimum_over_warping_paths_of_the_complete_labels():
    torch.manual_seed(0)
    criterion = SoftDTW(V, D, SoftDTWOptions(boundary_label=3, gamma=0.7), reduce=False)
    hidden, lengths, _, _ = _batch()
    targets, target_lengths = torch.tensor([[1, 1], [2, -1]]), torch.tensor([2, 1])
    losses = criterion(hidden, lengths, targets, target_lengths)
    log_probs = criterion.ctc_lo(hidden).log_softmax(2)
    sequences = [[3, 1, 0, 1, 3], [3, 2, 3]]
    expected = torch.stack(
        [_warped(-log_probs[b, :n][:, sequences[b]], 0.7) for b, n in enumerate([5, 4])]
    )
    torch.testing.assert_close(losses, expected)
    weight = criterion.ctc_lo.weight
    (gradient,) = torch.autograd.grad(losses.sum(), weight)
    (wanted,) = torch.autograd.grad(expected.sum(), weight)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zero_infinity", [True, False])
def test_warping_to_an_impossible_label_costs_its_utterance_alone(zero_infinity):
    torch.manual_seed(0)
    criterion = SoftDTW(V, D, reduce=False, zero_infinity=zero_infinity)
    with torch.no_grad():
        criterion.ctc_lo.bias[2] = -torch.inf
    _check_impossible(criterion, criterion(*_batch()))


def test_soft_dtw_leaves_pytorch_its_threads():
    before = torch.get_num_threads()
    hidden, lengths, _, _ = _batch()
    torch.set_num_threads(1)
    try:
        SoftDTW(V, D)(hidden, lengths, torch.tensor([[1], [2]]), torch.tensor([1, 1])).backward()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_soft_dtw_decodes_without_its_boundary_labels():
    criterion = SoftDTW(V, D, SoftDTWOptions(boundary_label=3)).eval()
    # One-hot encoder output through an identity head: frames say 3 3 1 1 2 3.
    criterion.ctc_lo.weight.data = torch.eye(V, D)
    criterion.ctc_lo.bias.data.zero_()
    hidden = torch.eye(D)[torch.tensor([[3, 3, 1, 1, 2, 3]])] * 9.0
    labels, counts = criterion.greedy(hidden, torch.tensor([6]))
    assert labels[0, : counts[0]].tolist() == [1, 2]
    assert criterion.log_softmax(hidden).argmax(2)[0].tolist() == [0, 0, 1, 1, 2, 0]


def test_soft_dtw_refuses_a_package_whose_gradients_are_wrong(monkeypatch):
    monkeypatch.setattr("tslearn.__version__", "0.9.0")
    with pytest.raises(ImportError, match=r"missing: tslearn>=0.10"):
        SoftDTW(V, D)


def test_soft_dtw_says_how_to_get_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tslearn.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'espnet-ottc\[soft_dtw\]'"):
        SoftDTW(V, D)
