"""Chains of states: the best path of an utterance, and the sum over all of them.

A chain has S states in order.  From a frame to the next a path stays in its state, moves to the next one, or
takes a skip to a later one.  With scores e(t, j) of the states and a(i, j) of the arcs a path's score is
Σ_t e(t, j_t) + Σ_t a(j_{t−1}, j_t); hidden Markov models from left to right are of this kind (Rabiner 1989).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.ops.kernels.chains import ChainInputs, ChainSumsWanted, choose

# An arc that is not there.  Finite, so that differences never become NaN.
NO_ARC = -1e30
_MOST_SKIPS = 254
# Above it an utterance's search keeps every √T-th frame and computes those between once more.
_KEPT_CELLS = 1 << 25
# Of a band around a best path: its states on either side at first, how much wider it becomes, and the most
# probability that a state at its edges may have.
_WIDTH = 32
_WIDENED = 4
_AT_EDGES = 1e-6


@dataclass(frozen=True, eq=False)
class Chain:
    """The states of one utterance, from left to right; everything on the CPU.

    Attributes:
        columns: (S,) int32 column of the scores that each state reads.
        stay: (S,) float32 score of the arc from a state to itself; `NO_ARC` where there is none.
        move: (S,) of the arc from the state before; the first state's is ignored.
        enter: (S,) of beginning in a state.
        leave: (S,) of ending in it.
        skip_sources: (K,) int32 states from which a skip goes,
        skip_targets: (K,) to a later state; rising.
        skip_scores: (K,) float32.
        entrances: (S,) bool: states in which something begins, see `sum_paths`; None has none.

    Raises:
        ValueError: tensors of other shapes, skips that do not go forward or are not in order, too many into
            one state.
    """

    columns: Tensor
    stay: Tensor
    move: Tensor
    enter: Tensor
    leave: Tensor
    skip_sources: Tensor
    skip_targets: Tensor
    skip_scores: Tensor
    entrances: Tensor | None = None

    def __post_init__(self) -> None:
        S, K = self.states, len(self.skip_sources)
        shapes = {
            tuple(x.shape) for x in (self.columns, self.stay, self.move, self.enter, self.leave)
        }
        skips = {tuple(x.shape) for x in (self.skip_sources, self.skip_targets, self.skip_scores)}
        if shapes != {(S,)} or skips != {(K,)}:
            raise ValueError(f"a chain needs (S,) states and (K,) skips, got {shapes} and {skips}")
        if self.entrances is not None and self.entrances.shape != (S,):
            raise ValueError(f"entrances must be ({S},), got {tuple(self.entrances.shape)}")
        if not K:
            return
        sources, targets = self.skip_sources, self.skip_targets
        if int(sources.min()) < 0 or int(targets.max()) >= S or bool((sources >= targets).any()):
            raise ValueError(f"skips must go from a state to a later one of {S}")
        if bool((targets.diff() < 0).any()):
            raise ValueError("skips must be in order of their targets")
        if int(targets.bincount().max()) > _MOST_SKIPS:
            raise ValueError(f"at most {_MOST_SKIPS} skips may go to one state")

    @property
    def states(self) -> int:
        """S."""
        return len(self.columns)


@dataclass(frozen=True, eq=False)
class Paths:
    """The best path of each utterance.

    Attributes:
        states: of each utterance (T,) int64, the state of each frame; None where there is no path.
        totals: (B,) float64 log-scores; −inf without a path.
    """

    states: list[Tensor | None]
    totals: Tensor


@dataclass(frozen=True, eq=False)
class Sums:
    """The sum over all paths of each utterance.

    Attributes:
        totals: (B,) float64 log-sums; −inf without a path.
        occupancies: of each utterance (T, N) float32: how probable it is that a frame reads each column.
            Empty where they were not asked for; zeros without a path.
        quantiles: of each utterance (M, Q) float64: where the path comes to each mark with the given
            probabilities, as positions on the frame axis.  Zeros without a path.
    """

    totals: Tensor
    occupancies: list[Tensor]
    quantiles: list[Tensor]


def best_paths(
    scores: Sequence[Tensor],
    chains: Sequence[Chain],
    *,
    scale: float = 1.0,
    backend: str = "auto",
    kept_cells: int = _KEPT_CELLS,
) -> Paths:
    """The best path of each utterance along its chain, exact; O(T S) time, O(√T S) memory where it is long.

    Args:
        scores: of each utterance (T, N) log-scores, finite; N may differ.
        chains: the states of each.
        scale: the scores are multiplied by it, the arcs' are not.
        backend: "auto", "eager" or "cpu".
        kept_cells: states times frames that may be kept for one utterance.

    Raises:
        ValueError: scores that are not finite, or lack a column; another number of chains.
    """
    inputs = _inputs(scores, chains, [()] * len(chains), scale, kept_cells)
    found = choose(backend).best(inputs)
    pieces = found.states.long().split(inputs.frame_starts.diff().tolist())
    reached = found.totals.isfinite().tolist()
    states = [piece if there else None for piece, there in zip(pieces, reached, strict=True)]
    return Paths(states, found.totals)


def sum_paths(
    scores: Sequence[Tensor],
    chains: Sequence[Chain],
    *,
    marks: Sequence[Sequence[int]] | None = None,
    levels: Sequence[float] = (),
    occupancies: bool = False,
    scale: float = 1.0,
    arrivals: Sequence[Tensor] | None = None,
    around: Sequence[Tensor | None] | None = None,
    width: int = _WIDTH,
    backend: str = "auto",
    kept_cells: int = _KEPT_CELLS,
) -> Sums:
    """The sum over all paths of each utterance (forward-backward).

    A mark j stands for the moment at which the path is in state j or a later one for the first time.  Its
    probability is spread evenly over the frame's width around the frame's left edge.

    Args:
        scores: of each utterance (T, N) log-scores, finite; N may differ.
        chains: the states of each.
        marks: of each utterance states in [0, S]; None has none.
        levels: probabilities in (0, 1); the quantiles of each mark are found for them.
        occupancies: whether they are wanted.
        scale: the scores are multiplied by it, the arcs' are not.
        arrivals: of each utterance (T,) what a path gains where it comes to one of the chain's entrances from
            another state, by frame, finite; not scaled either.  None: nothing.
        around: of each utterance the states of its best path, (T,), as `best_paths` gives them.  Then paths
            are summed within a band around it, which is made wider until no state at its edges has more than
            a millionth of probability.  None: all paths are.
        width: states of the band on either side of the path, ≥ 1, in which the sum begins.
        backend: "auto", "eager" or "cpu".
        kept_cells: states times frames that may be kept for one utterance.

    Raises:
        ValueError: scores or arrivals that are not finite, or lack a column or a frame; another number of
            chains, marks or arrivals; marks, levels or a width out of range; paths of another length.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels must lie in (0, 1), got {list(levels)}")
    given: Sequence[Sequence[int]] = [()] * len(chains) if marks is None else marks
    inputs = _inputs(scores, chains, given, scale, kept_cells, arrivals)
    implementation = choose(backend)
    wanted = ChainSumsWanted(occupancies, tuple(levels))
    most = max((chain.states for chain in chains), default=0)
    while True:
        band = None if around is None or width >= most else _band(inputs, around, width)
        found = implementation.total(inputs, wanted._replace(band=band))
        if band is None or float(found.edges.max()) <= _AT_EDGES:
            break
        width *= _WIDENED
    frames, counts = inputs.frame_starts.diff().tolist(), inputs.mark_starts.diff().tolist()
    return Sums(
        found.totals,
        []
        if found.occupancy is None
        else [
            piece[:, : x.shape[1]]
            for piece, x in zip(found.occupancy.split(frames), scores, strict=True)
        ],
        list(found.quantiles.split(counts)),
    )


