"""What the networks of a boundary model learn: the states of units, or of letters in context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import UtteranceGraph
from espnet_ottc.alignment.boundary.in_context import ContextNetwork

# Of the states that a frame may be in, the likeliest are kept.
_KEPT = 6


class Targets(Protocol):
    """What a round learns."""

    def unit_counts(self) -> Tensor:
        """(columns of the units,) frames in which each is."""

    def begin(self, network: nn.Module) -> None:
        """Tell the network that learns what it needs, before each round."""

    def draw(self) -> None:
        """Make random choices anew, before each epoch."""

    def loss(self, network: nn.Module, seen: Tensor, chosen: Tensor) -> Tensor:
        """The mean over some frames.

        Args:
            network: that learns.
            seen: (F, inputs) of the frames.
            chosen: (F,) which they are.
        """


class UnitTargets:
    """The states of units.

    Args:
        targets: (all frames,) int64 columns, or (all frames, columns) probabilities.
        columns: how many.
    """

    def __init__(self, targets: Tensor, columns: int) -> None:
        self._targets, self._columns = targets, columns

    def unit_counts(self) -> Tensor:
        """See `Targets`, as for the others."""
        if self._targets.dim() == 1:
            return torch.bincount(self._targets, minlength=self._columns).float()
        return self._targets.sum(0)

    def begin(self, network: nn.Module) -> None:
        """It needs nothing."""

    def draw(self) -> None:
        """Nothing is chosen."""

    def loss(self, network: nn.Module, seen: Tensor, chosen: Tensor) -> Tensor:
        """Cross-entropy, summed over the members of the network."""
        log_probs: Tensor = network(seen)
        targets = self._targets[chosen]
        if targets.dim() == 1:
            index = targets.expand(len(log_probs), -1)[:, :, None]
            return -log_probs.gather(2, index).mean(1).sum()
        return -(log_probs * targets).sum(2).mean(1).sum()


@dataclass(frozen=True, eq=False)
class Contexts:
    """All letters between their neighbours that a training has.

    Attributes:
        windows: (N, 2 n + 1) units.
        states: of each.
        letters: (N states + silence's,) the column of its unit, of each state.
        places: of each utterance (its columns,) these states, in the order of its graph.
        seed: of the choice of states that stand for all.
    """

    windows: Tensor
    states: int
    letters: Tensor
    places: list[Tensor]
    seed: int

    @classmethod
    def of(cls, graphs: Sequence[UtteranceGraph], config: BoundaryConfig) -> "Contexts":
        """Those of some utterances, whose graphs have windows."""
        found = [graph.windows for graph in graphs if graph.windows is not None]
        windows, numbers = torch.cat(found).unique(dim=0, return_inverse=True)
        states, spoken = config.states, len(windows) * config.states
        silence = torch.arange((config.silence_states + 1) // 2)
        letters = torch.empty(spoken + len(silence), dtype=torch.int64)
        places = []
        for graph, own in zip(graphs, numbers.split([len(one) for one in found]), strict=True):
            place = (own[:, None] * states + torch.arange(states)).flatten()
            places.append(torch.cat([place, spoken + silence]))
            letters[places[-1]] = graph.letters[:-1]
        return cls(windows, states, letters, places, config.seed)

    def targets(self, occupied: Sequence[tuple[Tensor, Tensor]]) -> "ContextTargets":
        """What is learned where states are occupied.

        Args:
            occupied: of each utterance `likeliest` of its occupancies.
        """
        places = [own[columns] for own, (columns, _) in zip(self.places, occupied, strict=True)]
        return ContextTargets(self, torch.cat(places), torch.cat([one for _, one in occupied]))


def likeliest(occupancies: Tensor) -> tuple[Tensor, Tensor]:
    """(T, columns) probabilities to (T, K) columns, and (T, K) what they have."""
    values, columns = occupancies.topk(min(_KEPT, occupancies.shape[1]), 1)
    if columns.shape[1] < _KEPT:
        missing = (0, _KEPT - columns.shape[1])
        return pad(columns, missing), pad(values, missing)
    return columns, values


class ContextTargets:
    """The states of letters between their neighbours: of each frame one, drawn by its probability.

    Args:
        contexts: of the training.
        places: (all frames, K) states that are likeliest in each frame.
        probabilities: (all frames, K) theirs.
    """

    def __init__(self, contexts: Contexts, places: Tensor, probabilities: Tensor) -> None:
        self._contexts, self._places, self._probabilities = contexts, places, probabilities
        self._drawn = places[:, 0]

    def unit_counts(self) -> Tensor:
        """See `Targets`, as for the others."""
        letters = self._contexts.letters
        counts = torch.zeros(int(letters.max()) + 1)
        return counts.index_add_(0, letters, self._occupied())

    def _occupied(self) -> Tensor:
        count = len(self._contexts.letters)
        return torch.zeros(count).index_add_(
            0, self._places.flatten(), self._probabilities.flatten()
        )

    def begin(self, network: nn.Module) -> None:
        """Tell the network which states stand for all."""
        assert isinstance(network, ContextNetwork)
        generator = torch.Generator().manual_seed(self._contexts.seed)
        network.refer_to(self._contexts.windows, self._occupied(), generator)

    def draw(self) -> None:
        """A state for each frame."""
        choice = self._probabilities.multinomial(1)
        self._drawn = self._places.gather(1, choice)[:, 0]

    def loss(self, network: nn.Module, seen: Tensor, chosen: Tensor) -> Tensor:
        """Cross-entropy of each frame's state among those of all these frames."""
        assert isinstance(network, ContextNetwork)
        windows, states = self._contexts.windows, self._contexts.states
        different, targets, counts = self._drawn[chosen].unique(
            return_inverse=True, return_counts=True
        )
        spoken = different < len(windows) * states
        letters, silence = different[spoken], different[~spoken] - len(windows) * states
        here, numbers = (letters // states).unique(return_inverse=True)
        vectors = network.vectors(windows[here])
        rows = torch.cat([numbers * states + letters % states, len(here) * states + silence])
        scores = network(seen, vectors[rows]) + (counts / len(chosen)).log()
        return nn.functional.cross_entropy(scores, targets)
