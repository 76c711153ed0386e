"""Where the sound changes, and boundaries of words that come to lie there."""

import pytest
import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import align_features
from espnet_ottc.alignment.boundary.change import changes
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.graph import columns_of
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.units import Units

MELS = 12


def _sounds(*lengths: int) -> Tensor:
    """Frames of sounds that stay as they are, each another."""
    generator = torch.Generator().manual_seed(2)
    return torch.cat([torch.randn(MELS, generator=generator).expand(n, MELS) for n in lengths])


@pytest.mark.parametrize(("window", "reach"), [(0.010, 1), (0.015, 2), (0.025, 3)])
def test_a_boundary_loses_nothing_where_the_sound_changes_and_most_where_it_stays(
    window: float, reach: int
) -> None:
    config = BoundaryConfig(window=window, change_score=2.0)
    found = changes(_sounds(20, 20, 20), config)
    assert found.shape == (60,)
    assert found[[20, 40]].eq(0).all()
    assert found[0] == 0
    far = torch.ones(60, dtype=torch.bool)
    for change in (20, 40):
        far[change - reach + 1 : change + reach] = False
    far[0] = False
    assert found[far].eq(found[far][0]).all()
    assert -2.0 * 2.5 <= float(found[far][0]) < -0.5
    assert found[~far][1:].gt(found[far][0]).all()


def test_the_loss_has_the_distances_of_the_means_in_standard_deviations() -> None:
    features = torch.randn(30, MELS, generator=torch.Generator().manual_seed(4))
    found = changes(features, BoundaryConfig(window=0.015, change_score=1.5))
    distances = []
    for t in range(1, 30):
        before, behind = features[max(t - 2, 0) : t].mean(0), features[t : t + 2].mean(0)
        distances.append(float((behind - before).square().mean().sqrt()))
    mean = sum(distances) / 29
    deviation = (sum((one - mean) ** 2 for one in distances) / 29) ** 0.5
    slow = [1.5 * (min(max((one - mean) / deviation, -2.0), 0.5) - 0.5) for one in distances]
    assert found.tolist() == pytest.approx([0.0, *slow], abs=1e-5)


@pytest.mark.parametrize("features", [torch.zeros(1, MELS), torch.zeros(7, MELS)])
def test_a_frame_alone_and_a_sound_that_never_changes_are_no_trouble(features: Tensor) -> None:
    found = changes(features, BoundaryConfig(change_score=1.0))
    assert found.shape == (len(features),)
    assert found.isfinite().all()


def test_without_a_score_nothing_is_lost() -> None:
    assert not changes(_sounds(20, 20), BoundaryConfig(change_score=0.0)).any()


@pytest.mark.parametrize("change_score", [0.0, 6.0])
def test_words_that_sound_alike_to_the_model_begin_where_the_sound_changes(
    change_score: float,
) -> None:
    config = BoundaryConfig(mels=MELS, change_score=change_score, join_shift=0.0, silence=False)
    units = Units(("a", "b", "c", "d"), None)
    columns = columns_of(len(units.names), config)
    network = BoundaryNetwork(config, 0, columns)
    with torch.no_grad():  # each frame is everything alike, but for silence
        for parameter in network.parameters():
            parameter.zero_()
        network.members[0][-1].bias[-2:] = -20.0
    model = BoundaryModel(
        config, units, network.eval(), torch.zeros(columns), torch.full((columns,), 0.7)
    )
    # Equal shares of the frames would be 25 each.
    found = align_features(model, _sounds(10, 40, 30, 20), ["a", "b", "c", "d"], 1.0)
    assert not isinstance(found, str)
    starts = [span.start for span in found.words[1:]]
    if change_score:
        assert starts == pytest.approx([0.1, 0.5, 0.8], abs=0.008)
    else:
        assert starts != pytest.approx([0.1, 0.5, 0.8], abs=0.05)
