"""What a boundary model is made of and how it is trained: one frozen dataclass, kept beside the model."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

STARTS = ("loud", "equal")
TARGETS = ("best", "sum")
# Very little speech that is seen more often is learned by heart, whatever its text.
_MOST_EPOCHS = 5
# Of a step where letters have neighbours: fewer frames where there would be few steps.
_FRAMES_IN_CONTEXT, _FEWEST_IN_CONTEXT, _LEAST_STEPS_IN_CONTEXT = 1024, 128, 75


def _known(kind: Any, values: Mapping[str, Any]) -> None:
    names = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(names))}"
        )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}")


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _one_of(choices: tuple[str, ...], **values: str) -> None:
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


@dataclass(frozen=True)
class Stage:
    """Some rounds of a training: in each, the network learns the states of the frames, then finds them anew.

    Attributes:
        rounds: how often at most, > 0.
        epochs: times that the network sees each frame in a round, > 0; of little speech more, see
            `least_steps`.
        context: frames that it sees on either side, ≥ 0; another number than before starts a new network.
        target: "best", each frame learns the state of the best path; "sum", it learns the probabilities
            that the sum over all paths gives.
        scale: what the scores are multiplied by in the first round's search, > 0; it rises evenly to 1 in
            the last.
        pooled: whether letters that sound alike are one unit in this stage: vowels, stops and the like.
        neighbours: letters of a word on either side that decide what a letter sounds like, ≥ 0; needs sums,
            and no pooling.
        across_words: whether these may be letters of the words beside, where no silence is between.

    Raises:
        ValueError: a value out of range.
    """

    rounds: int = 20
    epochs: int = 2
    context: int = 0
    target: str = "sum"
    scale: float = 1.0
    pooled: bool = False
    neighbours: int = 0
    across_words: bool = False

    def __post_init__(self) -> None:
        _at_least(1, rounds=self.rounds, epochs=self.epochs)
        _at_least(0, context=self.context, neighbours=self.neighbours)
        _one_of(TARGETS, target=self.target)
        _positive(scale=self.scale)
        if self.neighbours and (self.pooled or self.target != "sum"):
            raise ValueError(f"a stage with neighbours needs sums, and no pooling; got {self}")
        if self.across_words and not self.neighbours:
            raise ValueError("across_words needs neighbours")


@dataclass(frozen=True)
class BoundaryConfig:
    """All that decides a boundary model.

    Attributes:
        window: seconds that a frame sees, > 0.
        hop: seconds from one frame to the next, > 0.
        mels: bands of its log-mel spectrum, > 0.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last; recordings of a lower rate, or whose speech ends lower, lower it.
        states: ordered states of a unit, > 0.
        silence_states: of silence, > 0; the last is the first over again, and so on inwards.  With a last
            state of its own, silence takes the words' quiet ends.
        minimum_frames: frames that a state lasts at least, > 0.
        stay: probability of staying in a state before it is learned, in (0, 1).
        durations: how much the learned probabilities of staying count, ≥ 0; 0 does not learn them.
        silence: whether words may have silence between them; at the ends it is always allowed.
        width: hidden units of a layer, > 0.
        layers: hidden layers, > 0.
        dropout: of the hidden units, in [0, 1).
        noise: standard deviation of the noise that features get while they are learned, ≥ 0.
        networks: trained side by side from other random numbers; their scores are averaged.
        mixture: Gaussians of each state's cepstra in place of the networks, a power of two: a classical
            GMM-HMM, which `gaussian_rounds` train before each doubling; 0 for networks.
        narrow_epochs: of a further network, of units alone, that learns where the others found them, ≥ 0;
            its scores and theirs are averaged.  0 for none; Gaussians never have one.
        narrow_context: frames on either side that it sees, ≥ 0.
        stages: of the training, one after the other; the first is without neighbours, and all others that
            have some have as many.
        start: "loud" shares the frames between the first loud one and the last out evenly, and leaves the
            others to silence; "equal" shares all of them.
        gaussian_rounds: of expectation-maximisation with a Gaussian for each state, from the shares on and
            before any network, ≥ 0.
        batch_frames: frames of a step, > 0.
        least_steps: steps of a round, > 0, for which little speech is seen more often: up to five times, if
            its stage does not say more.
        most_steps: steps of an epoch, > 0; of more speech each step takes more frames.
        learning_rate: the largest of a round's, > 0.
        weight_decay: of AdamW, ≥ 0.
        prior_floor: frames that every state is counted to have at least, > 0.
        settled: a stage ends when a round moves less than this share of the frames, in [0, 1).
        least_count: units that are heard less often are taken together, ≥ 0.
        own_uses: how often a word is heard at least whose letters are units of their own, > 0.
        own_units: how many of these there are at most, of the words that are heard most often, ≥ 0.
        change_score: what a path loses where a word or a silence begins while the sound stays much as it is,
            for each standard deviation that it changes less there, nats ≥ 0; see `changes`.
        quiet_score: what silence gains on each frame well inside a stretch as quiet as the recording's
            quietest sound, nats ≥ 0.
        learns_quiet: whether it gains that in the training's searches, too.
        wide_share: share of a wide model's log-probabilities that is added to the scores, ≥ 0.
        boundary_scale: what scores are multiplied by where boundaries' probabilities are computed, > 0.
        interval_scale: likewise for the intervals that hold boundaries, > 0; neighbouring frames say the
            same again, so that probabilities at scale 1 are too sure.
        interval_margin: seconds by which intervals are longer on either side, ≥ 0.
        median: whether a boundary is the median of its probability, instead of the best path's.
        start_shift: seconds by which a start behind silence is later than found, ≥ 0: a window meets a sound
            before its centre does.
        end_shift: seconds by which an end before silence is earlier than found, ≥ 0.
        join_shift: seconds by which the boundary of two words without silence between them is earlier than
            found, ≥ 0.
        hours: of all recordings at most so many are learned from, > 0.
        seed: of all random numbers.

    Raises:
        ValueError: a value out of range.
    """

    window: float = 0.015
    hop: float = 0.010
    mels: int = 40
    low_hz: float = 60.0
    high_hz: float = 7600.0
    states: int = 3
    silence_states: int = 3
    minimum_frames: int = 1
    stay: float = 0.7
    durations: float = 0.0
    silence: bool = True
    width: int = 192
    layers: int = 1
    dropout: float = 0.0
    noise: float = 0.5
    networks: int = 1
    mixture: int = 0
    narrow_epochs: int = 0
    narrow_context: int = 0
    stages: tuple[Stage, ...] = (Stage(),)
    start: str = "loud"
    gaussian_rounds: int = 0
    batch_frames: int = 512
    least_steps: int = 140
    most_steps: int = 160
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    prior_floor: float = 10.0
    settled: float = 0.002
    least_count: int = 10
    own_uses: int = 50
    own_units: int = 150
    change_score: float = 2.0
    quiet_score: float = 3.0
    learns_quiet: bool = True
    wide_share: float = 0.1
    boundary_scale: float = 1.0
    interval_scale: float = 0.3
    interval_margin: float = 0.0075
    median: bool = True
    start_shift: float = 0.003
    end_shift: float = 0.003
    join_shift: float = 0.0
    hours: float = 2.0
    seed: int = 1

    def __post_init__(self) -> None:
        _positive(window=self.window, hop=self.hop, high_hz=self.high_hz)
        _positive(learning_rate=self.learning_rate, prior_floor=self.prior_floor)
        _positive(boundary_scale=self.boundary_scale, hours=self.hours)
        _positive(interval_scale=self.interval_scale)
        _at_least(0, interval_margin=self.interval_margin)
        _at_least(0, start_shift=self.start_shift, end_shift=self.end_shift)
        _at_least(0, join_shift=self.join_shift)
        _at_least(1, mels=self.mels, states=self.states, silence_states=self.silence_states)
        _at_least(1, minimum_frames=self.minimum_frames, width=self.width, layers=self.layers)
        _at_least(
            1, networks=self.networks, batch_frames=self.batch_frames, stages=len(self.stages)
        )
        _at_least(1, own_uses=self.own_uses)
        _at_least(0, own_units=self.own_units)
        _at_least(1, least_steps=self.least_steps, most_steps=self.most_steps)
        _at_least(0, weight_decay=self.weight_decay, least_count=self.least_count)
        _at_least(0, noise=self.noise, gaussian_rounds=self.gaussian_rounds)
        _at_least(0, durations=self.durations, wide_share=self.wide_share, low_hz=self.low_hz)
        _at_least(0, quiet_score=self.quiet_score, change_score=self.change_score)
        _one_of(STARTS, start=self.start)
        _at_least(0, mixture=self.mixture)
        _at_least(0, narrow_epochs=self.narrow_epochs, narrow_context=self.narrow_context)
        if self.mixture & (self.mixture - 1) or (self.mixture and not self.gaussian_rounds):
            raise ValueError(
                f"mixture must be a power of two, with gaussian_rounds; got {self.mixture} and "
                f"{self.gaussian_rounds}"
            )
        neighbours = [stage.neighbours for stage in self.stages]
        if neighbours[0] or neighbours != sorted(neighbours) or len({*neighbours} - {0}) > 1:
            raise ValueError(
                "the first stage must have no neighbours, and the others as many once one has some; "
                f"got {neighbours}"
            )
        if any(neighbours) and self.networks > 1:
            raise ValueError(f"neighbours need one network, got {self.networks}")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz must be below high_hz, got {self.low_hz} and {self.high_hz}")
        for name, value, open_below in (
            ("stay", self.stay, True),
            ("dropout", self.dropout, False),
            ("settled", self.settled, False),
        ):
            if not 0 <= value < 1 or (open_below and value == 0):
                raise ValueError(
                    f"{name} must lie in {'(' if open_below else '['}0, 1), got {value}"
                )

    @property
    def context(self) -> int:
        """Frames on either side that the finished network sees."""
        return self.stages[-1].context

    @property
    def neighbours(self) -> int:
        """Letters on either side that the finished network knows; Gaussians know none."""
        return 0 if self.mixture else self.stages[-1].neighbours

    @property
    def across_words(self) -> bool:
        """Whether the finished network knows letters of the words beside."""
        return self.neighbours > 0 and self.stages[-1].across_words

    @property
    def narrow(self) -> Stage | None:
        """How the network of units alone learns, where there is one."""
        if self.mixture or not self.narrow_epochs:
            return None
        return Stage(rounds=1, epochs=self.narrow_epochs, context=self.narrow_context)

    def steps_and_epochs(self, stage: Stage, frames: int) -> tuple[int, int]:
        """The steps of an epoch, and the epochs of a round.

        Args:
            stage: of the training.
            frames: of all recordings.
        """
        if stage.neighbours:
            # Steps with more frames have more letters to tell apart, too.
            most, fewest = frames // _FRAMES_IN_CONTEXT, frames // _FEWEST_IN_CONTEXT
            return max(most, min(fewest, _LEAST_STEPS_IN_CONTEXT), 1), stage.epochs
        steps = min(max(frames // self.batch_frames, 1), self.most_steps)
        more = min(math.ceil(self.least_steps / steps), _MOST_EPOCHS)
        return steps, max(stage.epochs, more)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "BoundaryConfig":
        """From `to_json`.

        Raises:
            ValueError: unknown names, or values out of range.
        """
        values = dict(content)
        _known(cls, values)
        if "stages" in values:
            for stage in values["stages"]:
                _known(Stage, stage)
            values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
        return cls(**values)
