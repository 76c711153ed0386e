"""Spans from the transport plan, against a dense inversion of the cumulative weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_ottc.alignment.aligners import AlignmentBatch, TokenAlignment, make_aligner
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.ops.boundaries import boundaries, labels_at_centres
from espnet_ottc.ops.weights import uniform_label_weights


def _lengths(*lengths: int) -> Tensor:
    return torch.tensor(lengths)


def _weights(rows: list[list[float]]) -> Tensor:
    weights = torch.tensor(rows, dtype=torch.float64)
    return weights / weights.sum(1, keepdim=True)


def _batch(
    alpha: Tensor, U: int, seed: int = 0, V: int = 5, beta: Tensor | None = None
) -> AlignmentBatch:
    B, T = alpha.shape
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(B, T, V, generator=generator, dtype=torch.float64).log_softmax(-1)
    targets = torch.randint(V, (B, U), generator=generator)
    ids = [f"utt{b}" for b in range(B)]
    return AlignmentBatch(
        ids, log_probs, torch.full((B,), T), targets, torch.full((B,), U), alpha, beta
    )


def _align(batch: AlignmentBatch) -> dict[str, TokenAlignment]:
    return make_aligner("transport").align(batch).alignments


def _slow_boundaries(alpha: np.ndarray, beta: np.ndarray) -> tuple[list[float], list[float]]:
    """sup {p : A(p) <= b} and inf {p : A(p) >= b}, frame by frame in plain Python."""
    levels = np.concatenate([[0.0], np.cumsum(beta / beta.sum())])
    A = np.concatenate([[0.0], np.cumsum(alpha / alpha.sum())])

    def position(level: float, last: bool) -> float:
        found = []
        for t, weight in enumerate(np.diff(A)):
            if weight > 0 and A[t] - 1e-12 <= level <= A[t + 1] + 1e-12:
                found.append(t + (level - A[t]) / weight)
        return max(found) if last else min(found)

    return (
        [position(level, True) for level in levels[:-1]],
        [position(level, False) for level in levels[1:]],
    )


def test_planted_weights_give_their_boundaries() -> None:
    # A = 0, .25, .5, 1 and B = .125, .75, 1: half of frame 0; half of frame 2.
    alpha, beta = _weights([[1, 1, 2]]), _weights([[1, 5, 2]])
    starts, ends = boundaries(alpha, beta, _lengths(3), _lengths(3))
    assert starts.tolist() == [[0.0, 0.5, 2.5]]
    assert ends.tolist() == [[0.5, 2.5, 3.0]]


def test_dropped_frames_between_labels_belong_to_neither() -> None:
    alpha, beta = _weights([[0, 1, 0, 0, 1, 0]]), _weights([[1, 1]])
    starts, ends = boundaries(alpha, beta, _lengths(6), _lengths(2))
    assert (starts.tolist(), ends.tolist()) == ([[1.0, 4.0]], [[2.0, 5.0]])
    labels = labels_at_centres(alpha, beta, _lengths(6), _lengths(2))
    assert labels.tolist() == [[-1, 0, -1, -1, 1, -1]]


def test_dropped_frames_inside_a_label_stay_in_its_span() -> None:
    alpha, beta = _weights([[1, 0, 1]]), _weights([[1]])
    starts, ends = boundaries(alpha, beta, _lengths(3), _lengths(1))
    assert (starts.item(), ends.item()) == (0.0, 3.0)


def test_rounding_of_a_running_sum_makes_no_false_boundary() -> None:
    # 0.1 + 0.2 is a little over 0.3: label 1 must not start before the dropped frames for that.
    alpha = torch.tensor([[0.1, 0.2, 0.0, 0.0, 0.7]], dtype=torch.float64)
    beta = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    starts, ends = boundaries(alpha, beta, _lengths(5), _lengths(2))
    assert starts[0].tolist() == pytest.approx([0, 4])
    assert ends[0].tolist() == pytest.approx([2, 5])


@settings(max_examples=60)
@given(st.data())
def test_boundaries_equal_a_slow_inversion(data: st.DataObject) -> None:
    weights = st.integers(0, 5)
    alpha = data.draw(st.lists(weights, min_size=1, max_size=9).filter(any))
    beta = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=7))
    starts, ends = boundaries(
        _weights([alpha]), _weights([beta]), _lengths(len(alpha)), _lengths(len(beta))
    )
    slow = _slow_boundaries(np.array(alpha, float), np.array(beta, float))
    assert starts[0].tolist() == pytest.approx(slow[0], abs=1e-9)
    assert ends[0].tolist() == pytest.approx(slow[1], abs=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5))
def test_boundaries_and_scores_equal_dense_integration(seed: int, T: int, U: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(1, T, generator=generator, dtype=torch.float64) + 0.05
    beta = torch.rand(1, U, generator=generator, dtype=torch.float64) + 0.05
    alpha, beta = alpha / alpha.sum(), beta / beta.sum()
    batch = _batch(alpha, U, seed, beta=beta)
    alignment = _align(batch)["utt0"]
    # The frame axis cut into slices of equal mass: the slice of mass m lies in frame f and label u.
    # A frame weighs a hundredth at least, so that a slice is at most a thousandth of a frame.
    slices = 120_000
    mass = (np.arange(slices) + 0.5) / slices
    a, b = alpha[0].numpy(), beta[0].numpy()
    frame = np.searchsorted(np.cumsum(a), mass).clip(max=T - 1)
    label = np.searchsorted(np.cumsum(b), mass).clip(max=U - 1)
    before = np.concatenate([[0.0], np.cumsum(a)])[frame]
    place = frame + (mass - before) / a[frame]
    probability = batch.log_probs[0].exp().numpy()[frame, batch.targets[0].numpy()[label]]
    for u in range(U):
        inside = label == u
        assert float(alignment.starts[u]) == pytest.approx(place[inside].min(), abs=2e-3)
        assert float(alignment.ends[u]) == pytest.approx(place[inside].max(), abs=2e-3)
        assert float(alignment.scores[u]) == pytest.approx(probability[inside].mean(), abs=2e-3)


def test_a_padded_batch_equals_one_utterance_at_a_time() -> None:
    generator = torch.Generator().manual_seed(3)
    B, T, U = 4, 12, 6
    lengths, target_lengths = torch.tensor([12, 5, 9, 1]), torch.tensor([6, 3, 1, 4])
    alpha = torch.rand(B, T, generator=generator)
    alpha[torch.arange(T) >= lengths[:, None]] = 0
    alpha = alpha / alpha.sum(1, keepdim=True)
    alpha[torch.arange(T) >= lengths[:, None]] = torch.nan
    log_probs = torch.randn(B, T, 7, generator=generator).log_softmax(-1)
    targets = torch.randint(7, (B, U), generator=generator)
    ids = list("abcd")
    whole = _align(AlignmentBatch(ids, log_probs, lengths, targets, target_lengths, alpha))
    for b, name in enumerate(ids):
        n, m = int(lengths[b]), int(target_lengths[b])
        one = AlignmentBatch(
            [name],
            log_probs[b : b + 1, :n],
            lengths[b : b + 1],
            targets[b : b + 1, :m],
            target_lengths[b : b + 1],
            alpha[b : b + 1, :n],
        )
        alone = _align(one)[name]
        for field in ("targets", "frame_labels", "starts", "ends", "scores"):
            torch.testing.assert_close(getattr(whole[name], field), getattr(alone, field))


def test_spans_tile_the_utterance_when_no_frame_is_dropped() -> None:
    alpha = torch.full((1, 10), 0.1)
    alignment = _align(_batch(alpha, 4))["utt0"]
    spans = alignment.spans(list("abcde"), FrameGrid(0.02), duration=0.19)
    assert [span.start for span in spans] == pytest.approx([0, 0.05, 0.1, 0.15])
    assert [span.end for span in spans] == pytest.approx([0.05, 0.1, 0.15, 0.19])
    assert [span.symbol for span in spans] == ["abcde"[t] for t in alignment.targets.tolist()]


def test_an_hour_of_frames_keeps_its_boundaries_to_a_thousandth_of_a_frame() -> None:
    T, U = 180_000, 3_600
    alpha = torch.full((1, T), 1 / T, dtype=torch.float32)
    starts, _ = boundaries(
        alpha, uniform_label_weights(_lengths(U), U, dtype=torch.float64), _lengths(T), _lengths(U)
    )
    torch.testing.assert_close(starts[0], 50.0 * torch.arange(U).double(), atol=1e-3, rtol=0)


def test_labels_without_frames_are_reported_and_the_rest_is_aligned() -> None:
    batch = AlignmentBatch(
        ["none", "one", "empty"],
        torch.zeros(3, 4, 2).log_softmax(-1),
        torch.tensor([0, 4, 4]),
        torch.ones(3, 2, dtype=torch.int64),
        torch.tensor([2, 2, 0]),
        torch.full((3, 4), 0.25),
    )
    result = make_aligner("transport").align(batch)
    assert list(result.infeasible) == ["none"]
    assert list(result.alignments) == ["one", "empty"]
    assert result.alignments["empty"].frame_labels.tolist() == [-1] * 4
    assert result.alignments["empty"].frame_tokens(blank=0).tolist() == [0] * 4
    assert result.alignments["empty"].spans(["a", "b"], FrameGrid(0.02)) == []


def test_without_frame_weights_it_says_so() -> None:
    batch = AlignmentBatch(
        ["u"], torch.zeros(1, 2, 2), torch.tensor([2]), torch.ones(1, 1).long(), torch.tensor([1])
    )
    with pytest.raises(ValueError, match="needs frame weights: alpha is None"):
        make_aligner("transport").align(batch)
