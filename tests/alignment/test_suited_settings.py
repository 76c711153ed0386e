"""Which settings a training takes by itself."""

from pathlib import Path

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
        assert config.quiet_score
        assert not config.learns_quiet
        assert config.boundary_scale < 1
    assert [stage.neighbours for stage in many.stages] == [0, 2]
    # Letters learn their words before those beside; phones learn both at once.
    phones = suited_config(FREE, lexicon=dict.fromkeys(("the", "word1"), (("a", "b"),)))
    assert [stage.neighbours for stage in free.stages] == [0, 2, 2]
    assert [stage.across_words for stage in free.stages] == [False, False, True]
    assert [stage.across_words for stage in phones.stages] == [False, True]
    assert sum(stage.rounds for stage in free.stages) == sum(
        stage.rounds for stage in phones.stages
    )
    assert not many.across_words
    # What sees several frames has a network of single ones beside it.
    assert many.narrow is None
    assert free.narrow == Stage(rounds=1, epochs=10, context=0)
    # Two recordings of whatever text are free text.
    assert suited_config([["one", "two"], ["three"]]) == free


def test_phones_of_a_lexicon_move_joints_less_and_phones_that_are_words_do_not() -> None:
    spelled = suited_config(FREE).join_shift
    pronounced = {word: (("a", "b"),) for text in FREE for word in text}
    assert suited_config(FREE, lexicon=pronounced).join_shift == spelled / 2 > 0
    assert suited_config(FREE, lexicon=pronounced).context > suited_config(FREE).context
    # One word that the lexicon lacks, or that is more than itself, makes them words.
    phones = {word: ((word,),) for text in FREE for word in text}
    assert suited_config(FREE, lexicon=phones).join_shift == 0
    del phones["the"]
    assert suited_config(FREE, lexicon=phones).join_shift == spelled / 2
    assert suited_config(FREE, {"join_shift": 0.001}, pronounced).join_shift == 0.001
    # A plain start finds no words of a few phones each.
    few = suited_config(DIGITS, lexicon={"one": (("w", "ah", "n"),)})
    assert few.gaussian_rounds == suited_config(SENTENCES).gaussian_rounds > 0
    # Phones that are words may be as quiet as silence.
    phones = {w: ((w,),) for w in DIGITS[0]}
    assert suited_config(DIGITS, lexicon=phones) == BoundaryConfig(quiet_score=0.0)


def test_the_options_name_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("the dh ah\nthe(2) dh iy\n")
    options = parse_boundary_conf({"lexicon": str(path)})
    assert options.lexicon(["the", "cat"], whole=False) == {"the": (("dh", "ah"), ("dh", "iy"))}
    assert parse_boundary_conf({}).lexicon(["the", "cat"], whole=False) is None
    with pytest.raises(ValueError, match="a lexicon says what the units are; got units 'words'"):
        parse_boundary_conf({"lexicon": str(path), "units": "words"})
    for wrong in ("", 3, ["a"]):
        with pytest.raises(ValueError, match="lexicon must be the name of a file, got"):
            parse_boundary_conf({"lexicon": wrong})


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
