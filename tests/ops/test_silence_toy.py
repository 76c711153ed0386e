"""Silence that is learnt from letters alone, in a small world; a network takes 20 s of one core."""

from dataclasses import replace

import pytest
from null_training import Settings
from silence_world import NO_SILENCE, NULL, new_world, score, train

SEEDS = (1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_silence_is_found_from_letters_alone(seed: int) -> None:
    world = new_world(seed)
    found = score(train(world, seed, NULL), world)
    assert found.silence_f1 >= 0.9
    assert found.null_on_speech <= 0.02


@pytest.mark.slow
def test_without_a_null_capacity_it_is_not() -> None:
    world = new_world(1)
    assert score(train(world, 1, Settings()), world).silence_f1 <= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_where_nobody_is_silent_the_null_label_takes_next_to_nothing(seed: int) -> None:
    world = new_world(seed, **NO_SILENCE)
    assert score(train(world, seed, NULL), world).null <= 0.03


@pytest.mark.slow
def test_more_capacity_than_the_longest_letters_can_use_takes_their_frames() -> None:
    world = new_world(1, **NO_SILENCE)
    assert score(train(world, 1, replace(NULL, capacity=0.9, weight=2.0)), world).null > 0.03
