"""Training a boundary model on recordings alone: equal shares, then rounds of finding and learning."""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.gaussians import cepstra, fit_gaussians
from espnet_ottc.alignment.boundary.graph import columns_of
from espnet_ottc.alignment.boundary.material import Material, SpokenText, prepare
from espnet_ottc.alignment.boundary.mixtures import MixtureNetwork, fit_mixtures
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.start import flat_start
from espnet_ottc.alignment.boundary.units import Pronunciations, Units
from espnet_ottc.ops.chains import best_paths, sum_paths
from espnet_ottc.utils.files import written_aside

_log = logging.getLogger(__name__)
_FRAMES_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Round:
    """What a round of the training came to.

    Attributes:
        stage: from 0.
        number: from 0, within the stage.
        loss: mean cross-entropy of its last epoch, nats.
        score: mean score of a frame on the best path that it learned from; None for the flat start, which
            has no scores.
        moved: share of the frames whose state is another than a round before; None likewise.
    """

    stage: int
    number: int
    loss: float
    score: float | None = None
    moved: float | None = None


@dataclass(eq=False)
class _State:
    """Where a training stands; all of it is in the checkpoint."""

    stage: int
    number: int
    columns: Tensor  # (all frames,) int64: the states learned last
    network: BoundaryNetwork
    optimizer: torch.optim.Optimizer
    log_prior: Tensor
    stays: Tensor  # (columns,)
    history: list[Round]


