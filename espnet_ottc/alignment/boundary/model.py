"""The boundary model: how well each state fits each frame, from next to nothing but the frame."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import log_mel, with_context
from espnet_ottc.alignment.boundary.graph import UtteranceGraph, columns_of, spelled_graph
from espnet_ottc.alignment.boundary.in_context import ContextNetwork
from espnet_ottc.alignment.boundary.mixtures import MixtureNetwork
from espnet_ottc.alignment.boundary.perceptron import perceptron
from espnet_ottc.alignment.boundary.units import Units
from espnet_ottc.alignment.saved_tensors import load_tensors_alone
from espnet_ottc.utils.files import folder_written_aside, write_json
from espnet_ottc.utils.json_files import read_json_object

FORMAT = "espnet_ottc boundary model 1"
_DESCRIPTION, _PARAMETERS = "boundary_model.json", "boundary_model.pt"
# Of a model as tensors: its description as UTF-8, and the other entries that are no parameter.
_WRITTEN, _PRIOR, _STAYS, _NETWORKS = "description", "log_prior", "stays", ("network", "narrow")
SAMPLING_RATE = 16000
_FRAMES_AT_ONCE = 1 << 15
# What cannot be spelled is often a word, of a third of a second.
_ANYTHING_STAYS = 0.97
_EQUAL = 1e-5


# What files raise that nobody wrote as a model.
_FAULTS = (
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    ArithmeticError,
    IndexError,
)


class BoundaryNetwork(nn.Module):
    """Perceptrons from a frame with its context to the log-probabilities of the states, side by side.

    Args:
        config: width, layers, dropout, bands, and how many networks.
        context: frames on either side.
        columns: states.
    """

    def __init__(self, config: BoundaryConfig, context: int, columns: int) -> None:
        super().__init__()
        self.context, self.columns = context, columns
        self.members = nn.ModuleList(
            perceptron(config, (2 * context + 1) * config.mels, columns)
            for _ in range(config.networks)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(F, (2 context + 1) mels) frames to (members, F, columns) log-probabilities."""
        return torch.stack([member(frames).log_softmax(1) for member in self.members])

    @torch.inference_mode()
    def log_probs(self, features: Tensor) -> Tensor:
        """(T, mels) of one utterance to (T, columns), the members' mean; the network must be in eval mode."""
        wide = with_context(features, self.context)
        return torch.cat([self(piece).mean(0) for piece in wide.split(_FRAMES_AT_ONCE)])


