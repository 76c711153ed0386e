"""Searches along chains in plain PyTorch, frame by frame in float64: complete, and the reference."""

from collections.abc import Callable

import torch
from torch import Tensor

from espnet_ottc.ops.kernels.chains import BestPaths, ChainInputs, ChainSums, ChainSumsWanted


def best(inputs: ChainInputs) -> BestPaths:
    """See `espnet_ottc.ops.kernels.chains`."""
    found = [_best(inputs, b) for b in range(inputs.utterances)]
    totals = torch.tensor([total for _, total in found], dtype=torch.float64)
    paths = [path for path, _ in found]
    return BestPaths(torch.cat(paths) if paths else torch.empty(0, dtype=torch.int32), totals)


def total(inputs: ChainInputs, wanted: ChainSumsWanted) -> ChainSums:
    """See `espnet_ottc.ops.kernels.chains`."""
    totals = torch.full((inputs.utterances,), -torch.inf, dtype=torch.float64)
    occupancy = torch.zeros_like(inputs.scores) if wanted.occupancy else None
    quantiles = torch.zeros(len(inputs.marks), len(wanted.levels), dtype=torch.float64)
    edges = torch.zeros(inputs.utterances, dtype=torch.float64)
    for b in range(inputs.utterances):
        within = None if wanted.band is None else _within(inputs, b, wanted.band)
        totals[b], probability = _all(inputs, b, within)
        if not bool(totals[b].isfinite()) or not probability.numel():
            continue
        columns = inputs.columns[inputs.states_of(b)].long()
        if within is not None:
            edges[b] = (probability * _at_edges(within)).max()
        if occupancy is not None:
            rows = torch.zeros(len(probability), inputs.scores.shape[1], dtype=torch.float64)
            rows.index_add_(1, columns, probability)
            occupancy[inputs.frames_of(b)] = rows.float()
        marks = inputs.marks[inputs.marks_of(b)].long()
        behind = torch.cat([probability, torch.zeros(len(probability), 1).double()], 1)
        behind = behind.flip(1).cumsum(1).flip(1)[:, marks].clamp(max=1.0)
        for row, curve in enumerate(behind.T, start=inputs.marks_of(b).start):
            quantiles[row] = _crossings(curve, wanted.levels)
    return ChainSums(totals, occupancy, quantiles, edges)


def _arcs(inputs: ChainInputs, b: int, together: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(S, S) log-scores of the arcs from each state to each; `together` has two that join the same states."""
    states = inputs.states_of(b)
    S = states.stop - states.start
    arcs = torch.full((S, S), -torch.inf, dtype=torch.float64)
    here = torch.arange(S)
    arcs[here, here] = _open(inputs.stay[states])
    arcs[here[:-1], here[1:]] = _open(inputs.move[states])[1:]
    skips = inputs.skips_of(b)
    for source, target, score in zip(
        inputs.skip_sources[skips].tolist(),
        inputs.skip_targets[skips].tolist(),
        _open(inputs.skip_scores[skips]),
        strict=True,
    ):
        arcs[source, target] = together(arcs[source, target], score)
    return arcs


def _open(scores: Tensor) -> Tensor:
    scores = scores.double()
    return torch.where(scores <= -1e29, -torch.inf, scores)


def _emissions(inputs: ChainInputs, b: int) -> Tensor:
    columns = inputs.columns[inputs.states_of(b)].long()
    return inputs.scale * inputs.scores[inputs.frames_of(b)].double()[:, columns]


def _best(inputs: ChainInputs, b: int) -> tuple[Tensor, float]:
    emissions, arcs = _emissions(inputs, b), _arcs(inputs, b, torch.maximum)
    T, S = emissions.shape
    none = torch.full((T,), -1, dtype=torch.int32)
    if not T or not S:
        return none, 0.0 if T == S else -torch.inf
    states = inputs.states_of(b)
    value = _open(inputs.enter[states]) + emissions[0]
    sources = []
    for t in range(1, T):
        value, source = (value[:, None] + arcs).max(0)
        value = value + emissions[t]
        sources.append(source)
    value = value + _open(inputs.leave[states])
    if not bool(value.max().isfinite()):
        return none, -torch.inf
    path = [int(value.argmax())]
    for source in reversed(sources):
        path.append(int(source[path[-1]]))
    return torch.tensor(path[::-1], dtype=torch.int32), float(value.max())


def _within(inputs: ChainInputs, b: int, band: tuple[Tensor, Tensor]) -> Tensor:
    """(T, S) bool: the states of each frame that paths go through."""
    states, frames = inputs.states_of(b), inputs.frames_of(b)
    place = torch.arange(states.stop - states.start)
    low, high = (ends[frames, None] for ends in band)
    return (place >= low) & (place < high)


def _at_edges(within: Tensor) -> Tensor:
    """(T, S) bool: states beside which there is one that paths do not go through."""
    beside = torch.nn.functional.pad(~within, (1, 1))
    return within & (beside[:, :-2] | beside[:, 2:])


def _all(inputs: ChainInputs, b: int, within: Tensor | None) -> tuple[float, Tensor]:
    """The log-sum over all paths, and (T, S) probabilities of the states."""
    emissions, arcs = _emissions(inputs, b), _arcs(inputs, b, torch.logaddexp)
    if within is not None:
        emissions = torch.where(within, emissions, -torch.inf)
    T, S = emissions.shape
    if not T or not S:
        return 0.0 if T == S else -torch.inf, torch.zeros(T, S).double()
    states = inputs.states_of(b)
    before = [_open(inputs.enter[states]) + emissions[0]]
    gains = inputs.arrivals[inputs.frames_of(b)].double()
    comes = inputs.entrances[states] * (1 - torch.eye(S).double())
    for t in range(1, T):
        into = arcs + gains[t] * comes
        before.append(torch.logsumexp(before[-1][:, None] + into, 0) + emissions[t])
    after = [_open(inputs.leave[states])]
    total = float(torch.logsumexp(before[-1] + after[0], 0))
    for t in range(T - 1, 0, -1):
        into = arcs + gains[t] * comes
        after.append(torch.logsumexp(into + (emissions[t] + after[-1])[None], 1))
    return total, (torch.stack(before) + torch.stack(after[::-1]) - total).exp()


def _crossings(curve: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Where the probability of being behind a mark, linear between centres of edges, passes levels."""
    T = len(curve)
    edges = torch.cat([torch.zeros(1).double(), curve, torch.ones(1).double()])
    found = []
    for level in levels:
        later = int((edges >= level).nonzero()[0])
        low, high = float(edges[later - 1]), float(edges[later])
        position = later - 1.5 + (level - low) / (high - low)
        found.append(min(max(position, 0.0), float(T)))
    return torch.tensor(found, dtype=torch.float64)
