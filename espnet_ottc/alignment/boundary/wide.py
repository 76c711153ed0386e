"""What a recogniser says about the frames, beside what a boundary model says: both scores in one search.

A recogniser hears seconds and knows which word is said; a boundary model hears one frame and knows when.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import SENTENCEPIECE_MARK, FrameGrid

# Nothing is less likely than that: a recogniser may be wrong.
_FLOOR = -12.0


@dataclass(frozen=True, eq=False)
class WideOutputs:
    """A recogniser's outputs for one utterance.

    Attributes:
        log_probs: (T, V) log-probabilities of the tokens; columns beyond the tokens are passed over.
        grid: where its frames lie in time.
        tokens: V symbols.
        silence: ids of tokens that are no speech: a separator that takes the pauses, a boundary label, the
            label of frames that belong to none.
        blank: id of the blank, where it may be a letter's time as well as silence; else None.
    """

    log_probs: Tensor
    grid: FrameGrid
    tokens: Sequence[str]
    silence: frozenset[int]
    blank: int | None


class WideScores:
    """Log-probabilities of a boundary model's states by a recogniser.

    A unit has the probability of all tokens that are spelled with it, and the blank's; silence has that of
    the tokens without speech.  A unit that no token is spelled with, as a phone beside letters, has the
    probability of speech.  Between the recogniser's frames probabilities are interpolated.

    Args:
        model: the boundary model.
        outputs: of the recogniser, of at least one frame.
    """

    def __init__(self, model: BoundaryModel, outputs: WideOutputs) -> None:
        self._own, self._outputs = grid(model.config), outputs
        self._spelled = _spelled(model, outputs)
        columns = torch.arange(len(model.log_prior))
        units = columns.div(model.config.states, rounding_mode="floor")
        self._units = units.clamp(max=model.units.silence)

    def __call__(self, frames: range) -> Tensor:
        """Those of some frames of the boundary model.

        Args:
            frames: F neighbours.

        Returns:
            (F, columns) float32, at least −12.
        """
        here, last = self._outputs.grid, len(self._outputs.log_probs) - 1
        numbers = torch.arange(frames.start, frames.stop, dtype=torch.float64)
        centres = self._own.offset + (numbers + 0.5) * self._own.shift
        places = ((centres - here.offset) / here.shift - 0.5).clamp(0, last)
        if not len(places):
            return torch.empty(0, len(self._units))
        before = places.floor().long()
        behind = (before + 1).clamp(max=last)
        first = int(before[0])
        said = self._outputs.log_probs[first : int(behind[-1]) + 1].detach().cpu()
        heard = said[:, : len(self._outputs.tokens)].float().exp() @ self._spelled
        weight = (places - before)[:, None].float()
        between = torch.lerp(heard[before - first], heard[behind - first], weight)
        # A whole of several tokens may exceed 1 by a rounding.
        logs = between.clamp(max=1.0).log().clamp(min=_FLOOR)
        return logs[:, self._units]


def _spelled(model: BoundaryModel, outputs: WideOutputs) -> Tensor:
    """(V, units) 1 where a token speaks for a unit."""
    units, found = model.units, torch.zeros(len(outputs.tokens), len(model.units.names))
    blanks = [] if outputs.blank is None else [outputs.blank]
    quiet = [*outputs.silence, *blanks]
    for token, symbol in enumerate(outputs.tokens):
        written = symbol.replace(SENTENCEPIECE_MARK, "")
        if token in quiet or not _is_spelling(written) or not _comparable(model, written):
            continue
        spoken = {units.symbols[unit] for spelling in units.spell(written) for unit in spelling}
        found[token, [unit for unit, one in enumerate(units.symbols) if one in spoken]] = 1
    named = found.any(0)
    named[units.silence] = True
    speech = torch.ones(len(outputs.tokens))
    speech[quiet] = 0
    found[:, ~named] = speech[:, None]
    found[quiet, units.silence] = 1
    found[blanks] = 1
    return found


def _is_spelling(symbol: str) -> bool:
    return bool(symbol) and not (symbol.startswith("<") and symbol.endswith(">"))


def _comparable(model: BoundaryModel, symbol: str) -> bool:
    """Whether the token is spelled in the model's units; a lexicon's phones are no letters."""
    return model.units.lexicon is None or symbol in model.units.lexicon
