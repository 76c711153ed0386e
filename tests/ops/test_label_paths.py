"""The best path along the labels of a text: a band gives what the whole gives, or is made wider."""

import itertools
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from espnet_ottc.ops import kernels, label_paths
from espnet_ottc.ops.kernels import fallback
from espnet_ottc.ops.label_paths import ctc_path, sequence_path

band_cpu = pytest.importorskip(
    "espnet_ottc.ops.kernels.band_cpu", reason="the C kernel is not compiled"
)


def _speech(T: int, U: int, seed: int, boost: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities (T, 20) that favour U labels one after the other, at times drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 19, (U,), generator=generator).cumsum(0) % 19 + 1
    times = torch.rand(U, generator=generator).sort()[0] * T
    logits = 2 * torch.randn(T, 20, generator=generator)
    label = torch.searchsorted(times, torch.arange(T).float()).clamp(max=U - 1)
    logits[torch.arange(T), tokens[label]] += boost
    return logits.log_softmax(1), tokens


def _reference(log_probs: Tensor, tokens: Tensor, ctc: bool) -> float:
    """The score of the best path by a plain dynamic programme in float64."""
    states = tokens.tolist()
    if ctc:
        states = [0, *(s for token in states for s in (token, 0))]
    emissions = log_probs.double().numpy()[:, states]
    jumps = np.array(
        [
            ctc and s >= 2 and states[s] != 0 and states[s] != states[s - 2]
            for s in range(len(states))
        ]
    )
    row = np.full(len(states), -np.inf)
    row[: 2 if ctc else 1] = emissions[0, : 2 if ctc else 1]
    for emission in emissions[1:]:
        moves, skips = np.full((2, len(row)), -np.inf)
        moves[1:], skips[2:] = row[:-1], row[:-2]
        row = np.maximum(np.maximum(row, moves), np.where(jumps, skips, -np.inf)) + emission
    return float(row[-2:].max() if ctc else row[-1])


@pytest.mark.parametrize("ctc", [False, True])
@pytest.mark.parametrize("boost", [0.0, 2.0, 6.0])
@pytest.mark.parametrize(
    ("T", "U", "width"), [(60, 5, 4), (300, 90, 8), (500, 240, 16), (90, 89, 8)]
)
def test_a_band_finds_a_path_as_good_as_any(
    T: int, U: int, width: int, boost: float, ctc: bool
) -> None:
    for seed in range(3):
        log_probs, tokens = _speech(T, U, seed, boost)
        expected = _reference(log_probs, tokens, ctc)
        find = (lambda *a, **k: ctc_path(*a, 0, **k)) if ctc else sequence_path
        for chosen in (None, width):
            found = find(log_probs, tokens, width=chosen)
            assert (found is None) == (expected == -np.inf)
            if found is None:
                continue
            path, total = found
            assert total == pytest.approx(expected, abs=1e-3)
            read = path if ctc else tokens[path]
            assert float(log_probs.gather(1, read[:, None]).sum()) == pytest.approx(total, abs=1e-2)


