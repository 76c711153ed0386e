"""A network of units alone beside the others: it sees less of each frame, and says when."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tone_words import RATE, aligned, small_config, spoken

from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.training import train_boundary_model

WIDE = 3
IN_CONTEXT = (
    Stage(rounds=3, epochs=3, context=WIDE),
    Stage(rounds=2, epochs=3, context=WIDE, neighbours=2),
)
ALONE = IN_CONTEXT[:1]


def _said(numbers: range) -> list[SpokenText]:
    said = []
    for number in numbers:
        samples, words, _ = spoken(number)
        said.append(SpokenText(f"r{number}", tuple(words), lambda one=samples: (one, RATE)))  # type: ignore[misc]
    return said


def _config(stages: tuple[Stage, ...]) -> BoundaryConfig:
    return replace(small_config(stages=stages), narrow_epochs=4)


@pytest.fixture(scope="module", params=[IN_CONTEXT, ALONE], ids=["in context", "alone"])
def model(request: pytest.FixtureRequest) -> BoundaryModel:
    return train_boundary_model(_said(range(20)), _config(request.param))[0]


def _errors(model: BoundaryModel, numbers: range) -> list[float]:
    found = []
    for one in _said(numbers):
        _, _, times = spoken(int(one.name[1:]))
        for span, (start, end) in zip(aligned(model, one).words, times, strict=True):
            found += [abs(span.start - start), abs(span.end - end)]
    return found


def test_its_scores_and_the_others_are_averaged(model: BoundaryModel) -> None:
    assert model.narrow is not None
    (one,) = _said(range(50, 51))
    features = model.features(*one.load())
    graph = model.graph(one.words, frames=len(features))
    wide = replace(model, narrow=None).scores(features, graph)
    narrow = model.narrow.log_probs(features) - model.log_prior
    of_states = narrow if graph.windows is None else narrow[:, graph.letters[:-1]]
    assert model.narrow.context == 0 < model.network.context
    # Of letters that were never heard neither says anything.
    expected = ((wide + of_states) / 2).masked_fill((wide == 0).all(0), 0.0)
    torch.testing.assert_close(model.scores(features, graph), expected)


def test_with_it_boundaries_are_sharper(model: BoundaryModel) -> None:
    with_it, without = (_errors(one, range(50, 62)) for one in (model, replace(model, narrow=None)))
    assert sum(with_it) < 0.95 * sum(without)


def test_what_sees_it_first_does_not_know_of_it(model: BoundaryModel) -> None:
    """The rounds are those of a training without it."""
    plain, _ = train_boundary_model(_said(range(20)), replace(model.config, narrow_epochs=0))
    assert plain.narrow is None
    for ours, others in zip(
        model.network.state_dict().values(), plain.network.state_dict().values(), strict=True
    ):
        assert ours.equal(others)


def test_it_is_kept_adapted_and_learned_again_after_an_interruption(
    model: BoundaryModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    for kept in (
        BoundaryModel.load(tmp_path / "model"),
        BoundaryModel.from_tensors(model.to_tensors()),
    ):
        assert kept.narrow is not None
        assert kept.to_tensors().keys() == model.to_tensors().keys()
        assert all(kept.to_tensors()[k].equal(v) for k, v in model.to_tensors().items())
    adapted, _ = train_boundary_model(_said(range(50, 56)), model.config, start=model)
    assert adapted.narrow is not None
    frames = torch.zeros(1, model.config.mels)
    assert not adapted.narrow.log_probs(frames).equal(kept.narrow.log_probs(frames))
    # A checkpoint of the last round: what is left is the network of units alone.
    checkpoint = tmp_path / "checkpoint.pt"
    first, again = (
        train_boundary_model(_said(range(20)), model.config, checkpoint=checkpoint)[0]
        for _ in range(2)
    )
    for name, value in first.to_tensors().items():
        assert again.to_tensors()[name].equal(value), name


def test_a_file_without_it_is_not_the_model_that_it_describes(
    model: BoundaryModel, tmp_path: Path
) -> None:
    replace(model, narrow=None).save(tmp_path / "model")
    with pytest.raises(ValueError, match="model: not a readable boundary model"):
        BoundaryModel.load(tmp_path / "model")


def test_gaussians_never_have_one(tmp_path: Path) -> None:
    config = replace(_config(ALONE), mixture=2, gaussian_rounds=2)
    model, _ = train_boundary_model(_said(range(6)), config)
    model.save(tmp_path / "model")
    assert BoundaryModel.load(tmp_path / "model").narrow is model.narrow is None
    with pytest.raises(ValueError, match="narrow_epochs must be at least 0, got -1"):
        replace(config, narrow_epochs=-1)
    assert math.isfinite(aligned(model, _said(range(1))[0]).score)
