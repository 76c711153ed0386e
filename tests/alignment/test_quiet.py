"""Stretches as quiet as a recording's quietest sound, in which no word's last letter goes on."""

from dataclasses import replace

import pytest
import torch
from tone_words import RATE, small_config, spoken
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import columns_of
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.quiet import quiet_frames, with_quiet
from espnet_ottc.alignment.boundary.training import train_boundary_model
from espnet_ottc.alignment.boundary.units import Units

MELS = 40


def _features(*pieces: tuple[int, float]) -> Tensor:
    """Bands of speech or of a room, normalised: of each piece its frames and its level."""
    generator = torch.Generator().manual_seed(0)
    bands = torch.cat(
        [level + 0.3 * torch.randn(frames, MELS, generator=generator) for frames, level in pieces]
    )
    spread, mean = torch.std_mean(bands, 0, correction=0)
    return (bands - mean) / spread


def test_the_inside_of_a_quiet_stretch_is_quiet() -> None:
    quiet = quiet_frames(_features((40, 3.0), (30, 0.0), (40, 3.0)))
    # What is smoothed is loud for two frames more at either edge; two and four are left to the words.
    assert quiet.nonzero()[:, 0].tolist() == list(range(44, 64))


@pytest.mark.parametrize(
    "pieces",
    [
        ((200, 0.0),),  # nothing but noise
        ((40, 3.0), (11, 0.0), (40, 3.0)),  # as short as a closure
        ((90, 3.0), (30, 2.0), (60, 3.0), (60, 0.0)),  # not as quiet as the quietest
        ((1, 0.0),),
    ],
)
def test_what_may_be_a_sound_is_not_quiet(pieces: tuple[tuple[int, float], ...]) -> None:
    assert not quiet_frames(_features(*pieces))[:120].any()


def test_silence_alone_gains_and_the_scores_stay_as_they_are() -> None:
    scores, quiet = torch.zeros(6, 8), torch.tensor([False, True, True, False, False, False])
    found = with_quiet(scores, quiet, BoundaryConfig(quiet_score=3.0))
    assert not scores.any()
    assert found[1:3, 6:].eq(3.0).all()
    assert found.sum() == 3.0 * 4
    assert with_quiet(scores, quiet, BoundaryConfig(quiet_score=0.0)) is scores


def test_a_last_letter_as_quiet_as_the_room_does_not_take_the_pause() -> None:
    # To the network a quiet frame is the last letter as much as silence, and rather that: see its bias.
    config = BoundaryConfig(median=False, start_shift=0.0, end_shift=0.0, width=2)
    units = Units(("a", "t"), None)
    columns = columns_of(len(units.names), config)
    network = BoundaryNetwork(config, 0, columns)
    bias = torch.zeros(columns)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, _, norm, last = network.members[0]
        norm.weight.fill_(1.0)
        first.weight[0], first.weight[1] = 1.0 / MELS, -1.0 / MELS  # loud, quiet
        last.weight[0:3, 0] = last.weight[3:6, 1] = last.weight[-2:, 1] = 8.0
        bias[3:6] = 1.0
        last.bias.copy_(bias)
    model = BoundaryModel(
        config, units, network.eval(), torch.zeros(columns), torch.full((columns,), 0.7)
    )
    heard = _features((30, 0.0), (30, 3.0), (60, 0.0), (30, 3.0))
    taken, short = (
        align_features(replace(model, config=one), heard, ["at", "a"], 1.5)
        for one in (replace(config, quiet_score=0.0), config)
    )
    assert not isinstance(taken, str)
    assert not isinstance(short, str)
    assert taken.words[0].end > 1.1
    assert 0.6 < short.words[0].end < 0.7
    # Whoever reads how well the words fit gets what the network says.
    assert short.words[1] == taken.words[1]


def test_the_training_searches_with_what_silence_gains_where_it_is_to() -> None:
    heard = []
    for number in range(6):
        samples, words, _ = spoken(number)
        heard.append(SpokenText(str(number), tuple(words), lambda samples=samples: (samples, RATE)))

    def scores(**options: float | bool) -> list[float | None]:
        """Of each round's search."""
        _, rounds = train_boundary_model(heard, small_config(**options))
        return [one.score for one in rounds]

    without = scores(quiet_score=0.0)
    assert scores(learns_quiet=False) == without
    assert scores() != without
