"""Searches along chains: against the enumeration of all paths, and the kernel against plain PyTorch."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_ottc.ops import chains as chain_searches
from espnet_ottc.ops.chains import NO_ARC, Chain, best_paths, sum_paths
from espnet_ottc.ops.kernels.chains import ChainSumsWanted, choose

LEVELS = (0.05, 0.5, 0.95)


def _kernel_is_there() -> bool:
    try:
        choose("cpu")
    except ImportError:
        return False
    return True


BACKENDS = ["eager", pytest.param("cpu", marks=pytest.mark.skipif(
    not _kernel_is_there(), reason="the C kernel was not compiled"))]  # fmt: skip


def _chain(seed: int, S: int, N: int) -> Chain:
    generator = torch.Generator().manual_seed(seed)

    def log_weights(count: int) -> Tensor:
        return torch.log(torch.rand(count, generator=generator) + 0.1)

    enter, leave = torch.full((S,), NO_ARC), torch.full((S,), NO_ARC)
    enter[0], leave[-1] = 0.0, 0.0
    if S > 3:
        enter[2], leave[-3] = -0.1, -0.2
    skips = [
        (source, target)
        for target in range(2, S)
        for source in range(target - 1)
        if float(torch.rand((), generator=generator)) < 0.3
    ]
    closed = torch.rand(S, generator=generator) < 0.2
    return Chain(
        columns=torch.randint(N, (S,), generator=generator).int(),
        stay=torch.where(closed, NO_ARC, log_weights(S)),
        move=log_weights(S),
        enter=enter,
        leave=leave,
        skip_sources=torch.tensor([source for source, _ in skips], dtype=torch.int32),
        skip_targets=torch.tensor([target for _, target in skips], dtype=torch.int32),
        skip_scores=log_weights(len(skips)),
        entrances=torch.rand(S, generator=generator) < 0.5,
    )


def _scores(seed: int, T: int, N: int) -> Tensor:
    return 2 * torch.randn(T, N, generator=torch.Generator().manual_seed(seed))


def _arrivals(seed: int, T: int) -> Tensor:
    return torch.randn(T, generator=torch.Generator().manual_seed(seed + 1))


def _every_path(scores: Tensor, chain: Chain, arrivals: Tensor) -> dict[tuple[int, ...], float]:
    """All paths of more than no probability, with their log-scores."""
    S = chain.states
    assert chain.entrances is not None
    arcs = {(j, j): float(chain.stay[j]) for j in range(S)}
    arcs |= {(j - 1, j): float(chain.move[j]) for j in range(1, S)}
    skips = zip(chain.skip_sources.tolist(), chain.skip_targets.tolist(), strict=True)
    arcs |= dict(zip(skips, chain.skip_scores.tolist(), strict=True))
    found = {}
    for path in itertools.product(range(S), repeat=len(scores)):
        steps = list(itertools.pairwise(path))
        if not all(step in arcs for step in steps):
            continue
        score = float(chain.enter[path[0]]) + float(chain.leave[path[-1]])
        score += sum(arcs[step] for step in steps)
        score += sum(float(scores[t, chain.columns[j]]) for t, j in enumerate(path))
        score += sum(
            float(arrivals[t])
            for t, (source, target) in enumerate(steps, start=1)
            if source != target and chain.entrances[target]
        )
        if score > NO_ARC / 10:
            found[path] = score
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60)
@given(seed=st.integers(0, 100_000), T=st.integers(1, 5), S=st.integers(1, 5))
def test_paths_and_sums_are_those_of_the_enumeration(
    backend: str, seed: int, T: int, S: int
) -> None:
    chain, scores = _chain(seed, S, 3), _scores(seed, T, 3)
    every = _every_path(scores, chain, torch.zeros(T))
    found = best_paths([scores], [chain], backend=backend)
    marks, arrivals = list(range(S + 1)), _arrivals(seed, T)
    sums = sum_paths(
        [scores],
        [chain],
        marks=[marks],
        levels=LEVELS,
        occupancies=True,
        arrivals=[arrivals],
        backend=backend,
    )
    if not every:
        assert found.states == [None]
        assert found.totals.tolist() == sums.totals.tolist() == [-math.inf]
        assert not sums.occupancies[0].any()
        return
    best = max(every, key=lambda path: every[path])
    assert found.states[0] is not None
    assert found.states[0].tolist() == list(best)
    assert float(found.totals[0]) == pytest.approx(every[best], abs=1e-4)
    every = _every_path(scores, chain, arrivals)
    total = math.log(sum(math.exp(score) for score in every.values()))
    assert float(sums.totals[0]) == pytest.approx(total, abs=1e-4)
    occupancy = torch.zeros(T, 3)
    at_or_behind = torch.zeros(S + 1, T)
    for path, score in every.items():
        for t, j in enumerate(path):
            occupancy[t, chain.columns[j]] += math.exp(score - total)
            at_or_behind[: j + 1, t] += math.exp(score - total)
    assert sums.occupancies[0].tolist() == pytest.approx(occupancy, abs=1e-4)
    for mark in marks:
        for level, position in zip(LEVELS, sums.quantiles[0][mark].tolist(), strict=True):
            assert _probability_before(at_or_behind[mark], position, level)


def _probability_before(curve: Tensor, position: float, level: float) -> bool:
    """Whether the curve, linear from centre to centre of the edges' surroundings, is at its level there."""
    T = len(curve)
    edges = [0.0, *curve.tolist(), 1.0]  # at -1/2, 1/2, ..., T + 1/2
    place = position + 0.5
    left = min(int(place), T)
    here = edges[left] + (place - left) * (edges[left + 1] - edges[left])
    clipped = (position == 0 and here >= level) or (position == T and here <= level)
    return clipped or here == pytest.approx(level, abs=1e-3)


