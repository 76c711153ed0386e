"""One contract for all CTC aligners, the plain reference of the tests among them."""

import itertools
import math
import sys
from dataclasses import replace

import pytest
import torch
from ctc_reference import ReferenceAligner, best_path, utterance_targets
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_ottc.alignment.aligners import (
    ALIGNERS,
    Aligner,
    AlignmentBatch,
    AlignmentResult,
    ctc_aligner,
    make_aligner,
)
from espnet_ottc.alignment.aligners.ctc import label_indices
from espnet_ottc.alignment.spans import FrameGrid, words_from_tokens

SPOTLESS = settings(max_examples=150)


def _make(name: str, blank: int = 0) -> Aligner:
    if name == "reference":
        return ReferenceAligner(blank)
    if name == "k2_ctc":
        pytest.importorskip("k2", reason="k2 is not installed")
    return make_aligner(name, {"blank": blank})


every_aligner = pytest.mark.parametrize(
    "name", ["reference", "ctc", "torchaudio_ctc", pytest.param("k2_ctc", marks=pytest.mark.k2)]
)


def _batch(utterances: list[tuple[Tensor, list[int]]], padding: float = math.nan) -> AlignmentBatch:
    """Utterances of (T, V) log-probabilities and labels as a padded batch named a, b, c ..."""
    T = max(len(log_probs) for log_probs, _ in utterances)
    U = max(len(targets) for _, targets in utterances)
    V = utterances[0][0].shape[1]
    log_probs = torch.full((len(utterances), T, V), padding, dtype=utterances[0][0].dtype)
    targets = torch.full((len(utterances), U), -7)
    for b, (frames, labels) in enumerate(utterances):
        log_probs[b, : len(frames)] = frames
        targets[b, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
    return AlignmentBatch(
        [chr(ord("a") + b) for b in range(len(utterances))],
        log_probs,
        torch.tensor([len(frames) for frames, _ in utterances]),
        targets,
        torch.tensor([len(labels) for _, labels in utterances]),
    )


def _random(T: int, V: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(T, V, generator=generator)).log_softmax(-1)


def _same(left: AlignmentResult, right: AlignmentResult) -> None:
    assert list(left.alignments) == list(right.alignments)
    assert left.infeasible == right.infeasible
    for name, found in left.alignments.items():
        wanted = right.alignments[name]
        assert found.frame_labels.tolist() == wanted.frame_labels.tolist()
        for field in ("targets", "starts", "ends", "scores"):
            torch.testing.assert_close(getattr(found, field), getattr(wanted, field))
            assert getattr(found, field).dtype == getattr(wanted, field).dtype


@st.composite
def _batches(draw: st.DrawFn) -> tuple[AlignmentBatch, int]:
    """Small batches of whole log-probabilities: sums are exact, so ties are ties; and a blank."""
    V = draw(st.integers(2, 5))
    blank = draw(st.integers(0, V - 1))
    labels = [token for token in range(V) if token != blank]
    values = st.sampled_from([-math.inf, *map(float, range(-12, 1))])
    utterances = []
    for _ in range(draw(st.integers(1, 4))):
        T = draw(st.integers(0, 7))
        frames = draw(st.lists(values, min_size=T * V, max_size=T * V))
        targets = draw(st.lists(st.sampled_from(labels), max_size=4))
        utterances.append((torch.tensor(frames).reshape(T, V), targets))
    return _batch(utterances), blank


@every_aligner
@SPOTLESS
@given(_batches())
def test_paths_are_the_best_and_where_there_is_one_best_path_the_same(
    name: str, drawn: tuple[AlignmentBatch, int]
) -> None:
    batch, blank = drawn
    found = _make(name, blank).align(batch)
    wanted = ReferenceAligner(blank).align(batch)
    assert found.infeasible == wanted.infeasible
    assert list(found.alignments) == list(wanted.alignments)
    for b, utterance in enumerate(batch.utterance_ids):
        if utterance in found.infeasible:
            continue
        alignment = found.alignments[utterance]
        log_probs = batch.log_probs[b, : int(batch.lengths[b])]
        targets = utterance_targets(batch, b)
        path = alignment.frame_tokens(blank).tolist()
        assert [token for token, _ in itertools.groupby(path) if token != blank] == targets
        best = best_path(log_probs.double().numpy(), targets, blank)
        assert sum(float(log_probs[t, token]) for t, token in enumerate(path)) == best.score
        if best.paths == 1:
            assert alignment.frame_labels.tolist() == best.frame_labels
        for u, token in enumerate(targets):
            frames = (alignment.frame_labels == u).nonzero()[:, 0].tolist()
            span = (float(alignment.starts[u]), float(alignment.ends[u]))
            assert span == (frames[0], frames[-1] + 1)
            mean = log_probs[frames, token].double().exp().mean()
            assert float(alignment.scores[u]) == pytest.approx(float(mean), rel=1e-9)


@every_aligner
@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("targets", [[1], [1, 1], [3, 1], [1, 3, 3]])
@pytest.mark.parametrize("seed", range(2))
def test_the_path_is_the_best_of_all_ctc_paths(
    name: str, seed: int, targets: list[int], blank: int
) -> None:
    log_probs = _random(6, 4, seed)
    best, answer = -math.inf, []
    for path in itertools.product(range(4), repeat=6):
        collapsed = [token for token, _ in itertools.groupby(path) if token != blank]
        score = float(log_probs[range(6), path].sum())
        if collapsed == targets and score > best:
            best, answer = score, list(path)
    found = _make(name, blank).align(_batch([(log_probs, targets)]))
    assert found.alignments["a"].frame_tokens(blank).tolist() == answer


@every_aligner
def test_a_batch_is_aligned_as_its_utterances_alone(name: str) -> None:
    # Neither in the order of their lengths, nor all feasible.
    utterances = [
        (_random(9, 6, 1), [1, 2, 2]),
        (_random(3, 6, 2), [4, 4, 5]),
        (_random(30, 6, 3), [5, 1, 3, 3, 3, 2]),
        (_random(0, 6, 4), []),
        (_random(12, 6, 5), []),
        (_random(30, 6, 6), [2]),
        (_random(0, 6, 7), [1]),
    ]
    aligner = _make(name)
    together = aligner.align(_batch(utterances))
    _same(together, ReferenceAligner().align(_batch(utterances)))
    assert list(together.infeasible) == ["b", "g"]
    for utterance, alone in zip("abcdefg", utterances, strict=True):
        single = aligner.align(replace(_batch([alone]), utterance_ids=[utterance]))
        _same(
            single,
            AlignmentResult(
                {n: a for n, a in together.alignments.items() if n == utterance},
                {n: w for n, w in together.infeasible.items() if n == utterance},
            ),
        )


@every_aligner
@pytest.mark.parametrize("padding", [math.nan, math.inf, -math.inf, 1e30])
def test_what_stands_in_the_padding_is_ignored(name: str, padding: float) -> None:
    utterances = [(_random(8, 5, 1), [1, 2, 4]), (_random(5, 5, 2), [3])]
    aligner = _make(name)
    _same(aligner.align(_batch(utterances, padding)), aligner.align(_batch(utterances, 0.0)))


@every_aligner
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_float_dtype_gives_the_path_of_its_values(name: str, dtype: torch.dtype) -> None:
    utterances = [(_random(20, 5, seed).to(dtype), [1, 2, 2, 4, 3]) for seed in range(3)]
    _same(_make(name).align(_batch(utterances)), ReferenceAligner().align(_batch(utterances)))


@every_aligner
def test_long_utterances_keep_their_best_path(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    utterances = []
    for seed, (T, U) in enumerate([(600, 150), (450, 200)]):
        log_probs = _random(T, 30, seed)
        # What no model is sure of: far below the other labels at every frame.
        log_probs[:, 7] -= 500
        targets = torch.randint(1, 30, (U,), generator=generator).tolist()
        utterances.append((log_probs, targets))
    found = _make(name).align(_batch(utterances))
    for utterance, (log_probs, targets) in zip("ab", utterances, strict=True):
        path = found.alignments[utterance].frame_tokens()
        score = float(log_probs.double()[range(len(path)), path].sum())
        best = best_path(log_probs.double().numpy(), targets, 0)
        assert score == pytest.approx(best.score, rel=1e-6)


@every_aligner
def test_too_few_frames_count_the_blanks_between_equal_labels(name: str) -> None:
    log_probs = torch.zeros(3, 3).log_softmax(-1)
    found = _make(name).align(_batch([(log_probs, [1, 1]), (log_probs, [1, 1, 2])]))
    assert list(found.alignments) == ["a"]
    assert found.infeasible == {
        "b": "3 labels and 1 blanks between equal ones need as many frames, got 3"
    }


@every_aligner
@pytest.mark.parametrize("token", [1, 2])
def test_a_label_of_probability_zero_is_reported_and_the_rest_aligned(
    name: str, token: int
) -> None:
    fine = _random(4, 3, 1)
    impossible = torch.zeros(4, 3).log_softmax(-1)
    impossible[:, token] = -math.inf
    found = _make(name).align(_batch([(impossible, [1, 2]), (fine, [1, 2])]))
    assert found.infeasible == {"a": "every path has probability 0"}
    assert list(found.alignments) == ["b"]


@every_aligner
def test_an_empty_target_is_all_blank(name: str) -> None:
    found = _make(name, 1).align(_batch([(_random(3, 2, 0), []), (_random(0, 2, 0), [])]))
    assert found.alignments["a"].frame_tokens(1).tolist() == [1, 1, 1]
    assert found.alignments["b"].frame_labels.tolist() == []


@every_aligner
def test_a_blank_among_the_targets_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="b: CTC targets must not hold the blank 0"):
        _make(name).align(_batch([(torch.zeros(3, 2), [1]), (torch.zeros(3, 2), [1, 0])]))


@pytest.mark.parametrize(
    "name", ["ctc", "torchaudio_ctc", pytest.param("k2_ctc", marks=pytest.mark.k2)]
)
def test_a_blank_outside_the_vocabulary_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"blank must be a token id in \[0, 2\), got 2"):
        _make(name, 2).align(_batch([(torch.zeros(3, 2), [1])]))


