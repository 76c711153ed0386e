"""The best path of frames along the labels of a text, exact, in memory linear in the length.

Short ones are searched along the whole chain (`espnet_ottc.ops.chains`).  Long ones are searched within a
band of states, which is made wider until no path outside it can be better.
"""

from types import ModuleType

import torch
from torch import Tensor

from espnet_ottc.ops.boundaries import NO_LABEL
from espnet_ottc.ops.chains import NO_ARC, Chain, best_paths
from espnet_ottc.ops.kernels.fallback import warn_of_fallback
from espnet_ottc.ops.precision import LOG_ZERO

# Frames times states from which on a band is tried.
_LONG = 1 << 24
_WIDTH = 2048
_WIDENED = 4


def sequence_path(
    scores: Tensor, tokens: Tensor, *, null: int | None = None, width: int | None = None
) -> tuple[Tensor, float] | None:
    """The best path along labels of which each takes at least a frame, one after the other.

    With a null label, frames may belong to none: it is optional between any two labels and at both ends.
    Beside a label that is the null label itself, it would be the same, and is left out.

    Args:
        scores: (T, V) log-probabilities of one utterance on the CPU; −inf allowed, NaN not.
        tokens: (U,) ids, U ≥ 1.
        null: id of the null label; None: every frame belongs to a label.
        width: states of the band in which a search begins; None: it is chosen by the sizes.

    Returns:
        (T,) int64 index of each frame's label, −1 on the null label, and the path's log-probability; None for
        fewer frames than labels, or where every path has probability 0.

    Raises:
        MemoryError: it does not fit into memory.
    """
    if null is None:
        return _best(scores, tokens, torch.zeros(len(tokens), dtype=torch.bool), (1, 1), width)
    itself = torch.nn.functional.pad(tokens == null, (1, 1))
    # Whether a null state stands before each label, and behind the last one.
    optional = ~(itself[:-1] | itself[1:])
    labels = torch.arange(len(tokens)) + optional[:-1].cumsum(0)
    states = torch.full((len(tokens) + int(optional.sum()),), null, dtype=torch.int64)
    states[labels] = tokens
    jumps = torch.zeros(len(states), dtype=torch.bool)
    jumps[labels[1:]] = optional[1:-1]
    ends = (1 + int(optional[0]), 1 + int(optional[-1]))
    found = _best(scores, states, jumps, ends, width)
    if found is None:
        return None
    owners = torch.full((len(states),), NO_LABEL, dtype=torch.int64)
    owners[labels] = torch.arange(len(tokens))
    return owners[found[0]], found[1]


def ctc_path(
    scores: Tensor, tokens: Tensor, blank: int, *, width: int | None = None
) -> tuple[Tensor, float] | None:
    """CTC's best path: blanks are optional, and one is needed between equal labels.

    Args:
        scores: (T, V) log-probabilities of one utterance on the CPU; −inf allowed, NaN not.
        tokens: (U,) ids without the blank.
        blank: CTC's blank id.
        width: as for `sequence_path`.

    Returns:
        (T,) int64 token id of each frame, and the path's log-probability; None as for `sequence_path`.

    Raises:
        MemoryError: it does not fit into memory.

    Source: Graves et al. 2006, Section 4.1, with the maximum for the sum.
    """
    U = len(tokens)
    states = torch.full((2 * U + 1,), blank, dtype=torch.int64)
    states[1::2] = tokens
    jumps = torch.zeros(2 * U + 1, dtype=torch.bool)
    jumps[3::2] = tokens[1:] != tokens[:-1]
    found = _best(scores, states, jumps, (min(2, 2 * U + 1), min(2, 2 * U + 1)), width)
    return None if found is None else (states[found[0]], found[1])


def rough_path(
    scores: Tensor, columns: Tensor, jumps: Tensor, *, width: int = _WIDTH
) -> Tensor | None:
    """The best path along states of which some are optional; of a long recording within a band.

    The band is made wider until the path is no longer another one, which proves nothing: where scores are
    poor, no band could be proved to be wide enough.

    Args:
        scores: (T, N) log-scores of one utterance on the CPU; −inf allowed, NaN not.
        columns: (S,) column of each state; the first and the last state are optional.
        jumps: (S,) bool: a state may be come to from two states before.
        width: states of the band in which a search begins.

    Returns:
        (T,) int64 state of each frame; None where there is no path.

    Raises:
        MemoryError: it does not fit into memory.
    """
    T, S = len(scores), len(columns)
    ends = (min(2, S), min(2, S))
    if not T:
        return None
    scores = scores.detach().float().clamp(min=LOG_ZERO).contiguous()
    band_cpu = _band_kernel() if T * S >= _LONG else None
    if band_cpu is None:
        return _whole(scores, columns, jumps, ends)
    nothing = torch.zeros(T + 1, dtype=torch.float64)
    before = None
    while True:
        width = min(max(width, 4), S)
        found = band_cpu.best(scores, columns.int(), jumps, nothing, ends, width)
        states = found.states.long() if found.total > NO_ARC else None
        if width == S or (
            states is not None and before is not None and torch.equal(states, before)
        ):
            return states
        before = states
        width *= _WIDENED


def _best(
    scores: Tensor, columns: Tensor, jumps: Tensor, ends: tuple[int, int], width: int | None
) -> tuple[Tensor, float] | None:
    T, S = len(scores), len(columns)
    if not T:
        return None
    floored = scores.detach().float().clamp(min=LOG_ZERO)
    if width is None and T * S < _LONG:
        states = _whole(floored, columns, jumps, ends)
    else:
        states = _within_bands(floored, columns, jumps, ends, width or _WIDTH)
    if states is None:
        return None
    # A path over a frame of probability 0 is none.
    total = float(scores.gather(1, columns[states][:, None]).double().sum())
    return None if total == -torch.inf else (states, total)


def _whole(scores: Tensor, columns: Tensor, jumps: Tensor, ends: tuple[int, int]) -> Tensor | None:
    S = len(columns)
    place = torch.arange(S)
    targets = jumps.nonzero()[:, 0].int()
    zeros = torch.zeros(S)
    chain = Chain(
        columns.int(),
        zeros,
        zeros,
        torch.where(place < ends[0], 0.0, NO_ARC),
        torch.where(place >= S - ends[1], 0.0, NO_ARC),
        targets - 2,
        targets,
        torch.zeros(len(targets)),
    )
    paths = best_paths([scores], [chain])
    return paths.states[0]


def _band_kernel() -> ModuleType | None:
    """The C kernel; None where it was not compiled, as there is no compiler."""
    try:
        from espnet_ottc.ops.kernels import band_cpu
    except ImportError as fault:
        warn_of_fallback("C kernel of the search within a band", fault)
        return None
    return band_cpu


def _within_bands(
    scores: Tensor, columns: Tensor, jumps: Tensor, ends: tuple[int, int], width: int
) -> Tensor | None:
    band_cpu = _band_kernel()
    if band_cpu is None:
        return _whole(scores, columns, jumps, ends)
    S = len(columns)
    scores = scores.contiguous()
    rest = torch.zeros(len(scores) + 1, dtype=torch.float64)
    rest[:-1] = scores.amax(1).double().flip(0).cumsum(0).flip(0)
    while True:
        width = min(max(width, 4), S)
        found = band_cpu.best(scores, columns.int(), jumps, rest, ends, width)
        if width == S or found.outside < found.total:
            return found.states.long() if found.total > NO_ARC else None
        width *= _WIDENED
