"""All frames of a training's recordings, one behind the other, and the states that they may be in."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import UtteranceGraph
from espnet_ottc.alignment.boundary.material import Material
from espnet_ottc.alignment.boundary.quiet import quiet_frames

# Of a search.
_FRAMES_AT_ONCE, _SCORES_AT_ONCE = 1 << 16, 1 << 24


class Frames:
    """The frames of all utterances.

    Args:
        material: recordings with their texts.
        config: of the model.

    Attributes:
        lengths: of each utterance its frames.
        quiet: of each `quiet_frames`.
        features: (F, mels) of all.
        begins: (F,) which of them begin an utterance.
        plain: the graph of each utterance, without neighbours.
    """

    def __init__(self, material: Material, config: BoundaryConfig) -> None:
        self._config, self._known = config, material.graphs
        self.lengths = [len(x) for x in material.features]
        self.quiet = [quiet_frames(x) for x in material.features]
        self.features = torch.cat(material.features)
        lengths = torch.tensor(self.lengths)
        ends = lengths.cumsum(0)
        self._first = (ends - lengths).repeat_interleave(lengths)
        self._last = (ends - 1).repeat_interleave(lengths)
        self.begins = torch.arange(len(self.features)) == self._first
        self.plain = [graph.without_neighbours() for graph in material.graphs]
        states = torch.tensor([graph.chain.states for graph in self.plain])
        self._columns = torch.cat([graph.chain.columns.long() for graph in self.plain])
        self._first_state = (states.cumsum(0) - states).repeat_interleave(lengths)

    def __len__(self) -> int:
        return len(self.features)

    def seen(self, chosen: Tensor, context: int) -> Tensor:
        """(N, (2 context + 1) mels) what a network sees of (N,) frames, within their utterances."""
        places = chosen[:, None] + torch.arange(-context, context + 1)
        places = places.clamp(self._first[chosen, None], self._last[chosen, None])
        return self.features[places].flatten(1)

    def columns_of(self, path: Tensor) -> Tensor:
        """(F,) the units' columns of the (F,) states of all frames."""
        return self._columns[path + self._first_state]

    def in_context(self, path: Tensor | None) -> Sequence[UtteranceGraph]:
        """The graphs with neighbours; with (F,) states of a search before, across the words that it joins."""
        if path is None:
            return self._known
        paths = path.split(self.lengths)
        return [
            graph.across_words(one, self._config)
            for graph, one in zip(self._known, paths, strict=True)
        ]

    def groups(self, graphs: Sequence[UtteranceGraph]) -> Iterator[list[int]]:
        """Utterances for one search each, so that scores never lie in memory for all of them."""
        group: list[int] = []
        frames = widest = 0
        for i, (length, graph) in enumerate(zip(self.lengths, graphs, strict=True)):
            width = len(graph.letters)
            frames, widest = frames + length, max(widest, width)
            if group and (frames > _FRAMES_AT_ONCE or frames * widest > _SCORES_AT_ONCE):
                yield group
                group, frames, widest = [], length, width
            group.append(i)
        yield group