@dataclass(frozen=True, eq=False)
class BoundaryModel:
    """A trained model with all that it needs to align.

    Attributes:
        config: how it was made.
        units: its inventory, and its lexicon.
        network: its parameters, in eval mode; or those of letters in context, or Gaussians.
        log_prior: (columns,) log-probability of each unit's states in the training.
        stays: (columns,) probability of staying in each state.
        narrow: a further network, in eval mode, whose scores and the other's are averaged.
    """

    config: BoundaryConfig
    units: Units
    network: BoundaryNetwork | ContextNetwork | MixtureNetwork
    log_prior: Tensor
    stays: Tensor
    narrow: BoundaryNetwork | None = None

    @property
    def sampling_rate(self) -> int:
        """Hz that suffices for its bands."""
        return max(SAMPLING_RATE, math.ceil(2 * self.config.high_hz))

    def features(self, samples: Tensor, rate: int) -> Tensor:
        """(n,) samples to (T, mels) features.

        Raises:
            ValueError: see `log_mel`.
        """
        return log_mel(samples, rate, self.config)

    def scores(self, features: Tensor, graph: UtteranceGraph) -> Tensor:
        """log p(state | frame) − log p(state), (T, columns), of (T, mels) features.

        Letters that the training has never heard score 0, as anything does; beside others they are anything.

        Args:
            features: of the frames.
            graph: what is said; its column of anything is not among the scores.
        """
        if not isinstance(self.network, ContextNetwork):
            found = self._with_narrow(self.network.log_probs(features) - self.log_prior, features)
            if not self.knows_other:
                found[:, self._other] = 0.0
            return found
        windows, columns = graph.windows, graph.letters[:-1]
        # whoever has such a network makes such graphs
        assert windows is not None
        if self.knows_other:
            return self._with_narrow(self.network.scores(features, windows), features, columns)
        other, anything = self.units.other, self.units.anything
        unheard = windows == other
        letters = unheard[:, self.config.neighbours]
        # Of a word beside, as little is known as where silence is.
        heard = windows.masked_fill(windows == anything + 1 + other, self.units.silence)
        found = self.network.scores(features, heard.masked_fill(unheard, anything))
        found = self._with_narrow(found, features, columns)
        found[:, : letters.numel() * self.config.states].masked_fill_(
            letters.repeat_interleave(self.config.states), 0.0
        )
        return found

    def _with_narrow(
        self, scores: Tensor, features: Tensor, columns: Tensor | None = None
    ) -> Tensor:
        """The mean of (T, columns) scores and those of the narrow network, in place, where there is one."""
        if self.narrow is None:
            return scores
        narrow = self.narrow.log_probs(features) - self.log_prior
        # Of each letter once more, an hour's frames would take as much memory again.
        for some, beside in zip(
            scores.split(_FRAMES_AT_ONCE), narrow.split(_FRAMES_AT_ONCE), strict=True
        ):
            some.add_(beside if columns is None else beside.index_select(1, columns)).div_(2)
        return scores

    @property
    def _other(self) -> slice:
        place = self.units.other * self.config.states
        return slice(place, place + self.config.states)

    @cached_property
    def knows_other(self) -> bool:
        """Whether the training had letters that are no unit: their states have more than the floor."""
        prior = self.log_prior[self._other]
        return bool((prior - self.log_prior.min()).abs().max() > _EQUAL)

    def graph(
        self,
        words: Sequence[str],
        *,
        frames: int = 0,
        backwards: bool = False,
        wildcards: bool = False,
        alone: bool = False,
    ) -> UtteranceGraph:
        """The states of an utterance's words.

        Args:
            words: what is said.
            frames: that are searched; where scores of all letters between their neighbours would take too
                much memory, letters are taken alone.
            backwards: the words, and the units of each, in reverse.
            wildcards: with a state of anything for what could not be spelled.  The searches read it in a
                column behind the model's own, whose scores are 0: the frame as likely as ever.
            alone: whether letters are taken alone where they could be between their neighbours.
        """
        spellings = [self.units.spell(word, wildcards=wildcards) for word in words]
        if backwards:
            spellings = [tuple(units[::-1] for units in word) for word in reversed(spellings)]
        graph = spelled_graph(spellings, self.units.silence, self.config, frames, alone=alone)
        if not self.config.durations:
            return graph
        return graph.with_stays(torch.cat([self.stays, self.stays.new_tensor([_ANYTHING_STAYS])]))

    def save(self, folder: Path) -> None:
        """Write the model into a folder of its own; what was there is replaced in one step.

        Raises:
            OSError: a file cannot be written.
        """
        with folder_written_aside(folder) as aside:
            self.write_into(aside)

    def write_into(self, folder: Path) -> None:
        """Write the model's two files into a folder that is there."""
        write_json(folder / _DESCRIPTION, self._description())
        torch.save(self._parameters(), folder / _PARAMETERS)

    def to_tensors(self) -> dict[str, Tensor]:
        """The whole model as tensors, for a file that holds nothing else.

        The description is bytes as float32, which the mean over equal files leaves as they are.
        """
        written = json.dumps(self._description()).encode()
        named = self._parameters()
        networks = {
            f"{kind}.{name}": value
            for kind in _NETWORKS
            for name, value in named.pop(kind, {}).items()
        }
        return {_WRITTEN: torch.tensor(list(written), dtype=torch.float32), **named, **networks}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "BoundaryModel":
        """From `to_tensors`, whatever floating type and device the tensors have had since.

        Raises:
            ValueError: tensors of something else.
        """
        try:
            written = bytes(tensors[_WRITTEN].cpu().float().round().to(torch.uint8).tolist())
            parameters = {
                name: value.cpu().float() if value.is_floating_point() else value.cpu()
                for name, value in tensors.items()
                if name != _WRITTEN
            }
            networks = {
                kind: {
                    name.removeprefix(f"{kind}."): value
                    for name, value in parameters.items()
                    if name.startswith(f"{kind}.")
                }
                for kind in _NETWORKS
            }
            return cls._of(
                json.loads(written),
                {**networks, _PRIOR: parameters[_PRIOR], _STAYS: parameters[_STAYS]},
            )
        except _FAULTS as fault:
            raise ValueError(f"not the tensors of a boundary model: {fault}") from fault

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "units": list(self.units.names[:-1]),
            "lexicon": self.units.lexicon,
        }

    def _parameters(self) -> dict[str, Any]:
        narrow = {} if self.narrow is None else {_NETWORKS[1]: self.narrow.state_dict()}
        return {
            _NETWORKS[0]: self.network.state_dict(),
            **narrow,
            _PRIOR: self.log_prior,
            _STAYS: self.stays,
        }

    @classmethod
    def _of(cls, description: Mapping[str, Any], parameters: Mapping[str, Any]) -> "BoundaryModel":
        if description.get("format") != FORMAT:
            raise ValueError(f"its format must be {FORMAT!r}, got {description.get('format')!r}")
        # The units' names say what is spelled how; models of before had a setting, too.
        settings = {name: value for name, value in description["config"].items() if name != "own"}
        config = BoundaryConfig.from_json(settings)
        lexicon = description["lexicon"]
        if lexicon is not None:
            lexicon = {w: tuple(tuple(v) for v in variants) for w, variants in lexicon.items()}
        units = Units(description["units"], lexicon)
        columns = columns_of(len(units.names), config)
        tensors = parameters[_NETWORKS[0]]
        if config.networks * config.layers + config.neighbours > len(tensors):
            raise ValueError(f"it describes more than the {len(tensors)} tensors that it has")
        network: BoundaryNetwork | ContextNetwork | MixtureNetwork
        narrow: BoundaryNetwork | None = None
        # Nothing is filled before it fits: a damaged description may want a lot of memory.
        with torch.device("meta"):
            if config.mixture:
                network = MixtureNetwork(config, columns)
            elif config.neighbours:
                network = ContextNetwork(config, config.context, config.neighbours, units.silence)
            else:
                network = BoundaryNetwork(config, config.context, columns)
            if config.narrow is not None:
                narrow = BoundaryNetwork(config, config.narrow.context, columns)
        network.to_empty(device="cpu").load_state_dict(tensors)
        if narrow is not None:
            narrow.to_empty(device="cpu").load_state_dict(parameters[_NETWORKS[1]])
            narrow.eval()
        prior, stays = parameters[_PRIOR], parameters[_STAYS]
        return cls(config, units, network.eval(), prior, stays, narrow)

    @classmethod
    def load(cls, folder: Path) -> "BoundaryModel":
        """Read a model that `save` wrote; nothing in it is executed.

        Raises:
            FileNotFoundError: the folder holds no boundary model.
            ValueError: files of another format, or that do not fit each other.
        """
        if not is_boundary_model(folder):
            raise FileNotFoundError(
                f"{folder} holds no boundary model ({_DESCRIPTION}, {_PARAMETERS})"
            )
        try:
            description = read_json_object(folder / _DESCRIPTION)
            parameters = load_tensors_alone(folder / _PARAMETERS)
            return cls._of(description, parameters)
        except _FAULTS as fault:
            raise ValueError(f"{folder}: not a readable boundary model: {fault}") from fault


def is_boundary_model(folder: Path) -> bool:
    """Whether a folder holds the files of a boundary model."""
    return (folder / _DESCRIPTION).is_file() and (folder / _PARAMETERS).is_file()


def fitted_config(config: BoundaryConfig, rates: Sequence[int]) -> BoundaryConfig:
    """The configuration with bands that all recordings have.

    Args:
        config: as wanted.
        rates: sampling rates in Hz, at least one.
    """
    # A little below half the rate recordings hold nothing but their filter's edge.
    highest = math.floor(0.475 * min(rates))
    return config if config.high_hz <= highest else replace(config, high_hz=float(highest))
