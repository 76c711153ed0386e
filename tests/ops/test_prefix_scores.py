"""Scores of prefixes: against every text that begins so."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc import ottc_loss
from espnet_ottc.ops.label_decoding import best_path, candidate_sizes
from espnet_ottc.ops.prefix_scores import PrefixScores
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks

BLANK, SPACE, END = 0, 1, 4
IMPOSSIBLE = -1e9


def _random(seed, T, V=5):
    torch.manual_seed(seed)
    return torch.randn(T, V).mul(3).log_softmax(1), torch.randn(T).softmax(0)


def _search(log_probs, alpha, boundary):
    return PrefixScores(log_probs, alpha, boundary=boundary, unused=(END,))


def _prefix(search, text):
    prefix = search.start()
    for label in text:
        prefix = search.extend(prefix, label)
    return prefix


def _target(text, boundary):
    labels, length = torch.tensor([text], dtype=torch.int64).view(1, -1), torch.tensor([len(text)])
    if boundary is not None:
        labels, length = add_boundary_labels(labels, length, boundary)
    return insert_blanks(labels, length)


def _texts(boundary, longest):
    """Every text in which the boundary label, if there is one, stands between two other labels."""
    for length in range(longest + 1):
        for text in product((1, 2, 3), repeat=length):
            at_ends = SPACE in text[:1] + text[-1:]
            in_a_row = (SPACE, SPACE) in pairwise(text)
            if boundary is None or not (at_ends or in_a_row):
                yield text


def _negative_losses(log_probs, alpha, boundary):
    T = len(log_probs)
    found = {}
    for text in _texts(boundary, T):
        target, length = _target(text, boundary)
        if length.item() in candidate_sizes(log_probs):
            loss = ottc_loss(
                log_probs[None].double(),
                alpha[None].double().log(),
                target,
                torch.tensor([T]),
                length,
            )
            found[text] = -T * loss.item()
    return found


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([None, SPACE]))
def test_a_prefix_scores_as_the_best_text_that_begins_so(seed, T, boundary):
    log_probs, alpha = _random(seed, T)
    search = _search(log_probs, alpha, boundary)
    scores = _negative_losses(log_probs, alpha, boundary)
    begun = {text[:n] for text in scores for n in range(len(text) + 1)} | {(1,), (2, 2), (3, 1)}
    for text in sorted(begun):
        prefix = _prefix(search, text)
        best = max((s for t, s in scores.items() if t[: len(text)] == text), default=IMPOSSIBLE)
        if best == IMPOSSIBLE:
            assert not prefix.possible
        else:
            assert prefix.score == pytest.approx(best, abs=1e-4)
        if text in scores:
            assert search.final_score(prefix) == pytest.approx(scores[text], abs=1e-4)
        else:
            assert search.final_score(prefix) < IMPOSSIBLE


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([None, SPACE]))
def test_the_next_labels_score_as_the_prefixes_that_they_make(seed, T, boundary):
    log_probs, alpha = _random(seed, T)
    search = _search(log_probs, alpha, boundary)
    prefix = search.start()
    while prefix.possible:
        scores = search.next_scores(prefix)
        assert float(scores[[BLANK, END]].max()) < IMPOSSIBLE
        for label in (1, 2, 3):
            extended = search.extend(prefix, label)
            assert extended.possible == (float(scores[label]) > IMPOSSIBLE)
            if extended.possible:
                assert scores[label] == pytest.approx(extended.score, abs=1e-6)
        # What the prefix promises, one of its continuations keeps.
        kept = max(float(scores.max()), search.final_score(prefix))
        assert kept == pytest.approx(prefix.score, abs=1e-6)
        prefix = search.extend(prefix, int(scores.argmax()))


def test_following_the_best_score_leads_to_the_best_path_of_clear_frames():
    text = (2, 3, 3, 1, 2)
    target, length = _target(text, SPACE)
    labels = target[0, : length[0]].repeat_interleave(6)
    log_probs = torch.full((len(labels), 5), 0.01)
    log_probs[torch.arange(len(labels)), labels] = 0.96
    log_probs = log_probs.log()
    alpha = torch.full((len(labels),), 1 / len(labels))
    search = _search(log_probs, alpha, SPACE)
    prefix, found = search.start(), []
    while search.final_score(prefix) < prefix.score - 1e-6:
        found.append(int(search.next_scores(prefix).argmax()))
        prefix = search.extend(prefix, found[-1])
    assert tuple(found) == text
    frames = torch.tensor([len(labels)])
    path = best_path(log_probs[None], alpha[None], frames, boundary=SPACE)
    assert path.labels[0].tolist() == target[0, : length[0]].tolist()
    assert prefix.score == pytest.approx(len(labels) * path.scores.item(), abs=1e-4)


def test_no_frames_are_an_error():
    with pytest.raises(ValueError, match="must have a frame, got none"):
        PrefixScores(torch.zeros(0, 3), torch.zeros(0))
    with pytest.raises(ValueError, match=r"alpha must have shape \(T,\)"):
        PrefixScores(torch.zeros(2, 3), torch.zeros(3))
