"""The monotone path, against the enumeration of all of them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_ottc.alignment.aligners import AlignmentBatch, AlignmentResult, make_aligner
from espnet_ottc.alignment.aligners.viterbi import viterbi_path


def _batch(
    log_probs: Tensor, targets: Tensor, alpha: Tensor | None = None, null: int | None = None
) -> AlignmentBatch:
    B, T, _ = log_probs.shape
    U = targets.shape[1]
    ids = [f"utt{b}" for b in range(B)]
    return AlignmentBatch(
        ids, log_probs, torch.full((B,), T), targets, torch.full((B,), U), alpha, null=null
    )


def _align(batch: AlignmentBatch, **options: float) -> AlignmentResult:
    return make_aligner("viterbi", options).align(batch)


def _enumerate(log_probs: Tensor, targets: list[int]) -> tuple[float, list[int]]:
    """The best of all ways to cut T frames into U runs of at least one frame."""
    T, U = len(log_probs), len(targets)
    best, path = -math.inf, []
    for cuts in itertools.combinations(range(1, T), U - 1):
        edges = [0, *cuts, T]
        labels = [u for u in range(U) for _ in range(edges[u], edges[u + 1])]
        score = sum(float(log_probs[t, targets[u]]) for t, u in enumerate(labels))
        if score > best:
            best, path = score, labels
    return best, path


def _enumerate_with_null(
    log_probs: Tensor, targets: list[int], null: int
) -> tuple[float, list[int]]:
    """The best of all ways to give U labels a run of frames each, and the frames between them to `null`."""
    T, U = len(log_probs), len(targets)
    best, path = -math.inf, []
    for edges in itertools.combinations_with_replacement(range(T + 1), 2 * U):
        if any(edges[2 * u] == edges[2 * u + 1] for u in range(U)):
            continue
        labels = [-1] * T
        for u in range(U):
            labels[edges[2 * u] : edges[2 * u + 1]] = [u] * (edges[2 * u + 1] - edges[2 * u])
        score = sum(
            float(log_probs[t, null if u < 0 else targets[u]]) for t, u in enumerate(labels)
        )
        if score > best:
            best, path = score, labels
    return best, path


def _posteriors(rows: list[list[float]]) -> Tensor:
    probabilities = torch.tensor([rows], dtype=torch.float64)
    return (probabilities / probabilities.sum(-1, keepdim=True)).log()


@settings(max_examples=80)
@given(st.integers(0, 100_000), st.integers(1, 9), st.integers(1, 5), st.integers(2, 4))
def test_the_path_is_the_best_of_all(seed: int, T: int, U: int, V: int) -> None:
    U = min(T, U)
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(1, T, V, generator=generator, dtype=torch.float64).log_softmax(-1)
    targets = torch.randint(V, (1, U), generator=generator)
    labels, best = viterbi_path(log_probs, torch.ones(1, T).bool(), targets, torch.tensor([U]))
    value, path = _enumerate(log_probs[0], targets[0].tolist())
    assert float(best) == pytest.approx(value, abs=1e-9)
    found = sum(float(log_probs[0, t, targets[0, u]]) for t, u in enumerate(labels[0].tolist()))
    assert found == pytest.approx(value, abs=1e-9)
    # Repeated labels tie; without them the path itself is unique.
    if len(set(targets[0].tolist())) == U:
        assert labels[0].tolist() == path


def test_a_planted_path_is_found_with_its_boundaries_and_scores() -> None:
    log_probs = torch.full((1, 6, 3), 0.05).log()
    for t, token in enumerate([1, 1, 2, 2, 2, 1]):
        log_probs[0, t, token] = math.log(0.9)
    result = _align(_batch(log_probs, torch.tensor([[1, 2, 1]])))
    alignment = result.alignments["utt0"]
    assert alignment.frame_labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert alignment.frame_tokens().tolist() == [1, 1, 2, 2, 2, 1]
    assert alignment.starts.tolist() == pytest.approx([0, 2, 5])
    assert alignment.ends.tolist() == pytest.approx([2, 5, 6])
    assert alignment.scores.tolist() == pytest.approx([0.9] * 3)


def test_a_boundary_moves_to_where_the_posteriors_cross() -> None:
    # q = 0.1 at centre 1.5 and 0.6 at centre 2.5: 1/2 at 1.5 + 0.8.
    log_probs = _posteriors([[1, 0.01], [0.9, 0.1], [0.4, 0.6], [0.01, 1]])
    sharp = _align(_batch(log_probs, torch.tensor([[0, 1]]))).alignments["utt0"]
    assert sharp.ends.tolist() == pytest.approx([2.3, 4])
    assert sharp.starts.tolist() == pytest.approx([0, 2.3])
    hard = _align(_batch(log_probs, torch.tensor([[0, 1]])), subframe=False).alignments["utt0"]
    assert hard.ends.tolist() == [2, 4]


def test_a_boundary_beside_dropped_frames_stays() -> None:
    log_probs = _posteriors([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    alpha = torch.tensor([[0.5, 0.0, 0.5]])
    batch = _batch(log_probs, torch.tensor([[0, 1]]), alpha)
    alignment = _align(batch, drop_threshold=0.1).alignments["utt0"]
    assert (alignment.starts.tolist(), alignment.ends.tolist()) == ([0, 2], [1, 3])


def test_a_boundary_stays_where_the_posteriors_do_not_cross() -> None:
    # Three frames for three labels: frame 1 must be label 1, which is likelier nowhere.
    log_probs = _posteriors([[0.9, 0.05, 0.05], [0.5, 0.1, 0.4], [0.05, 0.05, 0.9]])
    alignment = _align(_batch(log_probs, torch.tensor([[0, 1, 2]]))).alignments["utt0"]
    assert alignment.starts.tolist() == [0, 1, 2]


@settings(max_examples=40)
@given(st.integers(0, 100_000), st.integers(1, 20), st.integers(1, 8))
def test_subframe_spans_tile_the_frames_in_order(seed: int, T: int, U: int) -> None:
    U = min(T, U)
    generator = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn(1, T, 4, generator=generator)).log_softmax(-1)
    targets = torch.randint(4, (1, U), generator=generator)
    alignment = _align(_batch(log_probs, targets)).alignments["utt0"]
    hard = _align(_batch(log_probs, targets), subframe=False).alignments["utt0"]
    assert bool((alignment.ends >= alignment.starts).all())
    assert torch.equal(alignment.ends[:-1], alignment.starts[1:])
    assert (float(alignment.starts[0]), float(alignment.ends[-1])) == (0, T)
    assert float((alignment.starts - hard.starts).abs().max()) <= 0.5


def test_a_padded_batch_equals_one_utterance_at_a_time() -> None:
    generator = torch.Generator().manual_seed(5)
    lengths, target_lengths = torch.tensor([9, 4, 7]), torch.tensor([5, 4, 1])
    log_probs = torch.randn(3, 9, 6, generator=generator).log_softmax(-1)
    log_probs[1, 4:] = torch.nan
    targets = torch.randint(6, (3, 5), generator=generator)
    targets[2, 1:] = -1
    ids = list("abc")
    whole = _align(AlignmentBatch(ids, log_probs, lengths, targets, target_lengths)).alignments
    for b, name in enumerate(ids):
        n, m = int(lengths[b]), int(target_lengths[b])
        alone = _align(_batch(log_probs[b : b + 1, :n], targets[b : b + 1, :m])).alignments["utt0"]
        for field in ("targets", "frame_labels", "starts", "ends", "scores"):
            torch.testing.assert_close(getattr(whole[name], field), getattr(alone, field))


def test_dropped_frames_are_left_out_of_path_and_spans() -> None:
    generator = torch.Generator().manual_seed(2)
    log_probs = torch.randn(1, 8, 4, generator=generator).log_softmax(-1)
    alpha = torch.tensor([[0.2, 0.001, 0.2, 0.2, 0.0, 0.199, 0.2, 0.0]])
    kept = [0, 2, 3, 5, 6]
    targets = torch.tensor([[1, 2, 3]])
    result = _align(_batch(log_probs, targets, alpha), drop_threshold=0.1, subframe=False)
    _, path = _enumerate(log_probs[0, kept], [1, 2, 3])
    alignment = result.alignments["utt0"]
    assert alignment.frame_labels[kept].tolist() == path
    assert alignment.frame_labels[[1, 4, 7]].tolist() == [-1] * 3
    assert alignment.frame_tokens(blank=0)[[1, 4, 7]].tolist() == [0] * 3
    assert float(alignment.ends[-1]) == 7
    for u in range(3):
        frames = [t for t, v in zip(kept, path, strict=True) if v == u]
        assert (float(alignment.starts[u]), float(alignment.ends[u])) == (frames[0], frames[-1] + 1)


def test_what_cannot_be_aligned_is_reported_by_id_and_left_out() -> None:
    log_probs = torch.zeros(3, 3, 3).log_softmax(-1)
    log_probs[2, :, 1] = -torch.inf
    batch = AlignmentBatch(
        ["long", "fine", "zero"],
        log_probs,
        torch.tensor([3, 3, 3]),
        torch.tensor([[1, 2, 1, 2], [1, 2, 0, 0], [1, 2, 0, 0]]),
        torch.tensor([4, 2, 2]),
    )
    result = _align(batch)
    assert list(result.alignments) == ["fine"]
    assert result.infeasible == {
        "long": "4 labels need at least as many frames, got 3 of 3",
        "zero": "every path has probability 0",
    }


def test_an_empty_target_and_an_empty_utterance_have_no_spans() -> None:
    batch = AlignmentBatch(
        ["silent", "nothing"],
        torch.zeros(2, 3, 2).log_softmax(-1),
        torch.tensor([3, 0]),
        torch.zeros(2, 1).long(),
        torch.tensor([0, 0]),
    )
    result = _align(batch)
    assert result.alignments["silent"].frame_labels.tolist() == [-1, -1, -1]
    assert len(result.alignments["nothing"].starts) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_dtype_is_taken(dtype: torch.dtype) -> None:
    log_probs = _posteriors([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]).to(dtype)
    alignment = _align(_batch(log_probs, torch.tensor([[0, 1]]))).alignments["utt0"]
    assert alignment.frame_labels.tolist() == [0, 0, 1]
    assert alignment.scores.dtype == torch.float64


def test_a_drop_threshold_needs_weights_and_must_be_sensible() -> None:
    batch = _batch(torch.zeros(1, 2, 2), torch.tensor([[1]]))
    with pytest.raises(ValueError, match="needs frame weights: alpha is None"):
        _align(batch, drop_threshold=0.1)
    with pytest.raises(ValueError, match="drop_threshold must be finite and >= 0, got -1"):
        _align(batch, drop_threshold=-1)


@settings(max_examples=80)
@given(st.integers(0, 100_000), st.integers(1, 7), st.integers(1, 3))
def test_with_a_null_label_the_path_is_the_best_of_all(seed: int, T: int, U: int) -> None:
    U = min(T, U)
    generator = torch.Generator().manual_seed(seed)
    log_probs = (2 * torch.randn(1, T, 5, generator=generator)).double().log_softmax(-1)
    targets = (torch.randperm(4, generator=generator)[:U] + 1)[None]
    result = _align(_batch(log_probs, targets, null=0), subframe=False)
    _, path = _enumerate_with_null(log_probs[0], targets[0].tolist(), 0)
    alignment = result.alignments["utt0"]
    assert alignment.frame_labels.tolist() == path
    for u in range(U):
        frames = [t for t, label in enumerate(path) if label == u]
        assert (float(alignment.starts[u]), float(alignment.ends[u])) == (frames[0], frames[-1] + 1)


def test_equal_labels_apart_by_the_null_label_itself_keep_it() -> None:
    # As a target has them: 1, the blank that stands between repeats, 1.
    log_probs = torch.full((1, 8, 2), 0.1).log()
    for t, token in enumerate([0, 1, 1, 0, 0, 1, 0, 0]):
        log_probs[0, t, token] = math.log(0.9)
    alignment = _align(_batch(log_probs, torch.tensor([[1, 0, 1]]), null=0)).alignments["utt0"]
    assert alignment.frame_labels.tolist() == [-1, 0, 0, 1, 1, 2, -1, -1]
    assert alignment.frame_tokens(0).tolist() == [0, 1, 1, 0, 0, 1, 0, 0]


def test_edges_of_silence_move_to_where_the_posteriors_cross() -> None:
    # Null, 1, null: q = 0.1 and 0.6 around the start, 0.2 and 0.7 around the end.
    log_probs = _posteriors([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    batch = _batch(log_probs, torch.tensor([[1]]), null=0)
    alignment = _align(batch).alignments["utt0"]
    assert alignment.starts.tolist() == pytest.approx([0.5 + 0.8])
    assert alignment.ends.tolist() == pytest.approx([3.5 + 0.6])
    hard = _align(batch, subframe=False).alignments["utt0"]
    assert (hard.starts.tolist(), hard.ends.tolist()) == ([1], [4])


def test_a_null_label_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"null must be a token id in \[0, 2\), got 2"):
        _batch(torch.zeros(1, 2, 2), torch.tensor([[1]]), null=2)