def train_boundary_model(
    utterances: Sequence[SpokenText],
    config: BoundaryConfig,
    *,
    lexicon: Pronunciations | None = None,
    checkpoint: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> tuple[BoundaryModel, list[Round]]:
    """Train a boundary model from a flat start.

    Deterministic for the same utterances, configuration and number of threads, interrupted or not.

    Args:
        utterances: recordings with their texts.
        config: of the model and its training; recordings of a low rate lower its bands.
        lexicon: pronunciations; None spells by letters.
        checkpoint: a file that is written after each round, and gone on from where it is there.
        on_round: is told of each round that ends.

    Returns:
        The model and its rounds; a model of Gaussians has none, and no checkpoint.

    Raises:
        ValueError: no utterance that can be learned from; a checkpoint of another training.
    """
    material, units, config = prepare(utterances, config, lexicon)
    if not material.names:
        reasons = "; ".join(f"{u}: {why}" for u, why in [*material.left_out.items()][:3])
        raise ValueError(
            f"no utterance can be learned from ({reasons})" if reasons else "no utterances"
        )
    for name, why in material.left_out.items():
        _log.warning("%s takes no part in the training: %s", name, why)
    training = _Training(material, units, config)
    if config.mixture:
        return training.classical(), []
    state = training.begin() if checkpoint is None else training.resume(checkpoint)
    while state.stage < len(config.stages):
        done = training.round(state)
        state.history.append(done)
        _log.info("%s", done)
        if on_round is not None:
            on_round(done)
        training.advance(state, done)
        if checkpoint is not None:
            training.keep(state, checkpoint)
    model = BoundaryModel(config, units, state.network.eval(), state.log_prior, state.stays)
    return model, state.history


class _Training:
    def __init__(self, material: Material, units: Units, config: BoundaryConfig) -> None:
        self.material, self.units, self.config = material, units, config
        self.columns = columns_of(len(units.names), config)
        self.lengths = [len(x) for x in material.features]
        self.frames = torch.cat(material.features)
        ends = torch.tensor(self.lengths).cumsum(0)
        self.first = (ends - torch.tensor(self.lengths)).repeat_interleave(
            torch.tensor(self.lengths)
        )
        self.last = (ends - 1).repeat_interleave(torch.tensor(self.lengths))
        self.groups = _groups(self.lengths)

    def begin(self) -> _State:
        """The flat start, made better by Gaussians."""
        state = self.flat()
        if self.config.gaussian_rounds:
            features = [cepstra(x) for x in self.material.features]
            hard = torch.nn.functional.one_hot(state.columns, self.columns).float()

            def expect(scores: Sequence[Tensor]) -> Tensor:
                columns, occupancy, _ = self.find(state, scores, all_paths=True)
                state.columns = columns
                state.stays = self.stays_of(columns)
                return occupancy

            fit_gaussians(features, hard, self.config.gaussian_rounds, expect)
        return state

    def flat(self) -> _State:
        """The flat start alone."""
        pieces = [
            graph.chain.columns.long()[flat_start(x, graph, self.config)]
            for x, graph in zip(self.material.features, self.material.graphs, strict=True)
        ]
        return self.empty(torch.cat(pieces))

    def classical(self) -> BoundaryModel:
        """A model of Gaussians alone, from the flat start on."""
        state = self.flat()
        network = MixtureNetwork(self.config, self.columns)
        counts = torch.bincount(state.columns, minlength=self.columns).float()

        def expect(scores: Sequence[Tensor]) -> Tensor:
            nonlocal counts
            columns, occupancy, score = self.find(state, scores, all_paths=True)
            _log.info("%d Gaussians: %.3f a frame", network.weights.shape[1], score)
            if self.config.durations:
                state.stays = self.stays_of(columns)
            counts = occupancy.sum(0)
            return occupancy

        hard = torch.nn.functional.one_hot(state.columns, self.columns).float()
        fit_mixtures(network, self.material.features, hard, self.config, expect)
        counts = counts + self.config.prior_floor
        network.log_prior = (counts / counts.sum()).log()
        return BoundaryModel(self.config, self.units, network, network.log_prior, state.stays)

    def empty(self, columns: Tensor) -> _State:
        """A training that has not begun."""
        network, optimizer = self.fresh(0)
        stays = torch.full((self.columns,), self.config.stay)
        return _State(0, 0, columns, network, optimizer, torch.zeros(self.columns), stays, [])

    def fresh(self, stage: int) -> tuple[BoundaryNetwork, torch.optim.Optimizer]:
        """A new network for a stage, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed * 1000 + stage)
            network = BoundaryNetwork(self.config, self.config.stages[stage].context, self.columns)
        return network, torch.optim.AdamW(
            network.parameters(), self.config.learning_rate, weight_decay=self.config.weight_decay
        )

    def round(self, state: _State) -> Round:
        """Find the states with what is known, and learn them."""
        stage = self.config.stages[state.stage]
        score = moved = None
        targets: Tensor = state.columns
        if state.history:
            columns, targets, score = self.search(state, stage)
            if self.config.durations:
                state.stays = self.stays_of(columns)
            moved = float((columns != state.columns).float().mean())
            state.columns = columns
            if state.number == 0 and self.is_new(state.stage):
                state.network, state.optimizer = self.fresh(state.stage)
        fold = self.fold(stage)
        if targets.dim() == 1:
            targets = fold[targets]
            counts = torch.bincount(targets, minlength=self.columns).float()
        else:
            targets = torch.zeros_like(targets).index_add_(1, fold, targets)
            counts = targets.sum(0)
        counts = counts + self.config.prior_floor
        state.log_prior = (counts / counts.sum()).log()[fold]
        loss = self.learn(state, stage, targets)
        return Round(state.stage, state.number, loss, score, moved)

    def is_new(self, stage: int) -> bool:
        """Whether a stage begins with a new network: it sees more or less, or other units."""
        before, here = self.config.stages[stage - 1], self.config.stages[stage]
        return before.context != here.context or before.pooled != here.pooled

    def fold(self, stage: Stage) -> Tensor:
        """(columns,) the column that stands for each in a stage."""
        if not stage.pooled:
            return torch.arange(self.columns)
        states = self.config.states
        pooled = torch.tensor(self.units.pooled())
        units = (
            torch.arange(self.columns)
            .div(states, rounding_mode="floor")
            .clamp(max=self.units.silence)
        )
        return pooled[units] * states + torch.arange(self.columns) - units * states

    def search(self, state: _State, stage: Stage) -> tuple[Tensor, Tensor, float]:
        """The columns of the best paths, what to learn, and the mean score of a frame."""
        state.network.eval()
        scale = stage.scale + (1 - stage.scale) * min(state.number / max(stage.rounds - 1, 1), 1)
        # the network may be that of the stage before
        previous = self.config.stages[state.history[-1].stage]
        fold = self.fold(previous)
        scores = (
            state.network.log_probs(x)[:, fold] - state.log_prior for x in self.material.features
        )
        return self.find(state, scores, all_paths=stage.target == "sum", scale=scale)

    def find(
        self, state: _State, scores: Iterable[Tensor], *, all_paths: bool, scale: float = 1.0
    ) -> tuple[Tensor, Tensor, float]:
        """The columns of the best paths; these or, of all paths, occupancies; the mean score of a frame."""
        columns, targets, total = [], [], 0.0
        coming = iter(scores)
        for group in self.groups:
            graphs = [self.material.graphs[i] for i in group]
            if self.config.durations:
                graphs = [graph.with_stays(state.stays) for graph in graphs]
            chains = [graph.chain for graph in graphs]
            here = list(itertools.islice(coming, len(group)))
            found = best_paths(here, chains, scale=scale)
            total += float(found.totals.sum()) / scale
            for chain, path in zip(chains, found.states, strict=True):
                # whoever has enough frames has a path
                assert path is not None
                columns.append(chain.columns.long()[path])
            if all_paths:
                targets += sum_paths(here, chains, scale=scale, occupancies=True).occupancies
        hard = torch.cat(columns)
        return hard, torch.cat(targets) if targets else hard, total / len(self.frames)

    def stays_of(self, columns: Tensor) -> Tensor:
        """(columns,) probability of staying in each state, from how long they last.

        A state that begins anew behind itself counts as one that stays; that is rare.
        """
        config, first = self.config, torch.ones(len(columns), dtype=torch.bool)
        first[1:] = (columns[1:] != columns[:-1]) | (self.first[1:] != self.first[:-1])
        visits = torch.bincount(columns[first], minlength=self.columns).float()
        frames = torch.bincount(columns, minlength=self.columns).float()
        # so many visits as the unlearned probability has them are counted besides
        visits = visits + config.prior_floor
        frames = frames + config.prior_floor / (1 - config.stay)
        longest = 1 - visits / frames
        odds = torch.logit(longest.clamp(0.01, 0.99))
        return torch.sigmoid(odds * config.durations + (1 - config.durations) * _logit(config.stay))

    def learn(self, state: _State, stage: Stage, targets: Tensor) -> float:
        """Train the network; returns the mean loss of the last epoch."""
        config, network, F = self.config, state.network, len(self.frames)
        network.train()
        steps, epochs = config.steps_and_epochs(stage, F)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            state.optimizer, config.learning_rate, total_steps=epochs * steps + 1
        )
        offsets = torch.arange(-stage.context, stage.context + 1)
        loss = math.nan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 100_003 + state.stage * 1009 + state.number)
            for _ in range(epochs):
                total = 0.0
                for chosen in torch.randperm(F).tensor_split(steps):
                    places = chosen[:, None] + offsets
                    places = places.clamp(self.first[chosen, None], self.last[chosen, None])
                    seen = self.frames[places].flatten(1)
                    if config.noise:
                        seen = seen + config.noise * torch.randn_like(seen)
                    log_probs = network(seen)
                    mean = _cross_entropy(log_probs, targets[chosen])
                    state.optimizer.zero_grad()
                    mean.backward()
                    state.optimizer.step()
                    schedule.step()
                    total += mean.item() * len(chosen)
                loss = total / F / config.networks
        return loss

    def advance(self, state: _State, done: Round) -> None:
        """To the next round, or to the next stage where this one is settled or at its end."""
        settled = done.moved is not None and done.moved < self.config.settled
        state.number += 1
        # scores that still grow sharper are not settled
        annealing = self.config.stages[state.stage].scale != 1
        if state.number >= self.config.stages[state.stage].rounds or (settled and not annealing):
            state.stage, state.number = state.stage + 1, 0

    def keep(self, state: _State, path: Path) -> None:
        """Write all that the next round needs."""
        content = {
            "training": self.key(),
            "stage": state.stage,
            "number": state.number,
            "columns": state.columns,
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "log_prior": state.log_prior,
            "stays": state.stays,
            "history": [vars(done) for done in state.history],
        }
        with written_aside(path) as aside:
            torch.save(content, aside)

    def resume(self, path: Path) -> _State:
        """Where a checkpoint stopped; the beginning where there is none."""
        if not path.exists():
            return self.begin()
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.get("training") != self.key():
            raise ValueError(
                f"{path} is of another training: other recordings, texts or settings; remove it to begin anew"
            )
        history = [Round(**done) for done in content["history"]]
        network, optimizer = self.fresh(history[-1].stage)
        network.load_state_dict(content["network"])
        optimizer.load_state_dict(content["optimizer"])
        return replace(
            self.empty(content["columns"]),
            stage=content["stage"],
            number=content["number"],
            network=network,
            optimizer=optimizer,
            log_prior=content["log_prior"],
            stays=content["stays"],
            history=history,
        )

    def key(self) -> dict[str, Any]:
        """What a checkpoint must agree in."""
        return {
            "config": str(self.config),
            "names": list(self.material.names),
            "lengths": list(self.lengths),
            "units": [list(graph.units) for graph in self.material.graphs],
        }


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Sum over the members of the mean over frames; targets are columns or probabilities."""
    if targets.dim() == 1:
        index = targets.expand(len(log_probs), -1)[:, :, None]
        return -log_probs.gather(2, index).mean(1).sum()
    return -(log_probs * targets).sum(2).mean(1).sum()


def _groups(lengths: Sequence[int]) -> list[list[int]]:
    """Utterances for one search each, so that scores never lie in memory for all of them."""
    groups: list[list[int]] = [[]]
    frames = 0
    for i, length in enumerate(lengths):
        if groups[-1] and frames + length > _FRAMES_AT_ONCE:
            groups.append([])
            frames = 0
        groups[-1].append(i)
        frames += length
    return groups
