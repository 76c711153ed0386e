"""Letters in context: how well each state of a letter between its neighbours fits each frame.

A letter and those beside it are a vector g for each state, a frame is a vector f, and the score is f · g + b.
It is learned by telling the states of some frames from those of the others, each as probable as it is there;
then it is log p(state | frame) − log p(state) (noise-contrastive estimation: van den Oord and others 2018,
arXiv 1807.03748).  What letters have in common is shared, so that no letter has to be heard often between the
same others; a letter's own part of g is what is left where its neighbours say nothing.
"""

import math

import torch
from torch import Tensor, nn

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import with_context
from espnet_ottc.alignment.boundary.perceptron import perceptron

# Of the vectors, of a neighbour's embedding, and of the layer between.
_DIMENSIONS, _EMBEDDING, _HIDDEN = 64, 16, 128
_EMBEDDED, _FROM_NEIGHBOURS, _OWN = 0.5, 0.3, 0.1
# How often a neighbour, and how often all of them are hidden while learning.
_HIDDEN_NEIGHBOUR, _HIDDEN_ALL = 0.25, 0.1
# States that stand for all that is said, and how often each of them.
_REFERENCES = 512
_FRAMES_AT_ONCE = 1 << 13


class ContextNetwork(nn.Module):
    """Scores of the states of letters between their neighbours.

    Args:
        config: width, layers, dropout, bands, states.
        context: frames on either side.
        neighbours: letters on either side, > 0.
        silence: the index of silence among the units; the one behind it is anything.
    """

    references: Tensor

    def __init__(self, config: BoundaryConfig, context: int, neighbours: int, silence: int) -> None:
        super().__init__()
        self.context, self.neighbours, self.silence = context, neighbours, silence
        self.states, self.silence_states = config.states, (config.silence_states + 1) // 2
        window, size = 2 * neighbours + 1, _DIMENSIONS + 1
        self.frames = perceptron(config, (2 * context + 1) * config.mels, _DIMENSIONS)
        # Of units in the word, silence and anything; and of units in the words beside.
        known = silence + 2 + silence * config.across_words
        embeddings = [nn.Embedding(known, _EMBEDDING) for _ in range(window)]
        last = nn.Linear(_HIDDEN, self.states * size)
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=_EMBEDDED)
        with torch.no_grad():
            last.weight.mul_(_FROM_NEIGHBOURS)
        self.letters = nn.ModuleList(embeddings)
        self.between = nn.Sequential(nn.Linear(window * _EMBEDDING, _HIDDEN), nn.ReLU(), last)
        self.own = nn.Embedding(silence + 2, self.states * size)
        self.quiet = nn.Parameter(_OWN * torch.randn(self.silence_states, size))
        nn.init.normal_(self.own.weight, std=_OWN)
        # Rows of a window and a state of it.
        self.register_buffer("references", torch.zeros(_REFERENCES, window + 1, dtype=torch.int64))

    def forward(self, frames: Tensor, vectors: Tensor) -> Tensor:
        """(F, (2 context + 1) mels) frames and (N, D + 1) vectors to (F, N) scores.

        They are right but for a number for each frame.
        """
        return _products(self.frames(frames), vectors)

    def vectors(self, windows: Tensor) -> Tensor:
        """(N, 2 n + 1) units to (N states + silence's, D + 1)."""
        if self.training:
            hidden = torch.rand(windows.shape) < _HIDDEN_NEIGHBOUR
            alone = (torch.rand(len(windows), 1) < _HIDDEN_ALL).expand(windows.shape).clone()
            hidden[:, self.neighbours] = alone[:, self.neighbours] = False
            # What is hidden behind a word's edge leaves the edge to be seen.
            foreign = windows > self.silence + 1
            windows = windows.masked_fill(hidden & foreign, self.silence)
            inside = hidden & ~foreign & (windows != self.silence)
            windows = windows.masked_fill(inside | alone, self.silence + 1)
        embedded = [letters(windows[:, place]) for place, letters in enumerate(self.letters)]
        both = self.between(torch.cat(embedded, 1)) + self.own(windows[:, self.neighbours])
        return torch.cat([both.view(-1, _DIMENSIONS + 1), self.quiet])

    @torch.no_grad()
    def refer_to(self, windows: Tensor, occupied: Tensor, generator: torch.Generator) -> None:
        """Take some states to stand for all, as often as they come.

        Args:
            windows: (N, 2 n + 1) units.
            occupied: (N states + silence's,) frames in which each state is, at least one of them > 0.
            generator: of the choice.
        """
        chosen = occupied.multinomial(_REFERENCES, replacement=True, generator=generator)
        spoken = chosen < len(windows) * self.states
        rows = torch.full_like(self.references, self.silence)
        rows[spoken, :-1] = windows[chosen[spoken] // self.states]
        rows[:, -1] = torch.where(spoken, chosen % self.states, chosen - len(windows) * self.states)
        self.references.copy_(rows)

    @torch.no_grad()
    def scores(self, features: Tensor, windows: Tensor) -> Tensor:
        """log p(state | frame) − log p(state); the network must be in eval mode.

        Args:
            features: (T, mels) of one utterance.
            windows: (N, 2 n + 1) units between their neighbours.

        Returns:
            (T, N states + silence's).
        """
        vectors, references = self.vectors(windows), self._reference_vectors()
        found = []
        for frames in with_context(features, self.context).split(_FRAMES_AT_ONCE):
            hidden = self.frames(frames)
            common = _products(hidden, references).logsumexp(1, keepdim=True)
            found.append(_products(hidden, vectors).sub_(common - math.log(_REFERENCES)))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _reference_vectors(self) -> Tensor:
        spoken = self.references[:, self.neighbours] < self.silence
        windows, states = self.references[:, :-1], self.references[:, -1]
        of_letters = self.vectors(windows[spoken])[: -self.silence_states]
        rows = torch.arange(len(of_letters)).view(-1, self.states)
        place = states[spoken][:, None]
        return torch.cat([of_letters[rows.gather(1, place)[:, 0]], self.quiet[states[~spoken]]])


def _products(hidden: Tensor, vectors: Tensor) -> Tensor:
    """(F, N) of (F, D) and (N, D + 1), whose last number is added."""
    return (hidden @ vectors[:, :-1].T).add_(vectors[:, -1])