@pytest.mark.k2
def test_k2_aligns_a_batch_too_large_for_one_intersection_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    utterances = [(_random(T, 5, T), [1, 2, 2, 4]) for T in (9, 20, 6, 15)]
    aligner = _make("k2_ctc")
    whole = aligner.align(_batch(utterances))
    monkeypatch.setattr("espnet_ottc.alignment.aligners.k2_ctc._LARGEST_LATTICE", 20 * 9 + 15 * 9)
    _same(aligner.align(_batch(utterances)), whole)


@pytest.mark.k2
@pytest.mark.gpu
def test_k2_finds_the_same_paths_on_a_gpu() -> None:
    aligner = _make("k2_ctc")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    batch = _batch([(_random(T, 8, T), [1, 2, 2, 4]) for T in (9, 20, 4, 15)])
    tensors = ("log_probs", "lengths", "targets", "target_lengths")
    moved = replace(batch, **{name: getattr(batch, name).cuda() for name in tensors})
    _same(aligner.align(moved), aligner.align(batch))


def test_without_k2_auto_is_torchaudio_and_k2_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    with caplog.at_level("INFO"):
        assert ctc_aligner("auto") == "torchaudio_ctc"
    assert "CTC aligner: torchaudio, since k2 cannot be imported" in caplog.text
    aligner = make_aligner(ctc_aligner("k2"))
    release = torch.__version__.split("+")[0]
    with pytest.raises(ImportError, match=rf"pip install k2==VERSION .* torch{release}, or build"):
        aligner.align(_batch([(torch.zeros(3, 2), [1])]))


