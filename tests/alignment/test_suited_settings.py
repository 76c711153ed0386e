"""Which settings a training takes by itself."""

import pytest

from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.options import parse_boundary_conf
from espnet_ottc.alignment.boundary.suited import suited_config

DIGITS = [["one", "two", "three"]] * 10
SENTENCES = [[f"word{k}", "the"] for k in range(60)] * 20
FREE = [[f"word{k}", "the", f"other{k}"] for k in range(30)]


def test_a_few_words_start_plainly_more_with_gaussians_and_free_text_has_neighbours() -> None:
    assert suited_config(DIGITS) == BoundaryConfig()
    many, free = suited_config(SENTENCES), suited_config(FREE)
    assert (many.context, many.window, many.gaussian_rounds) == (0, 0.015, 16)
    assert (free.context, free.window, free.gaussian_rounds) == (2, 0.025, 16)
    assert (many.own_units, free.own_units) == (0, 0)
    for config in (many, free):
        assert [stage.neighbours for stage in config.stages] == [0, 2]
    # Two recordings of whatever text are free text.
    assert suited_config([["one", "two"], ["three"]]) == free


def test_what_is_given_goes_before_what_suits() -> None:
    given = parse_boundary_conf({"window": 0.02, "stages": [{"rounds": 3}], "seed": 5})
    for texts in (DIGITS, SENTENCES, FREE):
        config = given.suited(texts)
        assert (config.window, config.stages, config.seed) == (0.02, (Stage(rounds=3),), 5)
    assert given.suited(FREE).noise != given.suited(DIGITS).noise
    with pytest.raises(ValueError, match="hop must be a positive number"):
        suited_config(DIGITS, {"hop": 0})


@pytest.mark.parametrize(
    ("frames", "steps", "epochs"),
    [(10, 1, 5), (1_000, 10, 4), (2_000, 20, 2), (2_500, 25, 2), (1_000_000, 50, 2)],
)
def test_little_speech_is_seen_more_often_and_much_in_larger_steps(
    frames: int, steps: int, epochs: int
) -> None:
    config = BoundaryConfig(batch_frames=100, least_steps=40, most_steps=50)
    assert config.steps_and_epochs(Stage(epochs=2), frames) == (steps, epochs)


@pytest.mark.parametrize(
    ("frames", "steps"), [(10, 1), (1_280, 10), (12_800, 75), (76_800, 75), (1_024_000, 1_000)]
)
def test_letters_between_neighbours_have_steps_of_as_many_frames(frames: int, steps: int) -> None:
    stage = Stage(epochs=2, neighbours=1)
    assert BoundaryConfig().steps_and_epochs(stage, frames) == (steps, 2)