def _inputs(
    scores: Sequence[Tensor],
    chains: Sequence[Chain],
    marks: Sequence[Sequence[int]],
    scale: float,
    kept_cells: int,
    arrivals: Sequence[Tensor] | None = None,
) -> ChainInputs:
    if not len(scores) == len(chains) == len(marks):
        raise ValueError(
            f"each utterance needs scores, a chain and marks, got {len(scores)}, {len(chains)}, {len(marks)}"
        )
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"scale must be finite and >= 0, got {scale}")
    rows = _rows(scores)
    if rows.numel() and not bool(torch.stack(rows.aminmax()).isfinite().all()):
        raise ValueError("scores must be finite")
    for b, (chain, places) in enumerate(zip(chains, marks, strict=True)):
        if (
            chain.states
            and not 0 <= int(chain.columns.min()) <= int(chain.columns.max()) < scores[b].shape[1]
        ):
            raise ValueError(
                f"utterance {b}: the chain's columns must lie in [0, {scores[b].shape[1]})"
            )
        if places and not 0 <= min(places) <= max(places) <= chain.states:
            raise ValueError(f"utterance {b}: marks must lie in [0, {chain.states}]")

    def joined(name: str, dtype: torch.dtype) -> Tensor:
        parts = [getattr(chain, name).to(dtype) for chain in chains]
        return torch.cat(parts) if parts else torch.empty(0, dtype=dtype)

    return ChainInputs(
        scores=rows,
        frame_starts=_starts([len(x) for x in scores]),
        state_starts=_starts([chain.states for chain in chains]),
        skip_starts=_starts([len(chain.skip_sources) for chain in chains]),
        mark_starts=_starts([len(places) for places in marks]),
        columns=joined("columns", torch.int32),
        stay=joined("stay", torch.float32),
        move=joined("move", torch.float32),
        enter=joined("enter", torch.float32),
        leave=joined("leave", torch.float32),
        skip_sources=joined("skip_sources", torch.int32),
        skip_targets=joined("skip_targets", torch.int32),
        skip_scores=joined("skip_scores", torch.float32),
        arrivals=_gains(scores, arrivals),
        entrances=_entrances(chains),
        marks=torch.tensor([mark for places in marks for mark in places], dtype=torch.int32),
        scale=scale,
        kept_cells=kept_cells,
    )