@pytest.mark.k2
def test_with_k2_auto_is_k2() -> None:
    pytest.importorskip("k2", reason="k2 is not installed")
    assert ctc_aligner() == "k2_ctc"


def test_the_package_can_be_chosen_and_unknown_ones_are_refused() -> None:
    assert ctc_aligner("torchaudio") == "torchaudio_ctc"
    with pytest.raises(ValueError, match="must be auto, k2 or torchaudio; got 'kaldi'"):
        ctc_aligner("kaldi")


def test_a_path_becomes_label_indices() -> None:
    path = torch.tensor([0, 1, 1, 0, 1, 2, 2, 0])
    assert label_indices(path, 0).tolist() == [-1, 0, 0, -1, 1, 2, 2, -1]


def test_a_word_goes_from_its_first_to_its_last_tokens_frames() -> None:
    tokens = ["<blank>", "<space>", "A", "B"]
    log_probs = torch.full((7, 4), 0.01).log()
    for t, token in enumerate([0, 2, 0, 3, 1, 0, 2]):
        log_probs[t, token] = math.log(0.97)
    found = make_aligner("torchaudio_ctc").align(_batch([(log_probs, [2, 3, 1, 2])]))
    words = words_from_tokens(found.alignments["a"].spans(tokens, FrameGrid(0.1)), "char")
    assert [(w.symbol, round(w.start, 6), round(w.end, 6)) for w in words] == [
        ("AB", 0.1, 0.4),
        ("A", 0.6, 0.7),
    ]


def test_unknown_aligners_and_options_are_refused() -> None:
    with pytest.raises(
        ValueError, match="one of transport, viterbi, ctc, torchaudio_ctc, k2_ctc; got"
    ):
        make_aligner("viterbbi")
    with pytest.raises(ValueError, match="options subframe, drop_threshold; got sub"):
        make_aligner("viterbi", {"sub": True})


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.k2] * (n == "k2_ctc")) for n in ALIGNERS]
)
def test_every_aligner_gives_each_label_its_time(name: str) -> None:
    if name == "k2_ctc":
        pytest.importorskip("k2", reason="k2 is not installed")
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
