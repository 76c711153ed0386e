"""Own texts against those of others, on speech that was not learned from."""

import pytest
from tone_words import RATE, SpokenText, small_config, spoken

from espnet_ottc.alignment.boundary.convergence import Convergence, check_convergence
from espnet_ottc.alignment.boundary.held_out import own_text_preferred
from espnet_ottc.alignment.boundary.training import train_boundary_model


def _trained(numbers: list[int], texts: list[int], count: int = 4) -> Convergence:
    """How well a model fits recordings with these texts, that has learned them."""
    said = [
        SpokenText(
            f"r{number}",
            tuple(spoken(text, count)[1]),
            lambda number=number: (spoken(number, count)[0], RATE),
        )
        for number, text in zip(numbers, texts, strict=True)
    ]
    model, _ = train_boundary_model(said, small_config())
    heard = [model.features(*one.load()) for one in said]
    return check_convergence(model, heard, [one.words for one in said])


@pytest.mark.parametrize("count", [8, 16])
def test_right_texts_fit_their_own_speech_better_than_others_and_wrong_ones_do_not(
    count: int,
) -> None:
    numbers = [*range(count)]
    right, wrong = _trained(numbers, numbers), _trained(numbers, [*numbers[5:], *numbers[:5]])
    assert right.preferred == 1.0
    assert right.converged
    # What was known of it before speaks for it.
    assert wrong.contrast > 0.05
    assert wrong.unsupported == 0.0
    assert wrong.preferred is not None
    assert wrong.preferred < 0.8
    assert not wrong.converged


def test_of_long_recordings_the_first_words_are_compared() -> None:
    numbers = [*range(6)]
    right = _trained(numbers, numbers, count=80)
    wrong = _trained(numbers, [*numbers[1:], 0], count=80)
    assert right.preferred == 1.0
    assert wrong.preferred is not None
    assert wrong.preferred < 0.8


def test_where_all_say_the_same_or_there_is_one_recording_nothing_is_compared() -> None:
    assert _trained([1], [2]).preferred is None
    assert _trained([1, 1, 1], [1, 1, 1]).preferred is None
    assert own_text_preferred([]) is None
    assert Convergence(1.0, 0.0, 0.0, 3, None).converged
