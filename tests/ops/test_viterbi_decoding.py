"""The best path through the frames: against all paths, and where greedy decoding fails."""

import math
from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.ops.greedy_decoding import greedy_labels, spoken_labels
from espnet_ottc.ops.label_decoding import best_path
from espnet_ottc.ops.viterbi_decoding import viterbi_labels

BLANK, SPACE = 0, 1


def _score(path, log_probs, alpha, count, scale):
    T = len(path)
    total = sum(T * alpha[t] * max(log_probs[t][path[t]], -20.0) for t in range(T))
    for t in range(1, T):
        rate = min(max(count * alpha[t], 0.05), 0.95)
        total += scale * (math.log(rate) if path[t] != path[t - 1] else math.log1p(-rate))
    return total


def _runs(path):
    return sum(1 for _ in groupby(path))


def _best_of_all(log_probs, alpha, scale, boundary):
    """By trying all paths, with the number of labels taken from the path before, three times."""
    T, V = len(log_probs), len(log_probs[0])
    paths = [
        path
        for path in product(range(V), repeat=T)
        if boundary is None or path[0] == path[-1] == boundary
    ]
    path = tuple(max(range(V), key=lambda v: log_probs[t][v]) for t in range(T))
    for _ in range(3):
        count = _runs(path)
        path = max(paths, key=lambda one: _score(one, log_probs, alpha, count, scale))
        if _runs(path) == count:
            break
    return path


def _spoken(path, boundary):
    labels, lengths = spoken_labels(
        torch.tensor([path]), torch.tensor([len(path)]), blank=BLANK, boundary=boundary
    )
    return labels[0, : int(lengths[0])].tolist()


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.sampled_from([None, SPACE]),
    st.sampled_from([0.0, 0.3, 2.0]),
)
def test_no_path_is_better(seed, T, boundary, scale):
    torch.manual_seed(seed)
    log_probs = torch.randn(T, 4, dtype=torch.float64).mul(3).log_softmax(1)
    alpha = torch.randn(T, dtype=torch.float64).softmax(0)
    labels, lengths = viterbi_labels(
        log_probs[None],
        alpha[None],
        torch.tensor([T]),
        transition_scale=scale,
        blank=BLANK,
        boundary=boundary,
    )
    expected = _best_of_all(log_probs.tolist(), alpha.tolist(), scale, boundary)
    assert labels[0, : int(lengths[0])].tolist() == _spoken(expected, boundary)


def test_without_a_price_it_is_greedy():
    torch.manual_seed(0)
    log_probs = torch.randn(3, 20, 6).mul(3).log_softmax(2)
    lengths = torch.tensor([20, 13, 0])
    alpha = torch.full((3, 20), 1 / 20)
    found = viterbi_labels(log_probs, alpha, lengths, transition_scale=0.0)
    for one, other in zip(found, greedy_labels(log_probs.argmax(2), None, lengths), strict=True):
        assert torch.equal(one, other)


def test_flickering_frames_make_no_labels_where_the_rate_is_low():
    labels = torch.tensor([1] * 4 + [2] * 4 + [3] * 4 + [1] * 4)
    probs = torch.full((16, 5), 0.05)
    probs[torch.arange(16), labels] = 0.8
    probs[9] = torch.tensor([0.05, 0.05, 0.05, 0.38, 0.47])
    log_probs = probs.log()[None]
    alpha = torch.full((1, 16), 1 / 16)
    greedy, _ = greedy_labels(log_probs.argmax(2), None, torch.tensor([16]), boundary=SPACE)
    assert 4 in greedy[0].tolist()
    found, lengths = viterbi_labels(log_probs, alpha, torch.tensor([16]), boundary=SPACE)
    assert found[0, : int(lengths[0])].tolist() == [2, 3]


def test_a_batch_is_its_utterances_and_padding_means_nothing():
    torch.manual_seed(0)
    log_probs = torch.randn(3, 12, 5).mul(3).log_softmax(2)
    lengths = torch.tensor([12, 0, 7])
    alpha = torch.randn(3, 12).masked_fill(torch.arange(12) >= lengths[:, None], -1e9).softmax(1)
    log_probs[2, 7:] = float("nan")
    found, counts = viterbi_labels(log_probs, alpha, lengths)
    assert counts[1] == 0
    for b, n in ((0, 12), (2, 7)):
        alone, count = viterbi_labels(
            log_probs[b : b + 1, :n], alpha[b : b + 1, :n], lengths[b : b + 1]
        )
        assert alone[0, : int(count[0])].tolist() == found[b, : int(counts[b])].tolist()


def test_labels_of_probability_0_are_avoided():
    log_probs = torch.tensor(
        [[[-torch.inf, 0.0, -torch.inf]] * 2 + [[-torch.inf, -torch.inf, 0.0]] * 3]
    )
    found, counts = viterbi_labels(log_probs, torch.full((1, 5), 0.2), torch.tensor([5]))
    assert found[0, : int(counts[0])].tolist() == [1, 2]


def test_nothing_is_said_in_no_frames():
    found, counts = viterbi_labels(torch.zeros(2, 0, 3), torch.zeros(2, 0), torch.tensor([0, 0]))
    assert found.shape == (2, 0)
    assert counts.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition_scale": -1.0}, "transition_scale must be at least 0"),
        ({"transition_scale": float("nan")}, "transition_scale must be at least 0"),
        ({"log_probs": torch.zeros(1, 3, 1)}, "at least two labels"),
        ({"alpha": torch.zeros(1, 2)}, "alpha must have shape"),
        ({"lengths": torch.tensor([4])}, "lengths"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "log_probs": torch.zeros(1, 3, 2),
        "alpha": torch.full((1, 3), 1 / 3),
        "lengths": torch.tensor([3]),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        viterbi_labels(**arguments)


@pytest.mark.parametrize("search", [viterbi_labels, best_path])
def test_lengths_of_another_number_of_utterances_are_refused(search):
    log_probs, alpha = torch.zeros(2, 3, 4).log_softmax(2), torch.full((2, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"lengths must have shape \(B,\)"):
        search(log_probs, alpha, torch.tensor([3]))