@pytest.mark.skipif(not _kernel_is_there(), reason="the C kernel was not compiled")
@pytest.mark.parametrize("kept_cells", [1 << 25, 60, 1])
def test_the_kernel_equals_pytorch_in_batches_however_little_is_kept(kept_cells: int) -> None:
    sizes = [(1, 1), (40, 9), (0, 3), (17, 0), (0, 0), (61, 12), (3, 8)]
    chains = [_chain(i, S, 4) if S else _empty() for i, (_, S) in enumerate(sizes)]
    scores = [_scores(i, T, 4) for i, (T, _) in enumerate(sizes)]
    marks = [list(range(chain.states + 1)) for chain in chains]
    arrivals = [_arrivals(i, T) for i, (T, _) in enumerate(sizes)]
    options = {"marks": marks, "levels": LEVELS, "occupancies": True, "arrivals": arrivals}
    slow = best_paths(scores, chains, backend="eager")
    fast = best_paths(scores, chains, backend="cpu", kept_cells=kept_cells)
    assert fast.totals.tolist() == pytest.approx(slow.totals.tolist(), abs=1e-3)
    for left, right in zip(slow.states, fast.states, strict=True):
        assert (left is None) == (right is None)
        assert left is None or right is None or left.equal(right)
    one = sum_paths(scores, chains, backend="eager", **options)
    other = sum_paths(scores, chains, backend="cpu", kept_cells=kept_cells, **options)
    assert other.totals.tolist() == pytest.approx(one.totals.tolist(), abs=1e-3)
    for name in ("occupancies", "quantiles"):
        for left, right in zip(getattr(one, name), getattr(other, name), strict=True):
            torch.testing.assert_close(left, right, atol=1e-3, rtol=0)


