"""Greedy decoding, and boundary labels before a CTC-style search."""

from itertools import groupby

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ottc.ops.greedy_decoding import greedy_labels, silence_to_blank, stripped

SPACE = 1


def _reference(labels, alpha, threshold, boundary):
    kept = [x for x, weight in zip(labels, alpha, strict=True) if weight * len(labels) >= threshold]
    merged = [x for x, _ in groupby(x for x, _ in groupby(kept))]
    spoken = [x for x in merged if x != 0]
    if boundary is None:
        return spoken
    runs = [(x, len(list(run))) for x, run in groupby(spoken)]
    ends = [x for x, _ in runs]
    while ends and ends[0] == boundary:
        runs, ends = runs[1:], ends[1:]
    while ends and ends[-1] == boundary:
        runs, ends = runs[:-1], ends[:-1]
    return [x for x, count in runs for _ in range(1 if x == boundary else count)]


utterances = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=12),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200)
@given(utterances, st.sampled_from([None, SPACE]))
def test_a_batch_is_decoded_as_the_definition_says(batch, boundary):
    width = max(len(frames) for frames in batch) + 1
    labels = torch.full((len(batch), width), 2)
    alpha = torch.full((len(batch), width), 7.0)  # what stands in the padding must not matter
    lengths = torch.tensor([len(frames) for frames in batch])
    expected = []
    for b, frames in enumerate(batch):
        weights = [weight / max(len(frames), 1) for _, weight in frames]
        names = [label for label, _ in frames]
        labels[b, : len(frames)] = torch.tensor(names, dtype=torch.long)
        alpha[b, : len(frames)] = torch.tensor(weights)
        expected.append(_reference(names, weights, 0.4, boundary))
    found, counts = greedy_labels(labels, alpha, lengths, drop_threshold=0.4, boundary=boundary)
    assert [row[:n].tolist() for row, n in zip(found, counts, strict=True)] == expected


def test_a_dropped_frame_separates_nothing():
    labels = torch.tensor([[2, 3, 2, 0, 2]])
    alpha = torch.tensor([[0.3, 0.0, 0.3, 0.2, 0.2]])
    found, counts = greedy_labels(labels, alpha, torch.tensor([5]), drop_threshold=0.01)
    assert found[0, : counts[0]].tolist() == [2, 2]


def test_edge_silence_counts_as_blank_and_the_inside_is_untouched():
    best = torch.tensor([[0, SPACE, 2, SPACE, 3, 0, SPACE]])
    torch.manual_seed(0)
    logits = torch.randn(1, 7, 4) + 8 * torch.nn.functional.one_hot(best, 4)
    before = logits.log_softmax(2)
    after = silence_to_blank(before, torch.ones(1, 7, dtype=torch.bool), 0, SPACE)
    torch.testing.assert_close(after[:, 2:5], before[:, 2:5], rtol=0, atol=0)
    for t in (0, 1, 5, 6):
        assert after[0, t, SPACE].exp() == 0
        torch.testing.assert_close(
            after[0, t, 0].exp(), before[0, t, 0].exp() + before[0, t, SPACE].exp()
        )
    torch.testing.assert_close(after.exp().sum(2), torch.ones(1, 7))


def test_frames_out_of_use_are_no_speech_and_pure_silence_is_all_blank():
    best = torch.tensor([[2, SPACE, 0]])
    before = (8.0 * torch.nn.functional.one_hot(best, 4)).log_softmax(2)
    kept = torch.tensor([[False, True, True]])
    after = silence_to_blank(before, kept, 0, SPACE)
    assert (after[..., SPACE].exp() == 0).all()


def test_only_the_ends_are_stripped():
    assert stripped([1, 1, 2, 1, 3, 1], 1) == [2, 1, 3]
    assert stripped([1, 1], 1) == []
    assert stripped([1, 2], None) == [1, 2]