def _gains(scores: Sequence[Tensor], arrivals: Sequence[Tensor] | None) -> Tensor:
    """(all frames,) float32 what paths gain at entrances, checked; zeros where nothing is gained."""
    if arrivals is None:
        return torch.zeros(sum(map(len, scores)))
    if [len(x) for x in arrivals] != [len(x) for x in scores]:
        raise ValueError("arrivals must have the frames of their utterances")
    gains = torch.cat([*arrivals, torch.empty(0)]).float()
    if not bool(gains.isfinite().all()):
        raise ValueError("arrivals must be finite")
    return gains


def _entrances(chains: Sequence[Chain]) -> Tensor:
    """(all states,) float32, 1 where something begins."""
    parts = [
        torch.zeros(chain.states) if chain.entrances is None else chain.entrances.float()
        for chain in chains
    ]
    return torch.cat([*parts, torch.empty(0)])


def _rows(scores: Sequence[Tensor]) -> Tensor:
    """(all frames, N) float32, contiguous; not copied where they are that already, as they may be large."""
    lengths, widest = [len(x) for x in scores], max((x.shape[1] for x in scores), default=1)
    if len(scores) == 1:
        return scores[0].detach().float().contiguous()
    rows = torch.empty(sum(lengths), widest)
    for piece, x in zip(rows.split(lengths), scores, strict=True):
        piece[:, : x.shape[1]] = x.detach()
        piece[:, x.shape[1] :] = 0.0
    return rows


def _band(
    inputs: ChainInputs, around: Sequence[Tensor | None], width: int
) -> tuple[Tensor, Tensor]:
    """First state and the one behind the last of each frame: so many on either side of the paths."""
    lows, highs = [], []
    for b, path in enumerate(around):
        states, frames = inputs.states_of(b), inputs.frames_of(b)
        S, T = states.stop - states.start, frames.stop - frames.start
        if path is None:
            path, beyond = torch.zeros(T, dtype=torch.int64), S
        elif len(path) != T:
            raise ValueError(f"utterance {b}: its path must have {T} frames, got {len(path)}")
        else:
            beyond = width
        lows.append((path - beyond).clamp(min=0))
        highs.append((path + beyond + 1).clamp(max=S))
    return torch.cat(lows).int().contiguous(), torch.cat(highs).int().contiguous()


def _starts(counts: Sequence[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)
