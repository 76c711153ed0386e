"""Training a boundary model on recordings alone: equal shares, then rounds of finding and learning.

Rounds can go on from a model that is there, too, so that it gets to know other voices.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.adapting import adapted_config, fingerprint
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.frames import Frames
from espnet_ottc.alignment.boundary.gaussians import cepstra, fit_gaussians
from espnet_ottc.alignment.boundary.graph import UtteranceGraph, columns_of
from espnet_ottc.alignment.boundary.in_context import ContextNetwork
from espnet_ottc.alignment.boundary.material import Material, SpokenText, prepare, prepare_for
from espnet_ottc.alignment.boundary.mixtures import MixtureNetwork, fit_mixtures
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.quiet import with_quiet
from espnet_ottc.alignment.boundary.start import flat_start
from espnet_ottc.alignment.boundary.targets import Contexts, Targets, UnitTargets, likeliest
from espnet_ottc.alignment.boundary.units import Pronunciations, Units
from espnet_ottc.alignment.saved_tensors import load_tensors_alone
from espnet_ottc.ops.chains import best_paths, sum_paths
from espnet_ottc.utils.files import written_aside

_log = logging.getLogger(__name__)


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
    learned: (
        int | None
    )  # the stage that the network learned in last; None before it has learned anything
    path: Tensor  # (all frames,) int64: states of the chains, as they were learned last
    network: BoundaryNetwork | ContextNetwork
    optimizer: torch.optim.Optimizer
    log_prior: Tensor
    stays: Tensor  # (columns,)
    history: list[Round]


def train_boundary_model(
    utterances: Sequence[SpokenText],
    config: BoundaryConfig,
    *,
    lexicon: Pronunciations | None = None,
    start: BoundaryModel | None = None,
    checkpoint: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> tuple[BoundaryModel, list[Round]]:
    """Train a boundary model from a flat start, or adapt one.

    Deterministic for the same utterances, configuration and number of threads, interrupted or not.

    Args:
        utterances: recordings with their texts.
        config: of the model and its training; recordings of a low rate lower its bands.
        lexicon: pronunciations; None spells by letters.
        start: a model from which the rounds go on; the configuration is its own, as `adapted_config` has it,
            and so are the pronunciations.
        checkpoint: a file that is written after each round, and gone on from where it is there.
        on_round: is told of each round that ends.

    Returns:
        The model and its rounds; a model of Gaussians has none, and no checkpoint.

    Raises:
        ValueError: no utterance that can be learned from; a checkpoint of another training; a start from
            Gaussians.
    """
    if start is None:
        material, units, config = prepare(utterances, config, lexicon)
    else:
        units, config = start.units, adapted_config(start)
        material = prepare_for(start, utterances)
    if not material.names:
        reasons = "; ".join(f"{u}: {why}" for u, why in [*material.left_out.items()][:3])
        raise ValueError(
            f"no utterance can be learned from ({reasons})" if reasons else "no utterances"
        )
    for name, why in material.left_out.items():
        _log.warning("%s takes no part in the training: %s", name, why)
    training = _Training(material, units, config, start)
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
    network, narrow = state.network.eval(), training.narrow(state)
    model = BoundaryModel(config, units, network, state.log_prior, state.stays, narrow)
    return model, state.history


class _Training:
    def __init__(
        self,
        material: Material,
        units: Units,
        config: BoundaryConfig,
        start: BoundaryModel | None = None,
    ) -> None:
        self.material, self.units, self.config, self.start = material, units, config, start
        self.columns = columns_of(len(units.names), config)
        self.frames = Frames(material, config)

    def begin(self) -> _State:
        """The flat start, made better by Gaussians; or the model from which the training goes on."""
        if self.start is not None:
            return self.going_on(self.start)
        state = self.flat()
        if self.config.gaussian_rounds:
            features = [cepstra(x) for x in self.material.features]
            hard = torch.nn.functional.one_hot(
                self.frames.columns_of(state.path), self.columns
            ).float()

            def expect(scores: Sequence[Tensor]) -> Tensor:
                occupied: list[Tensor] = []
                state.path, _ = self.find(state, scores, self.frames.plain, occupied.extend)
                state.stays = self.stays_of(state.path)
                return torch.cat(occupied)

            fit_gaussians(features, hard, self.config.gaussian_rounds, expect)
        return state

    def flat(self) -> _State:
        """The flat start alone."""
        heard = zip(self.material.features, self.frames.plain, strict=True)
        return self.empty(torch.cat([flat_start(x, graph, self.config) for x, graph in heard]))

    def going_on(self, start: BoundaryModel) -> _State:
        """What a model knows, before the last stage."""
        stage = len(self.config.stages) - 1
        network, optimizer = self.fresh(stage)
        network.load_state_dict(start.network.state_dict())
        return replace(
            self.empty(torch.zeros(len(self.frames), dtype=torch.int64)),
            stage=stage,
            learned=stage - 1,
            network=network,
            optimizer=optimizer,
            log_prior=start.log_prior,
            stays=start.stays,
        )

    def classical(self) -> BoundaryModel:
        """A model of Gaussians alone, from the flat start on."""
        state = self.flat()
        network = MixtureNetwork(self.config, self.columns)
        columns = self.frames.columns_of(state.path)
        counts = torch.bincount(columns, minlength=self.columns).float()

        def expect(scores: Sequence[Tensor]) -> Tensor:
            nonlocal counts
            occupied: list[Tensor] = []
            path, score = self.find(state, scores, self.frames.plain, occupied.extend)
            occupancy = torch.cat(occupied)
            _log.info("%d Gaussians: %.3f a frame", network.weights.shape[1], score)
            if self.config.durations:
                state.stays = self.stays_of(path)
            counts = occupancy.sum(0)
            return occupancy

        hard = torch.nn.functional.one_hot(columns, self.columns).float()
        fit_mixtures(network, self.material.features, hard, self.config, expect)
        counts = counts + self.config.prior_floor
        network.log_prior = (counts / counts.sum()).log()
        return BoundaryModel(self.config, self.units, network, network.log_prior, state.stays)

    def empty(self, path: Tensor) -> _State:
        """A training that has not begun."""
        network, optimizer = self.fresh(0)
        stays = torch.full((self.columns,), self.config.stay)
        return _State(0, 0, None, path, network, optimizer, torch.zeros(self.columns), stays, [])

    def fresh(
        self, number: int, stage: Stage | None = None
    ) -> tuple[BoundaryNetwork | ContextNetwork, torch.optim.Optimizer]:
        """A new network for a stage, always the same."""
        config, here = self.config, stage or self.config.stages[number]
        network: BoundaryNetwork | ContextNetwork
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1000 + number)
            if here.neighbours:
                silence = self.units.silence
                network = ContextNetwork(config, here.context, here.neighbours, silence)
            else:
                network = BoundaryNetwork(config, here.context, self.columns)
        return network, torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def narrow(self, state: _State) -> BoundaryNetwork | None:
        """A network of units alone that has learned where the training at its end finds them."""
        config, end, stage = self.config, len(self.config.stages), self.config.narrow
        if stage is None:
            return None
        graphs = self.graphs(state, config.stages[-1])
        path, _ = self.find(state, self.scores(state, graphs), graphs, None)
        network, optimizer = self.fresh(end, stage)
        assert isinstance(network, BoundaryNetwork)
        if self.start is not None and self.start.narrow is not None:
            network.load_state_dict(self.start.narrow.state_dict())
        beside = replace(state, stage=end, network=network, optimizer=optimizer)
        self.learn(beside, stage, UnitTargets(self.frames.columns_of(path), self.columns))
        return network.eval()

    def round(self, state: _State) -> Round:
        """Find the states with what is known, and learn them."""
        stage = self.config.stages[state.stage]
        score = moved = None
        fold = self.fold(stage)
        if state.learned is not None:
            path, targets, score = self.search(state, stage, fold)
            if self.config.durations:
                state.stays = self.stays_of(path)
            if state.history:
                moved = float((path != state.path).float().mean())
            state.path = path
            if state.number == 0 and self.is_new(state.stage):
                state.network, state.optimizer = self.fresh(state.stage)
        else:
            targets = UnitTargets(fold[self.frames.columns_of(state.path)], self.columns)
        counts = targets.unit_counts() + self.config.prior_floor
        state.log_prior = (counts / counts.sum()).log()[fold]
        loss = self.learn(state, stage, targets)
        state.learned = state.stage
        return Round(state.stage, state.number, loss, score, moved)

    def is_new(self, stage: int) -> bool:
        """Whether a stage begins with a new network: it sees more or less, or other units."""
        before, here = self.config.stages[stage - 1], self.config.stages[stage]
        return (
            before.context != here.context
            or before.pooled != here.pooled
            or before.neighbours != here.neighbours
        )

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

    def search(self, state: _State, stage: Stage, fold: Tensor) -> tuple[Tensor, Targets, float]:
        """The best paths, what to learn, and the mean score of a frame."""
        state.network.eval()
        scale = stage.scale + (1 - stage.scale) * min(state.number / max(stage.rounds - 1, 1), 1)
        graphs = self.graphs(state, stage)
        scores = self.scores(state, graphs)
        if stage.neighbours:
            likely: list[tuple[Tensor, Tensor]] = []

            def keep(occupancies: list[Tensor]) -> None:
                likely.extend(map(likeliest, occupancies))

            path, score = self.find(state, scores, graphs, keep, scale=scale)
            return path, Contexts.of(graphs, self.config).targets(likely), score
        occupied: list[Tensor] = []
        on_sums = occupied.extend if stage.target == "sum" else None
        path, score = self.find(state, scores, graphs, on_sums, scale=scale)
        if on_sums is None:
            return path, UnitTargets(fold[self.frames.columns_of(path)], self.columns), score
        targets = torch.cat(occupied)
        folded = torch.zeros_like(targets).index_add_(1, fold, targets)
        return path, UnitTargets(folded, self.columns), score

    def graphs(self, state: _State, stage: Stage) -> Sequence[UtteranceGraph]:
        """Those of a search; letters may know the words beside theirs, as the search before joined them."""
        if not stage.neighbours:
            return self.frames.plain
        joined = stage.across_words and state.history
        return self.frames.in_context(state.path if joined else None)

    def scores(self, state: _State, graphs: Sequence[UtteranceGraph]) -> Iterator[Tensor]:
        """Of each utterance by the network as it was learned last, maybe in the stage before."""
        assert state.learned is not None
        fold = self.fold(self.config.stages[state.learned])
        heard = zip(self.material.features, self.frames.quiet, graphs, strict=True)
        for features, quiet, graph in heard:
            if isinstance(state.network, ContextNetwork):
                # no stage without neighbours follows one that has some
                assert graph.windows is not None
                found = state.network.scores(features, graph.windows)
            else:
                found = state.network.log_probs(features)[:, fold] - state.log_prior
                found = found if graph.windows is None else found[:, graph.letters[:-1]]
            yield with_quiet(found, quiet, self.config) if self.config.learns_quiet else found

    def find(
        self,
        state: _State,
        scores: Iterable[Tensor],
        graphs: Sequence[UtteranceGraph],
        on_sums: Callable[[list[Tensor]], None] | None,
        *,
        scale: float = 1.0,
    ) -> tuple[Tensor, float]:
        """The best paths, and the mean score of a frame.

        `on_sums` gets the occupancies of all paths of some utterances at a time, in their order.
        """
        paths, total = [], 0.0
        coming = iter(scores)
        for group in self.frames.groups(graphs):
            chains = [graphs[i].chain for i in group]
            if self.config.durations:
                chains = [graphs[i].with_stays(state.stays).chain for i in group]
            here = list(itertools.islice(coming, len(group)))
            found = best_paths(here, chains, scale=scale)
            total += float(found.totals.sum()) / scale
            for path in found.states:
                # whoever has enough frames has a path
                assert path is not None
                paths.append(path)
            if on_sums is not None:
                # Many columns take time to sum over, and few of the paths are far from the best.
                around = None if graphs is self.frames.plain else found.states
                on_sums(
                    sum_paths(
                        here, chains, scale=scale, occupancies=True, around=around
                    ).occupancies
                )
        return torch.cat(paths), total / len(self.frames)

    def stays_of(self, path: Tensor) -> Tensor:
        """(columns,) probability of staying in each state, from how long they last.

        A state that begins anew behind itself counts as one that stays; that is rare.
        """
        config, columns = self.config, self.frames.columns_of(path)
        first = torch.ones(len(columns), dtype=torch.bool)
        first[1:] = (columns[1:] != columns[:-1]) | self.frames.begins[1:]
        visits = torch.bincount(columns[first], minlength=self.columns).float()
        frames = torch.bincount(columns, minlength=self.columns).float()
        # so many visits as the unlearned probability has them are counted besides
        visits = visits + config.prior_floor
        frames = frames + config.prior_floor / (1 - config.stay)
        longest = 1 - visits / frames
        odds = torch.logit(longest.clamp(0.01, 0.99))
        return torch.sigmoid(odds * config.durations + (1 - config.durations) * _logit(config.stay))

    def learn(self, state: _State, stage: Stage, targets: Targets) -> float:
        """Train the network; returns the mean loss of the last epoch."""
        config, network, F = self.config, state.network, len(self.frames)
        targets.begin(network)
        network.train()
        steps, epochs = config.steps_and_epochs(stage, F)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            state.optimizer, config.learning_rate, total_steps=epochs * steps + 1
        )
        loss = math.nan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 100_003 + state.stage * 1009 + state.number)
            for _ in range(epochs):
                total = 0.0
                targets.draw()
                for chosen in torch.randperm(F).tensor_split(steps):
                    seen = self.frames.seen(chosen, stage.context)
                    if config.noise:
                        seen = seen + config.noise * torch.randn_like(seen)
                    mean = targets.loss(network, seen, chosen)
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
            "path": state.path,
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
        content = load_tensors_alone(path)
        if content.get("training") != self.key():
            raise ValueError(
                f"{path} is of another training: other recordings, texts or settings; remove it to begin anew"
            )
        history = [Round(**done) for done in content["history"]]
        network, optimizer = self.fresh(history[-1].stage)
        network.load_state_dict(content["network"])
        optimizer.load_state_dict(content["optimizer"])
        return replace(
            self.empty(content["path"]),
            stage=content["stage"],
            number=content["number"],
            learned=history[-1].stage,
            network=network,
            optimizer=optimizer,
            log_prior=content["log_prior"],
            stays=content["stays"],
            history=history,
        )

    def key(self) -> dict[str, Any]:
        """What a checkpoint must agree in."""
        begun = {} if self.start is None else {"start": fingerprint(self.start)}
        return {
            **begun,
            "config": str(self.config),
            "names": list(self.material.names),
            "lengths": list(self.frames.lengths),
            "units": [list(graph.units) for graph in self.material.graphs],
        }


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
