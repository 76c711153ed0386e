"""CTC forced alignment against all CTC paths; the aligners' common interface."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from espnet_ottc.aligners import ALIGNERS, AlignmentBatch, AlignmentResult, make_aligner
from espnet_ottc.aligners.ctc import label_indices
from espnet_ottc.spans import FrameGrid, words_from_tokens


def _align(log_probs: Tensor, targets: list[int], blank: int = 0) -> AlignmentResult:
    batch = AlignmentBatch(
        ["utt"],
        log_probs,
        torch.tensor([log_probs.shape[1]]),
        torch.tensor([targets], dtype=torch.int64),
        torch.tensor([len(targets)]),
    )
    return make_aligner("torchaudio_ctc", {"blank": blank}).align(batch)


def _best_ctc_path(log_probs: Tensor, targets: list[int], blank: int) -> list[int]:
    T, V = log_probs.shape
    best, answer = -math.inf, []
    for path in itertools.product(range(V), repeat=T):
        collapsed = [token for token, _ in itertools.groupby(path) if token != blank]
        score = sum(float(log_probs[t, token]) for t, token in enumerate(path))
        if collapsed == targets and score > best:
            best, answer = score, list(path)
    return answer


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("targets", [[1], [1, 1], [3, 1], [1, 3, 3]])
@pytest.mark.parametrize("seed", range(3))
def test_the_path_is_the_best_of_all_ctc_paths(seed: int, targets: list[int], blank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(1, 6, 4, generator=generator).log_softmax(-1)
    alignment = _align(log_probs, targets, blank).alignments["utt"]
    path = _best_ctc_path(log_probs[0], targets, blank)
    assert alignment.frame_tokens(blank).tolist() == path
    for u in range(len(targets)):
        frames = (alignment.frame_labels == u).nonzero()[:, 0].tolist()
        assert (float(alignment.starts[u]), float(alignment.ends[u])) == (frames[0], frames[-1] + 1)
        mean = log_probs[0, frames, targets[u]].exp().mean()
        assert float(alignment.scores[u]) == pytest.approx(float(mean), abs=1e-6)


def test_a_path_becomes_label_indices() -> None:
    path = torch.tensor([0, 1, 1, 0, 1, 2, 2, 0])
    assert label_indices(path, 0).tolist() == [-1, 0, 0, -1, 1, 2, 2, -1]


def test_a_word_goes_from_its_first_to_its_last_tokens_frames() -> None:
    tokens = ["<blank>", "<space>", "A", "B"]
    log_probs = torch.full((1, 7, 4), 0.01).log()
    for t, token in enumerate([0, 2, 0, 3, 1, 0, 2]):
        log_probs[0, t, token] = math.log(0.97)
    alignment = _align(log_probs, [2, 3, 1, 2]).alignments["utt"]
    words = words_from_tokens(alignment.spans(tokens, FrameGrid(0.1)), "char")
    assert [(w.symbol, round(w.start, 6), round(w.end, 6)) for w in words] == [
        ("AB", 0.1, 0.4),
        ("A", 0.6, 0.7),
    ]


def test_too_few_frames_count_the_blanks_between_equal_labels() -> None:
    log_probs = torch.zeros(1, 3, 3).log_softmax(-1)
    assert _align(log_probs, [1, 1]).infeasible == {}
    result = _align(log_probs, [1, 1, 2])
    assert result.alignments == {}
    assert result.infeasible == {
        "utt": "3 labels and 1 blanks between equal ones need as many frames, got 3"
    }


def test_a_label_of_probability_zero_is_reported() -> None:
    log_probs = torch.zeros(1, 4, 3).log_softmax(-1)
    log_probs[0, :, 2] = -torch.inf
    assert _align(log_probs, [1, 2]).infeasible == {"utt": "every path has probability 0"}


def test_an_empty_target_is_all_blank() -> None:
    alignment = _align(torch.zeros(1, 3, 2).log_softmax(-1), []).alignments["utt"]
    assert alignment.frame_tokens().tolist() == [0, 0, 0]


def test_a_blank_among_the_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="utt: CTC targets must not hold the blank 0"):
        _align(torch.zeros(1, 3, 2), [1, 0])


def test_unknown_aligners_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="one of transport, viterbi, torchaudio_ctc; got"):
        make_aligner("viterbbi")
    with pytest.raises(ValueError, match="options subframe, drop_threshold; got sub"):
        make_aligner("viterbi", {"sub": True})


@pytest.mark.parametrize("name", ALIGNERS)
def test_every_aligner_gives_each_label_its_time(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(2, 12, 5, generator=generator).log_softmax(-1)
    batch = AlignmentBatch(
        ["a", "b"],
        log_probs,
        torch.tensor([12, 10]),
        torch.tensor([[1, 2, 3, 4], [4, 1, 0, 0]]),
        torch.tensor([4, 2]),
        torch.tensor([[1 / 12] * 12, [0.1] * 10 + [0, 0]]),
    )
    result = make_aligner(name).align(batch)
    assert list(result.alignments) == ["a", "b"]
    for alignment, T, U in ((result.alignments["a"], 12, 4), (result.alignments["b"], 10, 2)):
        assert alignment.frame_labels.shape == (T,)
        assert alignment.starts.shape == alignment.ends.shape == alignment.scores.shape == (U,)
        assert set(range(U)) <= set(alignment.frame_labels.tolist())
        assert bool((alignment.ends > alignment.starts).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"utterance_ids": ["a", "a"]}, "utterance_ids must be 2 different names"),
        ({"lengths": torch.tensor([4, 5])}, r"utterance 1: lengths must lie in \[0, 4\]"),
        ({"targets": torch.tensor([[1], [3]])}, "utterance 1: targets must be label ids"),
        ({"alpha": torch.ones(2, 3)}, r"alpha must have shape \(B, T\)"),
        ({"log_probs": torch.full((2, 4, 3), torch.nan)}, "a: log_probs must not be NaN"),
    ],
)
def test_a_malformed_batch_is_refused(change: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "utterance_ids": ["a", "b"],
        "log_probs": torch.zeros(2, 4, 3),
        "lengths": torch.tensor([4, 4]),
        "targets": torch.tensor([[1], [2]]),
        "target_lengths": torch.tensor([1, 1]),
    }
    with pytest.raises(ValueError, match=message):
        AlignmentBatch(**{**fields, **change})  # type: ignore[arg-type]
