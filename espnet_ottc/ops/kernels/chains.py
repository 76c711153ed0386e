"""What the implementations of the searches along chains take and give, and the choice between them.

| name    | needs                                     |
|---------|-------------------------------------------|
| `eager` | PyTorch alone; complete, the reference    |
| `cpu`   | the C kernel that setup.py compiles       |

Each module has `best(inputs)` and `total(inputs, wanted)`; the tensors lie on the CPU.
"""

import importlib
from typing import NamedTuple, Protocol, cast

from torch import Tensor

from espnet_ottc.ops.kernels.fallback import warn_of_fallback


class ChainInputs(NamedTuple):
    """Utterances one behind the other, checked; everything on the CPU and contiguous."""

    scores: Tensor  # (frames, N) float32
    frame_starts: Tensor  # (B + 1,) int64; likewise the next three
    state_starts: Tensor
    skip_starts: Tensor
    mark_starts: Tensor
    columns: Tensor  # (states,) int32 in [0, N)
    stay: Tensor  # (states,) float32 log-scores; -1e30 is an arc that is not there
    move: Tensor  # from the state before
    enter: Tensor  # of the first frame
    leave: Tensor  # behind the last frame
    skip_sources: Tensor  # (skips,) int32, within the utterance
    skip_targets: Tensor  # rising
    skip_scores: Tensor  # (skips,) float32
    arrivals: Tensor  # (frames,) float32: what sums gain where a path comes to an entrance
    entrances: Tensor  # (states,) float32, 1 for an entrance and 0 for others
    marks: Tensor  # (marks,) int32 states of the utterance, in [0, S]
    scale: float  # of the scores
    kept_cells: int  # states times frames that may be kept for one utterance

    @property
    def utterances(self) -> int:
        """How many there are."""
        return len(self.frame_starts) - 1

    def frames_of(self, b: int) -> slice:
        """Where utterance b has its frames."""
        return _slice(self.frame_starts, b)

    def states_of(self, b: int) -> slice:
        """Where it has its states."""
        return _slice(self.state_starts, b)

    def skips_of(self, b: int) -> slice:
        """Where it has its skips."""
        return _slice(self.skip_starts, b)

    def marks_of(self, b: int) -> slice:
        """Where it has its marks."""
        return _slice(self.mark_starts, b)


class ChainSumsWanted(NamedTuple):
    """What is wanted besides the totals."""

    occupancy: bool
    levels: tuple[float, ...]  # in (0, 1)
    # (frames,) int32 each: in a frame the paths go through the states [low, high) of its utterance alone;
    # neither falls within an utterance.  None: through all.
    band: tuple[Tensor, Tensor] | None = None


class BestPaths(NamedTuple):
    """The best path of each utterance."""

    states: Tensor  # (frames,) int32; -1 without a path
    totals: Tensor  # (B,) float64 log-scores; -inf without a path


class ChainSums(NamedTuple):
    """What the sum over all paths gives."""

    totals: Tensor  # (B,) float64
    occupancy: Tensor | None  # (frames, N) float32 probability of each column; 0 without a path
    quantiles: Tensor  # (marks, levels) float64 positions on the frame axis; 0 without a path
    edges: (
        Tensor  # (B,) float64 largest probability of a state at the band's edges; 0 without a band
    )


class ChainSearch(Protocol):
    """The interface of the modules."""

    def best(self, inputs: ChainInputs) -> BestPaths:
        """The best path of each utterance."""

    def total(self, inputs: ChainInputs, wanted: ChainSumsWanted) -> ChainSums:
        """The sum over all paths."""


CHAIN_BACKENDS = ("auto", "eager", "cpu")


def choose(backend: str) -> ChainSearch:
    """The implementation for a request.

    Args:
        backend: "auto" (the C kernel where it was compiled), "eager" or "cpu".

    Raises:
        ValueError: an unknown name.
        ImportError: the kernel was asked for by name and cannot be loaded; "auto" falls back to
            "eager" instead, with one warning that says why.
    """
    if backend not in CHAIN_BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(CHAIN_BACKENDS)}; got {backend!r}")
    name = "cpu" if backend == "auto" else backend
    try:
        module = importlib.import_module(f"espnet_ottc.ops.kernels.chains_{name}")
    except ImportError as fault:
        if backend != "auto":
            raise
        warn_of_fallback("C kernel of the search along chains", fault)
        module = importlib.import_module("espnet_ottc.ops.kernels.chains_eager")
    return cast(ChainSearch, module)


def _slice(starts: Tensor, b: int) -> slice:
    return slice(int(starts[b]), int(starts[b + 1]))