@pytest.mark.skipif(not _kernel_is_there(), reason="the C kernel was not compiled")
@pytest.mark.parametrize("kept_cells", [1 << 25, 60, 1])
@pytest.mark.parametrize("width", [1, 3])
def test_the_kernel_sums_within_a_band_as_pytorch_does(kept_cells: int, width: int) -> None:
    sizes = [(40, 9), (0, 3), (17, 0), (61, 12), (61, 30)]
    chains = [_chain(i, S, 4) if S else _empty() for i, (_, S) in enumerate(sizes)]
    scores = [_scores(i, T, 4) for i, (T, _) in enumerate(sizes)]
    paths = best_paths(scores, chains).states
    marks = [list(range(chain.states + 1)) for chain in chains]
    arrivals = [_arrivals(i, T) for i, (T, _) in enumerate(sizes)]
    inputs = chain_searches._inputs(scores, chains, marks, 1.0, kept_cells, arrivals)
    wanted = ChainSumsWanted(True, LEVELS, chain_searches._band(inputs, paths, width))
    slow, fast = (choose(name).total(inputs, wanted) for name in ("eager", "cpu"))
    for name in ("totals", "occupancy", "quantiles", "edges"):
        torch.testing.assert_close(getattr(slow, name), getattr(fast, name), atol=1e-3, rtol=0)
    assert float(slow.edges.max()) > 0.01  # so that there is something to compare


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_band_becomes_so_wide_that_it_gives_what_all_paths_give(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first utterance says where its states lie, the second does not.
    sure = torch.full((60, 30), -20.0)
    sure[torch.arange(60), torch.arange(60) // 2] = 0.0
    vague = 0.1 * _scores(5, 60, 30)
    nothing = torch.empty(0, dtype=torch.int32)
    chain = Chain(
        torch.arange(30, dtype=torch.int32),
        torch.zeros(30),
        torch.zeros(30),
        torch.where(torch.arange(30) == 0, 0.0, NO_ARC),
        torch.where(torch.arange(30) == 29, 0.0, NO_ARC),
        nothing,
        nothing,
        torch.empty(0),
    )
    bands = []
    within = chain_searches._band
    monkeypatch.setattr(chain_searches, "_band", lambda *given: bands.append(1) or within(*given))
    for scores, tries in ((sure, 1), (vague, 2)):
        bands.clear()
        paths = best_paths([scores], [chain], backend=backend).states
        options = {"marks": [range(31)], "levels": LEVELS, "occupancies": True, "backend": backend}
        band = sum_paths([scores], [chain], around=paths, width=4, **options)
        whole = sum_paths([scores], [chain], **options)
        assert len(bands) == tries
        assert band.totals.tolist() == pytest.approx(whole.totals.tolist(), abs=1e-4)
        for name in ("occupancies", "quantiles"):
            left, right = getattr(band, name)[0], getattr(whole, name)[0]
            torch.testing.assert_close(left, right, atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="its path must have 60 frames"):
        sum_paths([sure], [chain], around=[torch.zeros(59, dtype=torch.int64)], width=4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_scale_multiplies_the_scores_and_not_the_arcs(backend: str) -> None:
    chain, scores = _chain(3, 6, 4), _scores(3, 20, 4)
    scaled = sum_paths([scores], [chain], scale=0.3, backend=backend)
    assert scaled.totals.tolist() == pytest.approx(
        sum_paths([0.3 * scores], [chain], backend=backend).totals.tolist(), abs=1e-4
    )


def test_utterances_have_scores_of_columns_of_their_own() -> None:
    chains = [_chain(seed, 4 + seed, 2 + seed) for seed in range(4)]
    scores = [_scores(seed, 20, 2 + seed) for seed in range(4)]
    paths = best_paths(scores, chains)
    sums = sum_paths(scores, chains, occupancies=True)
    for b, (one, chain) in enumerate(zip(scores, chains, strict=True)):
        alone, total = best_paths([one], [chain]), sum_paths([one], [chain], occupancies=True)
        assert float(paths.totals[b]) == float(alone.totals[0])
        assert sums.occupancies[b].shape == one.shape
        assert sums.occupancies[b].equal(total.occupancies[0])
    # A column that another utterance has is none of this one's.
    with pytest.raises(ValueError, match=r"utterance 0: the chain's columns must lie in \[0, 1\)"):
        best_paths([scores[0][:, :1], scores[1]], [chains[0], chains[1]])


def test_a_long_utterance_loses_no_digits() -> None:
    # Two states: the scores say frame for frame where they change, 100,000 frames after a large sum.
    T, change = 200_000, 123_457
    scores = torch.full((T, 2), -500.0)
    scores[:change, 1] -= 0.01
    scores[change:, 0] -= 0.01
    nothing = torch.empty(0, dtype=torch.int32)
    chain = Chain(
        columns=torch.tensor([0, 1], dtype=torch.int32),
        stay=torch.zeros(2),
        move=torch.zeros(2),
        enter=torch.tensor([0.0, NO_ARC]),
        leave=torch.tensor([NO_ARC, 0.0]),
        skip_sources=nothing,
        skip_targets=nothing,
        skip_scores=torch.empty(0),
    )
    if not _kernel_is_there():
        pytest.skip("the C kernel was not compiled")
    (states,) = best_paths([scores], [chain], kept_cells=1000).states
    assert states is not None
    assert int((states == 0).sum()) == change


def test_what_breaks_the_rules_is_refused() -> None:
    chain, scores = _chain(1, 5, 3), _scores(1, 7, 3)
    with pytest.raises(ValueError, match="finite"):
        best_paths([scores.log()], [chain])
    with pytest.raises(ValueError, match="columns must lie in"):
        best_paths([scores[:, :1]], [chain])
    with pytest.raises(ValueError, match="marks must lie in"):
        sum_paths([scores], [chain], marks=[[6]], levels=LEVELS)
    with pytest.raises(ValueError, match="levels must lie in"):
        sum_paths([scores], [chain], levels=(1.0,))
    with pytest.raises(ValueError, match="arrivals must have the frames"):
        sum_paths([scores], [chain], arrivals=[torch.zeros(6)])
    with pytest.raises(ValueError, match="arrivals must be finite"):
        sum_paths([scores], [chain], arrivals=[torch.full((7,), math.inf)])
    with pytest.raises(ValueError, match="entrances must be"):
        replace(chain, entrances=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="later one"):
        Chain(chain.columns, chain.stay, chain.move, chain.enter, chain.leave,
              torch.tensor([3]), torch.tensor([2]), torch.zeros(1))  # fmt: skip


def _empty() -> Chain:
    whole, real = torch.empty(0, dtype=torch.int32), torch.empty(0)
    return Chain(whole, real, real, real, real, whole, whole, real)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_arcs_between_the_same_states_are_two_paths(backend: str) -> None:
    # A skip to the next state stands beside the move to it.
    chain = _chain(0, 2, 2)
    one = torch.tensor([0], dtype=torch.int32)
    chain = replace(
        chain,
        stay=torch.zeros(2),
        move=torch.zeros(2),
        skip_sources=one,
        skip_targets=one + 1,
        skip_scores=torch.full((1,), math.log(3.0)),
    )
    scores = torch.zeros(3, 2)
    sums = sum_paths([scores], [chain], backend=backend)
    assert float(sums.totals) == pytest.approx(math.log(2 * (1 + 3)))
    assert float(best_paths([scores], [chain], backend=backend).totals) == pytest.approx(
        math.log(3.0)
    )


def test_a_band_of_no_width_is_refused() -> None:
    chain, scores = _chain(0, 4, 2), _scores(0, 9, 2)
    path = best_paths([scores], [chain]).states
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        sum_paths([scores], [chain], around=path, width=0)
