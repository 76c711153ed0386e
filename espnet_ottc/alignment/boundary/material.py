"""What a boundary model learns from: recordings with their texts, read into memory."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.bandwidth import bandwidth
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.features import log_mel
from espnet_ottc.alignment.boundary.graph import UtteranceGraph, spelled_graph
from espnet_ottc.alignment.boundary.model import BoundaryModel, fitted_config
from espnet_ottc.alignment.boundary.units import Pronunciations, Units

_log = logging.getLogger(__name__)
_HEARD_FOR_BANDWIDTH, _SECONDS_FOR_BANDWIDTH = 50, 600
_LEAST_BANDWIDTH = 2000  # Hz; what holds less is no speech


@dataclass(frozen=True)
class SpokenText:
    """A recording with what is said in it.

    Attributes:
        name: its id.
        words: what is said, in order.
        load: gives its samples (n,) in [−1, 1], one channel, and their rate in Hz.
    """

    name: str
    words: tuple[str, ...]
    load: Callable[[], tuple[Tensor, int]]


@dataclass(eq=False)
class Material:
    """All recordings of a training in memory.

    Attributes:
        names: of the utterances.
        features: (T, mels) of each.
        graphs: of each.
        left_out: utterance id -> why it takes no part.
    """

    names: list[str] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    graphs: list[UtteranceGraph] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(
        self, utterance: SpokenText, features: Tensor, units: Units, config: BoundaryConfig
    ) -> None:
        """Take an utterance in, or leave it out where its words need more frames.

        Args:
            utterance: that was heard.
            features: (T, mels) of it.
            units: that spell its words.
            config: of the model.
        """
        spellings = [units.spell(word) for word in utterance.words]
        graph = spelled_graph(spellings, units.silence, config, len(features))
        if graph.shortest > len(features):
            self.left_out[utterance.name] = (
                f"its words need {graph.shortest} frames, got {len(features)}"
            )
            return
        self.names.append(utterance.name)
        self.features.append(features)
        self.graphs.append(graph)


def prepare(
    utterances: Sequence[SpokenText], config: BoundaryConfig, lexicon: Pronunciations | None
) -> tuple[Material, Units, BoundaryConfig]:
    """Read what is learned from: features, units, graphs; and the bands that the recordings have.

    An utterance without words, or with fewer frames than its words need, is left out.  Of more than
    `config.hours` a random part is taken.
    """
    shuffled = _shuffled(utterances, config)
    config = _with_bandwidth(shuffled, config)
    found = None
    while found is None:
        config, found, left_out = _read(shuffled, config)
    used = [utterance for utterance in utterances if utterance.name in found]
    units = Units.of(
        [utterance.words for utterance in used],
        config.least_count,
        lexicon,
        own_uses=config.own_uses,
        own_units=config.own_units,
    )
    material = Material(left_out=left_out)
    for utterance in used:
        material.add(utterance, found[utterance.name], units, config)
    return material, units, config


def prepare_for(model: BoundaryModel, utterances: Sequence[SpokenText]) -> Material:
    """Read what a model that is there goes on to learn from.

    An utterance is left out as by `prepare`, and where it has letters that the model has not heard, or fewer
    bands than the model has.

    Args:
        model: whose units and bands stay.
        utterances: recordings with their texts.
    """
    config = model.config
    _, found, left_out = _read(_shuffled(utterances, config), config, fitted=False)
    assert found is not None
    material = Material(left_out=left_out)
    used = [utterance for utterance in utterances if utterance.name in found]
    for utterance in used:
        unheard = not model.knows_other and any(
            model.units.other in spelling
            for word in utterance.words
            for spelling in model.units.spell(word)
        )
        if unheard:
            material.left_out[utterance.name] = "it has letters that the model has not heard"
        else:
            material.add(utterance, found[utterance.name], model.units, config)
    return material


def _shuffled(utterances: Sequence[SpokenText], config: BoundaryConfig) -> list[SpokenText]:
    generator = torch.Generator().manual_seed(config.seed)
    return [utterances[i] for i in torch.randperm(len(utterances), generator=generator).tolist()]


def _with_bandwidth(utterances: Sequence[SpokenText], config: BoundaryConfig) -> BoundaryConfig:
    """The configuration without the bands above what most recordings hold, by some of them."""
    heard: list[tuple[Tensor, int]] = []
    for utterance in utterances[:_HEARD_FOR_BANDWIDTH]:
        try:
            heard.append(utterance.load())
        except (OSError, ValueError, RuntimeError):
            continue  # whoever reads all of them says so
        if sum(len(samples) / rate for samples, rate in heard) > _SECONDS_FOR_BANDWIDTH:
            break
    highest = bandwidth(heard)
    if highest is None or highest >= config.high_hz:
        return config
    _log.info("the recordings hold no speech above %.0f Hz", highest)
    return replace(config, high_hz=max(highest, config.low_hz + _LEAST_BANDWIDTH))


def _read(
    utterances: Sequence[SpokenText], config: BoundaryConfig, *, fitted: bool = True
) -> tuple[BoundaryConfig, dict[str, Tensor] | None, dict[str, str]]:
    """Features by name; None where a recording has fewer bands than the configuration, with one that fits.

    With a configuration that is not to be fitted such a recording is left out.
    """
    found: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    seconds = 0.0
    for utterance in utterances:
        if seconds > config.hours * 3600:
            break
        if not utterance.words:
            left_out[utterance.name] = "no words"
            continue
        try:
            samples, rate = utterance.load()
            if fitted and (narrower := fitted_config(config, [rate])) != config:
                return narrower, None, {}
            found[utterance.name] = log_mel(samples, rate, config)
        except (OSError, ValueError, RuntimeError) as fault:
            left_out[utterance.name] = str(fault)
            continue
        seconds += len(samples) / rate
    return config, found, left_out
