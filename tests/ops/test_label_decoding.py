"""The best label sequence under the transport: against all sequences, and where greedy decoding fails."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_plan

from espnet_ottc import ottc_loss
from espnet_ottc.ops.label_decoding import best_path, candidate_sizes
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks

BLANK, SPACE = 0, 1


def _allowed(labels, boundary):
    if any(a == b for a, b in pairwise(labels)):
        return False
    ends = {labels[0], labels[-1]}
    return BLANK not in ends if boundary is None else ends == {boundary}


def _best_of_all(log_probs, alpha, sizes, boundary):
    best = -float("inf")
    for size in sizes:
        plan = torch.tensor(reference_plan(alpha.tolist(), [1 / size] * size))
        pieces = plan.T @ log_probs
        for labels in product(range(log_probs.shape[1]), repeat=size):
            if _allowed(labels, boundary):
                score = sum(float(pieces[u, label]) for u, label in enumerate(labels))
                best = max(best, score)
    return best


def _score(log_probs, alpha, labels):
    plan = torch.tensor(reference_plan(alpha.tolist(), [1 / len(labels)] * len(labels)))
    return float((plan * log_probs[:, labels]).sum())


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([None, SPACE]), st.booleans())
def test_no_sequence_is_better(seed, T, boundary, with_zeros):
    torch.manual_seed(seed)
    log_probs = torch.randn(T, 4, dtype=torch.float64).mul(3).log_softmax(1)
    alpha = torch.rand(T, dtype=torch.float64)
    if with_zeros and T > 1:
        alpha[torch.randint(T, (1,))] = 0.0
    alpha = alpha / alpha.sum()
    found = best_path(log_probs[None], alpha[None], torch.tensor([T]), boundary=boundary)
    labels = found.labels[0, : found.lengths[0]].tolist()
    expected = _best_of_all(log_probs, alpha, candidate_sizes(log_probs), boundary)
    assert found.scores[0].item() == pytest.approx(expected, abs=1e-9)
    if expected > -float("inf"):
        assert _allowed(labels, boundary)
        assert _score(log_probs, alpha, labels) == pytest.approx(expected, abs=1e-9)


def _planted(text, frames_per_label):
    """A target, the label of each frame, and uniform frame weights."""
    with_ends = add_boundary_labels(torch.tensor([text]), torch.tensor([len(text)]), SPACE)
    targets, lengths = insert_blanks(*with_ends)
    target = targets[0, : lengths[0]]
    labels = target.repeat_interleave(frames_per_label)
    return target, labels, torch.full((1, len(labels)), 1 / len(labels))


def test_a_label_that_is_nowhere_the_best_is_found_and_flickering_frames_are_not():
    target, labels, alpha = _planted([2, 3, 3, 4], 4)
    probs = torch.full((len(labels), 6), 0.02)
    probs[torch.arange(len(labels)), labels] = 0.9
    # The first 3 is always second, to another label on each frame; a frame of the 4 looks like a 5.
    (place,) = (target == 3).nonzero()[:1].flatten().tolist()
    for step, other in enumerate((2, 5, 4, 2)):
        frame = 4 * place + step
        probs[frame] = 0.02
        probs[frame, 3], probs[frame, other] = 0.4, 0.52
    flicker = 4 * (target == 4).nonzero().item() + 1
    probs[flicker, 5], probs[flicker, 4] = 0.5, 0.4
    log_probs = (probs / probs.sum(1, keepdim=True)).log()[None]
    found = best_path(log_probs, alpha, torch.tensor([len(labels)]), boundary=SPACE)
    assert found.labels[0].tolist() == target.tolist()
    assert log_probs.argmax(2).unique_consecutive().numel() > len(target)


def test_its_score_is_the_loss_of_its_labels():
    torch.manual_seed(0)
    logits, scores = torch.randn(2, 30, 7).mul(2), torch.randn(2, 30)
    lengths = torch.tensor([30, 21])
    inside = torch.arange(30) < lengths[:, None]
    alpha = scores.masked_fill(~inside, -torch.inf).softmax(1)
    found = best_path(logits.log_softmax(2), alpha, lengths)
    loss = ottc_loss(
        logits, scores, found.labels, lengths, found.lengths, reduction="none", scale="utterance"
    )
    torch.testing.assert_close(-loss, found.scores.float(), rtol=1e-5, atol=1e-5)


def test_a_batch_is_its_utterances_and_an_empty_one_is_empty():
    torch.manual_seed(0)
    log_probs = torch.randn(3, 12, 5).log_softmax(2)
    lengths = torch.tensor([12, 0, 7])
    alpha = torch.zeros(3, 12)
    for b, n in enumerate(lengths.tolist()):
        alpha[b, :n] = torch.rand(n).softmax(0)
    found = best_path(log_probs, alpha, lengths)
    assert found.lengths[1] == 0
    assert found.scores[1] == 0
    for b, n in ((0, 12), (2, 7)):
        alone = best_path(log_probs[b : b + 1, :n], alpha[b : b + 1, :n], lengths[b : b + 1])
        assert alone.labels[0].tolist() == found.labels[b, : found.lengths[b]].tolist()
        assert alone.scores[0] == found.scores[b]
    assert (found.labels[1] == BLANK).all()


def test_labels_without_probability_are_avoided_and_never_make_nan():
    log_probs = torch.tensor(
        [[[-torch.inf, -torch.inf, 0.0]] * 3 + [[-torch.inf, 0.0, -torch.inf]] * 3]
    )
    found = best_path(log_probs, torch.full((1, 6), 1 / 6), torch.tensor([6]))
    assert found.labels[0].tolist() == [2, 1]
    assert found.scores[0] == 0


@pytest.mark.parametrize(
    ("V", "alpha", "message"),
    [
        (1, torch.full((1, 4), 0.25), "at least two labels, got 1"),
        (3, torch.full((1, 3), 0.25), "alpha must"),
        (3, torch.ones(1, 4, dtype=torch.int64), "alpha must"),
    ],
)
def test_bad_input_is_refused(V, alpha, message):
    with pytest.raises((TypeError, ValueError), match=message):
        best_path(torch.zeros(1, 4, V), alpha, torch.tensor([4]))
