"""Letters that know those of the word beside theirs, where no silence is between."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tone_words import RATE, aligned, mean_error, small_config
from torch import Tensor

from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.graph import UtteranceGraph, make_graph
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.training import train_boundary_model

PITCHES = {"a": 300, "b": 700, "c": 1400, "d": 2600}
# What E sounds like before a word that begins with each of them.
BEFORE = {"a": 2600, "b": 1400, "c": 700, "d": 300}
STAGES = (Stage(rounds=3, epochs=3), Stage(rounds=4, epochs=3, neighbours=1, across_words=True))
CONFIG = small_config(
    mels=20,
    durations=1.0,
    change_score=0.0,  # the letters alone say where words begin
    stages=STAGES,
)


def _path(graph: UtteranceGraph, tokens: Sequence[int]) -> Tensor:
    """A frame in each state of some units, in order; −1 for the silence behind the unit before."""
    states: list[int] = []
    for token in tokens:
        here = graph.tokens.tolist().index(token, states[-1] + 1 if states else 0)
        while here < len(graph.tokens) and int(graph.tokens[here]) == token:
            states.append(here)
            here += 1
    return torch.tensor(states)


def _windows(graph: UtteranceGraph) -> dict[int, list[int]]:
    """Of each unit its window."""
    assert graph.windows is not None
    found = {}
    for token, column in zip(graph.tokens.tolist(), graph.chain.columns.tolist(), strict=True):
        if token >= 0 and column < 2 * len(graph.windows):
            found[token] = graph.windows[column // 2].tolist()
    return found


def test_a_letter_knows_the_word_beside_where_no_silence_is_between() -> None:
    # Units 0 to 3, silence 4, anything 5; those of words beside from 6 on.  One word has two spellings.
    config = BoundaryConfig(states=2)
    words = [[[0, 1]], [[2], [3, 1]], [[0, 2]]]
    graph = make_graph(words, 4, config, neighbours=2)
    before = _windows(graph)
    # The first spelling of the second word, and silence behind it.
    found = graph.across_words(_path(graph, [-1, 0, 1, 2, -1, 5, 6]), config)
    assert _windows(found) == {
        **before,
        0: [4, 4, 0, 1, 6 + 2],
        1: [4, 0, 1, 6 + 2, 4],
        2: [6 + 0, 6 + 1, 2, 4, 4],
    }
    # The other one, and no silence at all.
    found = graph.across_words(_path(graph, [0, 1, 3, 4, 5, 6]), config)
    assert _windows(found) == {
        0: [4, 4, 0, 1, 6 + 3],
        1: [4, 0, 1, 6 + 3, 6 + 1],
        2: before[2],
        3: [6 + 0, 6 + 1, 3, 1, 6 + 0],
        4: [6 + 1, 3, 1, 6 + 0, 6 + 2],
        5: [6 + 3, 6 + 1, 0, 2, 4],
        6: [6 + 1, 0, 2, 4, 4],
    }
    # All else is as before: states, their letters, silence, anything.
    assert found.without_neighbours().chain.columns.equal(graph.without_neighbours().chain.columns)
    assert found.chain.move.equal(graph.chain.move)
    assert int(found.chain.columns.max()) == len(found.letters) - 1 - 1


def test_a_wildcard_beside_is_no_letter_and_unknown_letters_stay_alone() -> None:
    config = BoundaryConfig(states=2)
    graph = make_graph([[[0]], [[5]], [[1]]], 4, config, neighbours=1)
    found = graph.across_words(_path(graph, [0, 1, 2]), config)
    assert _windows(found) == _windows(graph)
    hidden = make_graph([[[0]], [[1]]], 4, config, neighbours=1, known=False)
    assert hidden.across_words(_path(hidden, [0, 1]), config) is hidden


def _utterance(number: int) -> tuple[SpokenText, list[tuple[float, float]]]:
    generator = torch.Generator().manual_seed(number)

    def letter() -> str:
        return "abcd"[int(torch.randint(4, (), generator=generator))]

    words = [f"{letter()}{letter()}e" for _ in range(5)]
    pieces, times, now = [torch.zeros(3200)], [], 0.2
    for word, behind in zip(words, [*words[1:], "a"], strict=True):
        start = now
        for one in word:
            pitch = BEFORE[behind[0]] if one == "e" else PITCHES[one]
            count = round((0.06 + 0.08 * float(torch.rand((), generator=generator))) * RATE)
            pieces.append(0.3 * torch.sin(2 * math.pi * pitch * torch.arange(count) / RATE))
            now += count / RATE
        times.append((start, now))
    samples = torch.cat([*pieces, torch.zeros(3200)])
    samples = samples + 0.003 * torch.randn(len(samples), generator=generator)
    return SpokenText(f"utt{number}", tuple(words), lambda: (samples, RATE)), times


UTTERANCES = [_utterance(number)[0] for number in range(24)]


def _error(model: BoundaryModel) -> float:
    return mean_error(model, map(_utterance, range(100, 110)))


def test_the_word_beside_tells_what_a_last_letter_sounds_like(tmp_path: Path) -> None:
    model, _ = train_boundary_model(UTTERANCES, CONFIG)
    within = (STAGES[0], replace(STAGES[1], across_words=False))
    alone, _ = train_boundary_model(UTTERANCES, replace(CONFIG, stages=within))
    error = _error(model)
    assert error < 0.018
    assert _error(alone) > 1.4 * error
    model.save(tmp_path / "model")
    utterance = _utterance(200)[0]
    assert aligned(BoundaryModel.load(tmp_path / "model"), utterance) == aligned(model, utterance)


def test_a_letter_that_was_not_heard_says_nothing_about_the_word_before() -> None:
    model, _ = train_boundary_model(UTTERANCES[:4], CONFIG)
    assert not model.knows_other
    features = torch.randn(40, CONFIG.mels)
    graph = model.graph(["ae", "x"])
    joined = graph.across_words(_path(graph, [0, 1, 2]), model.config)
    assert joined.windows is not None
    edge = int(joined.chain.columns[graph.tokens.tolist().index(1)])
    before = int(graph.chain.columns[graph.tokens.tolist().index(1)])
    assert joined.windows[edge // 3].tolist() != graph.windows[before // 3].tolist()  # type: ignore[index]
    scores, plain = model.scores(features, joined), model.scores(features, graph)
    assert scores[:, edge : edge + 3].allclose(plain[:, before : before + 3])


@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_model_without_neighbours_has_no_words_beside(neighbours: int) -> None:
    config = BoundaryConfig(states=2)
    graph = make_graph([[[0]], [[1]]], 4, config, neighbours=neighbours)
    assert (graph.across_words(_path(graph, [0, 1]), config) is graph) == (neighbours == 0)


def test_words_beside_need_neighbours() -> None:
    with pytest.raises(ValueError, match="across_words needs neighbours"):
        Stage(across_words=True)
    assert CONFIG.across_words
    assert not replace(CONFIG, mixture=2).across_words  # Gaussians know no neighbours
