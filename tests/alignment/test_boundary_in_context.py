"""Letters between their neighbours: windows, scores, training on sounds that only neighbours tell, files."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tone_words import aligned, mean_error
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.convergence import check_convergence
from espnet_ottc.alignment.boundary.graph import MOST_CELLS, make_graph, spelled_graph
from espnet_ottc.alignment.boundary.in_context import ContextNetwork
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.pieces import align_alone
from espnet_ottc.alignment.boundary.targets import likeliest
from espnet_ottc.alignment.boundary.training import Round, train_boundary_model
from espnet_ottc.alignment.boundary.units import OTHER
from espnet_ottc.alignment.text.spelling import WILDCARD

RATE = 16000
LETTERS_ALONE = Stage(rounds=3, epochs=3)
CONFIG = BoundaryConfig(
    mels=20,
    width=32,
    batch_frames=256,
    gaussian_rounds=3,
    durations=1.0,
    least_count=1,
    change_score=0.0,  # the letters alone say where words begin
    stages=(LETTERS_ALONE, Stage(rounds=4, epochs=3, neighbours=1)),
)
PITCHES = {"a": 300, "b": 700, "c": 1400, "d": 2600}
# E sounds like nothing else at a word's end, and like a B at its beginning.
LAST_E = 4200


def _utterance(number: int) -> tuple[SpokenText, list[tuple[float, float]]]:
    generator = torch.Generator().manual_seed(number)
    pieces, words, times, now = [torch.zeros(3200)], [], [], 0.2
    for _ in range(4):
        inner = "".join("abcd"[int(i)] for i in torch.randperm(4, generator=generator)[:3])
        word = f"e{inner}e"
        start = now
        pitches = [700, *(PITCHES[letter] for letter in inner), LAST_E]
        for pitch in pitches:
            count = round((0.06 + 0.08 * float(torch.rand((), generator=generator))) * RATE)
            pieces.append(0.3 * torch.sin(2 * math.pi * pitch * torch.arange(count) / RATE))
            now += count / RATE
        words.append(word)
        times.append((start, now))
    samples = torch.cat([*pieces, torch.zeros(3200)])
    samples = samples + 0.003 * torch.randn(len(samples), generator=generator)
    return SpokenText(f"utt{number}", tuple(words), lambda: (samples, RATE)), times


UTTERANCES = [_utterance(i)[0] for i in range(16)]


@pytest.fixture(scope="module")
def trained() -> tuple[BoundaryModel, list[Round]]:
    return train_boundary_model(UTTERANCES, CONFIG)


def _error(model: BoundaryModel) -> float:
    return mean_error(model, map(_utterance, range(100, 106)))


def test_a_letter_stands_between_those_of_its_word() -> None:
    # Units 0 to 3, silence 4, anything 5; the second word has two spellings.
    config = BoundaryConfig(states=2)
    graph = make_graph([[[0, 1, 0]], [[2], [3, 5]]], 4, config, neighbours=1)
    assert graph.windows is not None
    assert graph.windows.tolist() == [[4, 0, 1], [0, 1, 0], [1, 0, 4], [4, 2, 4], [4, 3, 5]]
    assert graph.units == (0, 1, 0, 2, 3, 5)
    assert graph.letters.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10]
    plain = make_graph([[[0, 1, 0]], [[2], [3, 5]]], 4, config)
    assert graph.without_neighbours().chain.columns.equal(plain.chain.columns)
    assert graph.letters[graph.chain.columns.long()].equal(plain.chain.columns.long())
    assert int(graph.chain.columns.max()) == len(graph.letters) - 1
    stays = torch.linspace(0.1, 0.9, 11)
    for name in ("stay", "move", "skip_scores"):
        ours, others = graph.with_stays(stays).chain, plain.with_stays(stays).chain
        assert getattr(ours, name).equal(getattr(others, name))
    hidden = make_graph([[[0, 1, 0]]], 4, config, neighbours=1, known=False)
    assert hidden.windows is not None
    assert hidden.windows.tolist() == [[5, 0, 5], [5, 1, 5]]


def test_where_scores_would_fill_the_memory_letters_are_alone() -> None:
    words = [[[k % 7, k % 5, k % 3]] for k in range(400)]
    few, many = (spelled_graph(words, 7, CONFIG, frames) for frames in (1000, MOST_CELLS // 100))
    assert few.windows is not None
    assert many.windows is not None
    assert len(few.windows) > 7 == len(many.windows)
    assert many.windows[:, [0, 2]].unique().tolist() == [8]


def test_scores_are_those_of_the_formula() -> None:
    config = replace(CONFIG, mels=4)
    torch.manual_seed(3)
    network = ContextNetwork(config, 1, 1, 3).eval()
    windows = torch.tensor([[3, 0, 1], [0, 1, 3], [4, 2, 4]])
    occupied = torch.tensor([5.0, 0, 1, 0, 2, 0, 0, 0, 1, 3, 3])
    network.refer_to(windows, occupied, torch.Generator().manual_seed(1))
    features = torch.randn(6, 4)
    found = network.scores(features, windows).double().numpy()
    assert found.shape == (6, 11)
    vectors = network.vectors(windows).detach().double().numpy()
    for frame in range(6):
        seen = [features[min(max(frame + offset, 0), 5)] for offset in (-1, 0, 1)]
        f = network.frames(torch.cat(seen)[None])[0].detach().double().numpy()
        slow = vectors[:, :-1] @ f + vectors[:, -1]
        columns = {
            (tuple(w), k): 3 * i + k for i, w in enumerate(windows.tolist()) for k in range(3)
        }
        columns |= {((3, 3, 3), k): 9 + k for k in range(2)}
        chosen = [columns[tuple(row[:-1]), row[-1]] for row in network.references.tolist()]
        assert {int(occupied[column]) for column in chosen} == {1, 2, 3, 5}
        assert np.allclose(found[frame], slow - np.log(np.exp(slow[chosen]).mean()), atol=1e-5)


def test_neighbours_tell_what_a_letter_alone_does_not(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    model, history = trained
    assert [(done.stage, done.number) for done in history] == [
        *[(0, 0), (0, 1), (0, 2)],
        *[(1, 0), (1, 1), (1, 2), (1, 3)],
    ]
    alone, _ = train_boundary_model(UTTERANCES, replace(CONFIG, stages=(LETTERS_ALONE,) * 2))
    error = _error(model)
    assert error < 0.015
    assert _error(alone) > 1.3 * error
    found = aligned(model, _utterance(100)[0])
    assert all(0 <= span.score <= 1 for span in [*found.words, *found.tokens])
    assert min(found.word_scores) > 0.5


def test_it_converged_by_its_letters_alone_and_not_on_noise(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    heard = [trained[0].features(*utterance.load()) for utterance in UTTERANCES[:8]]
    assert check_convergence(trained[0], heard, [u.words for u in UTTERANCES[:8]]).converged

    def noise(number: int) -> tuple[Tensor, int]:
        return torch.randn(24000, generator=torch.Generator().manual_seed(number)) * 0.1, RATE

    said = [
        SpokenText(u.name, u.words, lambda n=n: noise(n)) for n, u in enumerate(UTTERANCES[:12])
    ]
    model, _ = train_boundary_model(said, CONFIG)
    heard = [model.features(*utterance.load()) for utterance in said]
    assert not check_convergence(model, heard, [u.words for u in said]).converged


@pytest.mark.parametrize("across_words", [False, True])
def test_a_stopped_training_goes_on_between_neighbours(tmp_path: Path, across_words: bool) -> None:
    last = Stage(rounds=3, epochs=2, neighbours=1, across_words=across_words)
    utterances, config = UTTERANCES[:6], replace(CONFIG, stages=(Stage(rounds=1, epochs=1), last))
    model, history = train_boundary_model(utterances, config)

    class StoppedError(Exception):
        pass

    path = tmp_path / "training.pt"
    for number in (0, 1):

        def stop(done: Round, number: int = number) -> None:
            if (done.stage, done.number) == (1, number):
                raise StoppedError

        with pytest.raises(StoppedError):
            train_boundary_model(utterances, config, checkpoint=path, on_round=stop)
    again, rounds = train_boundary_model(utterances, config, checkpoint=path)
    assert rounds == history
    for name, value in model.network.state_dict().items():
        assert again.network.state_dict()[name].equal(value), name


def test_a_kept_model_gives_the_same_times(
    trained: tuple[BoundaryModel, list[Round]], tmp_path: Path
) -> None:
    model, utterance = trained[0], _utterance(200)[0]
    model.save(tmp_path / "model")
    tensors = {name: value.double() for name, value in model.to_tensors().items()}
    for again in (BoundaryModel.load(tmp_path / "model"), BoundaryModel.from_tensors(tensors)):
        assert again.config == model.config
        assert aligned(again, utterance) == aligned(model, utterance)


def test_a_recogniser_speaks_for_a_letter_whatever_is_beside_it(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    model, (utterance, times) = trained[0], _utterance(400)
    samples, rate = utterance.load()
    features = model.features(samples, rate)
    wide = torch.full((len(features), len(model.log_prior)), -12.0)
    # It hears the first word's letters for as long as the first word lasts, and quiet from there on.
    inside = round(times[0][1] * 100)
    spoken = {unit for (units,) in map(model.units.spell, utterance.words[:1]) for unit in units}
    for unit in spoken:
        wide[20:inside, 3 * unit : 3 * unit + 3] = 0.0
    wide[inside:, -2:] = 0.0
    model = replace(model, config=replace(model.config, wide_share=9.0))
    found = align_features(model, features, utterance.words[:1], len(samples) / rate, wide)
    assert isinstance(found, BoundaryAlignment)
    assert found.words[0].end == pytest.approx(times[0][1], abs=0.02)


def test_letters_that_nobody_has_heard_say_nothing_and_are_anything_beside_others(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    model = trained[0]
    assert not model.knows_other
    features = torch.randn(30, CONFIG.mels)
    graph = model.graph(["axb"])
    other = model.units.names.index(OTHER)
    assert graph.windows is not None
    assert graph.windows[:, 1].tolist() == [
        *model.units.spell("a")[0],
        other,
        *model.units.spell("b")[0],
    ]
    scores = model.scores(features, graph)
    assert bool((scores[:, 3:6] == 0).all())
    wild = model.graph([f"a{WILDCARD}b"], wildcards=True)
    assert wild.windows is not None
    assert wild.windows[0].tolist()[1:] == [*model.units.spell("a")[0], model.units.anything]
    assert scores[:, :3].allclose(model.scores(features, wild)[:, :3])


def test_a_long_utterance_is_cut_where_its_letters_alone_have_pauses(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    said = [_utterance(number) for number in range(300, 306)]
    samples = torch.cat([utterance.load()[0] for utterance, _ in said])
    words = [word for utterance, _ in said for word in utterance.words]
    model, duration = trained[0], len(samples) / RATE
    features = model.features(samples, RATE)
    whole = align_features(model, features, words, duration)
    cut = align_alone(model, features, words, duration, longest=3.0, piece=3.0)
    assert isinstance(whole, BoundaryAlignment)
    assert isinstance(cut, BoundaryAlignment)
    for one, other in zip(whole.words, cut.words, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-3)


def test_the_likeliest_states_of_a_frame_are_kept() -> None:
    columns, values = likeliest(torch.tensor([[0.1, 0.0, 0.9]]))
    assert columns[0, :2].tolist() == [2, 0]
    assert values[0].tolist() == pytest.approx([0.9, 0.1, 0.0, 0.0, 0.0, 0.0])
    many = torch.rand(5, 40, generator=torch.Generator().manual_seed(1))
    columns, values = likeliest(many)
    assert values.equal(many.sort(1, descending=True).values[:, :6])
    assert many.gather(1, columns).equal(values)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage(neighbours=1),), "the first stage must have no neighbours"),
        ((Stage(), Stage(neighbours=1), Stage(neighbours=2)), "and the others as many"),
        ((Stage(), Stage(neighbours=1), Stage()), "and the others as many"),
    ],
)
def test_stages_that_cannot_follow_each_other_are_refused(
    stages: tuple[Stage, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BoundaryConfig(stages=stages)
    with pytest.raises(ValueError, match="needs sums, and no pooling"):
        Stage(neighbours=1, target="best")
    with pytest.raises(ValueError, match="neighbours need one network"):
        BoundaryConfig(stages=(Stage(), Stage(neighbours=1)), networks=2)