@pytest.mark.parametrize("boost", [0.0, 2.0, 6.0])
@pytest.mark.parametrize(("T", "U", "width"), [(60, 5, 4), (300, 90, 8), (90, 80, 16)])
def test_with_a_null_label_a_band_finds_a_path_as_good_as_any(
    T: int, U: int, width: int, boost: float
) -> None:
    for seed in range(3):
        log_probs, tokens = _speech(T, U, seed, boost)
        log_probs[T // 2 :: 7] = torch.eye(20)[0].mul(9).log_softmax(0)
        tokens[U // 3] = 0  # itself the null label
        found = sequence_path(log_probs, tokens, null=0)
        narrow = sequence_path(log_probs, tokens, null=0, width=width)
        assert found is not None
        assert narrow is not None
        assert narrow[1] == pytest.approx(found[1], abs=1e-3)
        labels = [int(u) for u in found[0] if u >= 0]
        assert [u for u, _ in itertools.groupby(labels)] == list(range(U))
        read = torch.where(found[0] >= 0, tokens[found[0].clamp(min=0)], 0)
        total = float(log_probs.gather(1, read[:, None]).sum())
        assert total == pytest.approx(found[1], abs=1e-2)
        every_frame = sequence_path(log_probs, tokens)
        assert every_frame is not None
        assert found[1] > every_frame[1]


def test_a_band_that_is_too_narrow_is_noticed() -> None:
    # All labels but the first lie in the last tenth: the band has to wait for them.
    T, U = 2000, 300
    tokens = torch.arange(U) % 19 + 1
    log_probs = torch.full((T, 20), 0.01)
    log_probs[:, 1] = 0.5
    for u in range(1, U):
        log_probs[T - 2 * (U - u) : T - 2 * (U - u) + 2] = 0.01
        log_probs[T - 2 * (U - u) : T - 2 * (U - u) + 2, tokens[u]] = 0.5
    log_probs = log_probs.log().log_softmax(1)
    rest = torch.zeros(T + 1, dtype=torch.float64)
    rest[:-1] = log_probs.amax(1).double().flip(0).cumsum(0).flip(0)
    jumps = torch.zeros(U, dtype=torch.bool)
    narrow = band_cpu.best(log_probs, tokens.int(), jumps, rest, (1, 1), 4)
    whole = band_cpu.best(log_probs, tokens.int(), jumps, rest, (1, 1), U)
    assert whole.total > narrow.total or narrow.outside < narrow.total
    found = sequence_path(log_probs, tokens, width=4)
    assert found is not None
    assert found[1] == pytest.approx(_reference(log_probs, tokens, ctc=False), abs=1e-3)


@pytest.mark.parametrize("width", [None, 4])
def test_what_has_no_path_is_said(width: int | None) -> None:
    log_probs = torch.zeros(3, 4).log_softmax(1)
    assert sequence_path(log_probs, torch.tensor([1, 2, 3, 1]), width=width) is None
    assert ctc_path(log_probs, torch.tensor([1, 1, 1]), 0, width=width) is None
    assert sequence_path(log_probs[:0], torch.tensor([1]), width=width) is None
    log_probs[:, 2] = -torch.inf
    assert sequence_path(log_probs, torch.tensor([1, 2]), width=width) is None


def test_a_rough_path_is_the_best_one_where_scores_tell_states_apart(monkeypatch) -> None:
    monkeypatch.setattr(label_paths, "_LONG", 0)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        U = int(torch.randint(20, 60, (1,), generator=draw))
        # Silence is optional between every third label and the next, and at both ends.
        columns, over = [0], [False]
        for label in range(U):
            silent = label % 3 == 0 and label > 0
            columns += [0] * silent + [1 + int(torch.randint(5, (1,), generator=draw))]
            over += [False] * silent + [silent]
        columns.append(0)
        over.append(False)
        states, jumps = torch.tensor(columns), torch.tensor(over)
        path = torch.arange(len(states)).repeat_interleave(4)
        scores = torch.randn(len(path), 6, generator=draw)
        scores[torch.arange(len(path)), states[path]] += 4
        exact = label_paths._whole(scores, states, jumps, (2, 2))
        found = label_paths.rough_path(scores, states, jumps, width=4)
        assert torch.equal(found, exact)


def test_a_rough_path_needs_a_frame_for_each_state_that_is_not_optional() -> None:
    states = torch.tensor([0, 1, 2, 0])
    nowhere = torch.zeros(4, dtype=torch.bool)
    for frames, there in ((0, False), (1, False), (2, True)):
        found = label_paths.rough_path(torch.zeros(frames, 3), states, nowhere)
        assert (found is not None) == there


@pytest.mark.parametrize("longest", [0, 1 << 24])
def test_a_rough_path_goes_round_what_has_probability_0(
    monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(label_paths, "_LONG", longest)
    scores = torch.full((8, 3), -torch.inf)
    states, nowhere = torch.tensor([0, 1, 2, 0]), torch.zeros(4, dtype=torch.bool)
    path = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])
    scores[torch.arange(8), states[path]] = -1.0
    found = label_paths.rough_path(scores, states, nowhere, width=4)
    assert found is not None
    assert found.equal(path)


def test_a_missing_kernel_is_said_once_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs, tokens = _speech(300, 20, 0, 4.0)
    expected = sequence_path(log_probs, tokens, width=8)
    monkeypatch.setitem(sys.modules, "espnet_ottc.ops.kernels.band_cpu", None)
    monkeypatch.delattr(kernels, "band_cpu", raising=False)
    monkeypatch.setattr(fallback, "_warned", set())
    with pytest.warns(RuntimeWarning, match="within a band cannot be loaded") as caught:
        found = [sequence_path(log_probs, tokens, width=8) for _ in range(2)]
    assert len(caught) == 1
    assert expected is not None
    for one in found:
        assert one is not None
        assert one[0].equal(expected[0])
