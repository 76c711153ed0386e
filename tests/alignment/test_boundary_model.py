"""The boundary model: graphs, features, training on planted sounds, files."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import torch
from lhotse import Recording as Audio
from lhotse import SupervisionSegment
from tone_words import aligned
from torch import Tensor

from espnet_ottc.aligner import boundary
from espnet_ottc.aligner.boundary import BoundaryAligner
from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.alignment.boundary import features as features_of_sound
from espnet_ottc.alignment.boundary import session
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.convergence import Convergence
from espnet_ottc.alignment.boundary.cuts import align_cuts
from espnet_ottc.alignment.boundary.features import log_mel, with_context
from espnet_ottc.alignment.boundary.graph import columns_of, make_graph
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.start import flat_start
from espnet_ottc.alignment.boundary.training import Round, train_boundary_model
from espnet_ottc.alignment.boundary.units import OTHER, Units, letters
from espnet_ottc.ops.chains import best_paths
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object

RATE = 16000
CONFIG = BoundaryConfig(
    width=32,
    batch_frames=256,
    gaussian_rounds=3,
    stages=(Stage(rounds=6, epochs=3),),
    least_count=1,
)
# Hz of a letter's sound.
PITCHES = {"a": 300, "b": 700, "c": 1400, "d": 2600, "e": 4200}


def _tone(letter: str, seconds: float) -> Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return 0.3 * torch.sin(2 * math.pi * PITCHES[letter] * time)


def _utterance(number: int) -> tuple[SpokenText, list[tuple[float, float]]]:
    """Words of tones with pauses of noise, and the words' times."""
    generator = torch.Generator().manual_seed(number)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    pieces, words, times, now = [], [], [], 0.0
    for k in range(4):
        pause = uniform(0.1, 0.3) if k % 2 == 0 else 0.0
        pieces.append(torch.zeros(round(pause * RATE)))
        now += len(pieces[-1]) / RATE
        word = "".join("abcde"[int(i)] for i in torch.randperm(5, generator=generator)[:3])
        start = now
        for letter in word:
            pieces.append(_tone(letter, uniform(0.06, 0.16)))
            now += len(pieces[-1]) / RATE
        words.append(word)
        times.append((start, now))
    pieces.append(torch.zeros(round(0.2 * RATE)))
    samples = torch.cat(pieces)
    samples = samples + 0.003 * torch.randn(len(samples), generator=generator)
    return SpokenText(f"utt{number}", tuple(words), lambda: (samples, RATE)), times


@pytest.fixture(scope="module")
def trained() -> tuple[BoundaryModel, list[Round]]:
    return train_boundary_model([_utterance(i)[0] for i in range(24)], CONFIG)


def test_planted_words_are_found_from_equal_shares_of_the_frames(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    errors, inside = [], []
    for number in range(100, 110):
        utterance, times = _utterance(number)
        found = aligned(trained[0], utterance)
        assert [span.symbol for span in found.words] == list(utterance.words)
        assert [span.symbol for span in found.tokens] == list("".join(utterance.words))
        for (start, end), span in zip(times, found.words, strict=True):
            errors += [abs(span.start - start), abs(span.end - end)]
        for (start, end), opens, closes in zip(
            times, found.start_intervals, found.end_intervals, strict=True
        ):
            inside += [opens[0] <= start <= opens[1], closes[0] <= end <= closes[1]]
        for span, opens, closes in zip(
            found.words, found.start_intervals, found.end_intervals, strict=True
        ):
            assert opens[0] <= span.start <= opens[1]
            assert closes[0] <= span.end <= closes[1]
    assert sum(errors) / len(errors) < 0.012
    assert sum(inside) / len(inside) > 0.9


def test_words_of_cuts_stay_where_they_are_about_a_long_pause(
    trained: tuple[BoundaryModel, list[Round]], tmp_path: Path
) -> None:
    (one, times), (other, later) = _utterance(100), _utterance(101)
    samples = one.load()[0]
    pause = 0.02 * torch.randn(5 * RATE, generator=torch.Generator().manual_seed(0))
    soundfile.write(tmp_path / "x.wav", torch.cat([samples, pause, other.load()[0]]).numpy(), RATE)
    cut = Audio.from_file(tmp_path / "x.wav").to_cut()
    text = " ".join((*one.words, *other.words))
    cut.supervisions = [SupervisionSegment("x", "x", 0, cut.duration, text=text)]
    found, durations = align_cuts(trained[0], [cut])
    assert durations == {cut.id: cut.duration}
    offset = len(samples) / RATE + 5
    expected = [*times, *((start + offset, end + offset) for start, end in later)]
    for span, (start, end) in zip(found.words[cut.id], expected, strict=True):
        assert span.start == pytest.approx(start, abs=0.05)
        assert span.end == pytest.approx(end, abs=0.05)
    tokens = iter(found.tokens[cut.id])
    for word in found.words[cut.id]:
        for letter, token in zip(word.symbol, tokens, strict=False):
            assert token.symbol == letter
            assert word.start - 0.02 < token.start <= token.end < word.end + 0.02


def test_intervals_are_longer_where_less_is_known(
    trained: tuple[BoundaryModel, list[Round]],
) -> None:
    utterance, _ = _utterance(500)
    samples, rate = utterance.load()
    noise = torch.randn(len(samples), generator=torch.Generator().manual_seed(1))

    def lengths(model: BoundaryModel, sound: Tensor) -> float:
        said = replace(utterance, load=lambda: (sound, rate))
        found = aligned(model, said)
        return sum(high - low for low, high in [*found.start_intervals, *found.end_intervals])

    model = trained[0]
    clear = lengths(model, samples)
    assert lengths(model, samples + 0.3 * noise) > 1.5 * clear
    wider = replace(model, config=replace(model.config, interval_margin=0.0175))
    assert 0.1 < lengths(wider, samples) - clear <= 8 * 0.02 + 1e-6


def test_scores_say_which_words_were_spoken(trained: tuple[BoundaryModel, list[Round]]) -> None:
    utterance, _ = _utterance(200)
    right = aligned(trained[0], utterance)
    wrong = aligned(trained[0], replace(utterance, words=tuple(reversed(utterance.words))))
    assert right.score > wrong.score + 0.5
    assert min(right.word_scores) > min(wrong.word_scores)


def test_a_stopped_training_goes_on_to_the_same_model(
    trained: tuple[BoundaryModel, list[Round]], tmp_path: Path
) -> None:
    utterances = [_utterance(i)[0] for i in range(24)]

    class StoppedError(Exception):
        pass

    def stop(done: Round) -> None:
        if done.number == 2:
            raise StoppedError

    path = tmp_path / "training.pt"
    with pytest.raises(StoppedError):
        train_boundary_model(utterances, CONFIG, checkpoint=path, on_round=stop)
    seen: list[Round] = []
    model, history = train_boundary_model(utterances, CONFIG, checkpoint=path, on_round=seen.append)
    assert [done.number for done in seen] == [2, 3, 4, 5]
    assert history == trained[1]
    for name, value in trained[0].network.state_dict().items():
        assert model.network.state_dict()[name].equal(value), name
    with pytest.raises(ValueError, match="of another training"):
        train_boundary_model(utterances, replace(CONFIG, seed=2), checkpoint=path)


def test_a_saved_model_gives_the_same_times(
    trained: tuple[BoundaryModel, list[Round]], tmp_path: Path
) -> None:
    model = trained[0]
    model.save(tmp_path / "model")
    loaded = BoundaryModel.load(tmp_path / "model")
    assert loaded.config == model.config
    assert loaded.units.names == model.units.names
    utterance = _utterance(300)[0]
    assert aligned(loaded, utterance) == aligned(model, utterance)
    (tmp_path / "model" / "boundary_model.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match="format"):
        BoundaryModel.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="holds no boundary model"):
        BoundaryModel.load(tmp_path)


def test_several_stages_networks_and_sums_train(tmp_path: Path) -> None:
    stages = (
        Stage(rounds=2, epochs=2, context=2, pooled=True, scale=0.3),
        Stage(rounds=3, epochs=2, target="sum"),
        Stage(rounds=2, epochs=2),
    )
    config = replace(CONFIG, stages=stages, networks=2, settled=0.0, minimum_frames=2)
    model, history = train_boundary_model([_utterance(i)[0] for i in range(24)], config)
    assert [(done.stage, done.number) for done in history] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]  # fmt: skip
    utterance, times = _utterance(400)
    found = aligned(model, utterance)
    errors = [abs(s.start - t[0]) for s, t in zip(found.words, times, strict=True)]
    assert sum(errors) / len(errors) < 0.03


def test_utterances_that_cannot_be_learned_from_are_left_out() -> None:
    def broken() -> tuple[Tensor, int]:
        raise OSError("cannot be read")

    bad = [
        SpokenText("broken", ("ab",), broken),
        SpokenText("short", ("abcde",) * 9, lambda: (torch.zeros(800), RATE)),
        SpokenText("silent", (), lambda: (torch.zeros(8000), RATE)),
        SpokenText("nan", ("ab",), lambda: (torch.full((8000,), math.nan), RATE)),
    ]
    few = replace(CONFIG, stages=(Stage(rounds=1, epochs=1),))
    train_boundary_model([*bad, _utterance(1)[0]], few)
    with pytest.raises(
        ValueError, match=r"no utterance can be learned from .*broken: cannot be read"
    ):
        train_boundary_model(bad, few)


def test_the_graph_lets_silence_be_skipped_and_chooses_among_spellings() -> None:
    config = BoundaryConfig(states=1, silence_states=1, minimum_frames=1)
    # Units 0, 1, 2 and silence 3; the second word is 1 or 2 2.
    graph = make_graph([[[0]], [[1], [2, 2]]], 3, config)
    assert graph.shortest == 2
    assert graph.word_starts == (1, 3)
    assert graph.word_ends == (2, 6)
    for spoken, words in (([0, 1], [0, 1]), ([3, 0, 3, 2, 2, 3], [-1, 0, -1, 1, 1, -1])):
        scores = torch.full((len(spoken), 4), -5.0)
        scores[range(len(spoken)), spoken] = 0.0
        (path,) = best_paths([scores], [graph.chain]).states
        assert path is not None
        assert graph.words[path].tolist() == words


def test_states_last_as_long_as_they_must() -> None:
    config = BoundaryConfig(states=2, silence_states=1, minimum_frames=3)
    graph = make_graph([[[0]]], 1, config)
    assert graph.shortest == 6
    (path,) = best_paths([torch.zeros(6, 3)], [graph.chain]).states
    assert path is not None
    assert graph.chain.columns[path].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_flat_start_leaves_quiet_ends_to_silence() -> None:
    features = torch.full((100, 4), -1.0)
    features[30:80] = 1.0
    graph = make_graph([[[0, 1]]], 2, BoundaryConfig(states=1, silence_states=1))
    words = graph.words[flat_start(features, graph, BoundaryConfig())]
    spoken = (words == 0).nonzero()[:, 0]
    assert abs(int(spoken[0]) - 30) <= 4
    assert abs(int(spoken[-1]) - 80) <= 4
    equal = graph.words[flat_start(features, graph, BoundaryConfig(start="equal"))]
    assert (equal == 0).sum() == 100 - 2 * (100 // 12)
    # Fewer frames than states is no error.
    assert len(flat_start(features[:1], graph, BoundaryConfig())) == 1


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_frames_lie_where_they_say_at_any_rate(rate: int) -> None:
    samples = torch.zeros(rate)
    samples[rate // 2 :] = torch.randn(rate // 2, generator=torch.Generator().manual_seed(1))
    config = BoundaryConfig(high_hz=3800)
    features = log_mel(samples, rate, config)
    assert features.shape == (100, 40)
    loud = (features.mean(1) > 0).nonzero()[:, 0]
    assert int(loud[0]) in (49, 50)
    # A faint frame sees the loud half only by its window's edge.
    assert bool((features[:48].mean(1) < 0).all())


@pytest.mark.parametrize("length", [1, 200, 8000, 16_037])
def test_features_of_long_recordings_are_those_of_their_pieces(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randn(length, generator=torch.Generator().manual_seed(1))
    whole = log_mel(noise, RATE, CONFIG)
    monkeypatch.setattr(features_of_sound, "_FRAMES", 7)
    torch.testing.assert_close(log_mel(noise, RATE, CONFIG), whole, rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_the_level_and_refuse_what_is_no_audio() -> None:
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(1))
    assert log_mel(0.3 * noise, RATE, CONFIG).sub(log_mel(noise, RATE, CONFIG)).abs().max() < 1e-2
    for samples in (torch.empty(0), torch.full((100,), math.nan), torch.zeros(2, 100)):
        with pytest.raises(ValueError, match="samples must be"):
            log_mel(samples, RATE, CONFIG)
    with pytest.raises(ValueError, match="sampling rate of 15200 Hz"):
        log_mel(noise, 8000, CONFIG)


def test_context_repeats_the_ends() -> None:
    x = torch.arange(3.0)[:, None]
    assert with_context(x, 1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


def test_a_configuration_survives_json_and_refuses_what_it_does_not_know() -> None:
    config = BoundaryConfig(stages=(Stage(rounds=3), Stage(context=2)), seed=7)
    assert BoundaryConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="has no colour"):
        BoundaryConfig.from_json({"colour": 1})
    with pytest.raises(ValueError, match="hop must be a positive number"):
        BoundaryConfig(hop=0)
    with pytest.raises(ValueError, match="target must be one of"):
        Stage(target="mean")


def _untrained(units: Units) -> BoundaryModel:
    count = columns_of(len(units.names), CONFIG)
    network = BoundaryNetwork(CONFIG, 0, count)
    return BoundaryModel(CONFIG, units, network, torch.zeros(count), torch.full((count,), 0.5))


def test_texts_backwards_are_the_units_backwards_whatever_spells_them() -> None:
    lexicon = {"cat": (("k", "ae", "t"), ("k", "t")), "été": (("e", "t", "e"),)}
    units = Units(["k", "ae", "t", "e"], lexicon)
    graph = _untrained(units).graph(["cat", "été"], backwards=True)
    assert [units.names[unit] for unit in graph.units] == [
        *["e", "t", "e"],
        *["t", "ae", "k", "t", "k"],
    ]


def test_a_text_is_spelled_for_aligning_as_it_was_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "一二 Zèbre's 25 Ⅳ —"
    learned: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        boundary,
        "train_into",
        lambda folder, spoken, *rest, **named: (
            learned.append(spoken[0].words) or SimpleNamespace(model=None)
        ),
    )
    monkeypatch.setattr(boundary, "_calibrate", lambda *given: None)
    recording = Recording("r", tmp_path / "r.wav")
    boundary.train_on(tmp_path, [Utterance("u", recording, text=text)])
    units = Units(["b", "e"])
    aligner = BoundaryAligner(_untrained(units), "model")
    aligned: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        boundary,
        "align_alone",
        lambda model, features, words, duration: aligned.append(tuple(words)) or "enough",
    )
    with pytest.raises(ValueError, match="enough"):
        aligner.align(torch.zeros(RATE).numpy(), text, sampling_rate=RATE)
    assert learned == aligned
    spelled = [[units.names[unit] for unit in units.spell(word)[0]] for word in aligned[0]]
    assert spelled[2] == [OTHER, "e", "b", OTHER, "e", OTHER]
    assert [letters(word) for word in aligned[0]] == [
        *[("一",), ("二",)],
        *[tuple("zèbres"), tuple("twentyfive"), tuple("iv"), ()],
    ]


def test_a_training_again_takes_neither_the_model_nor_the_checkpoint_that_is_there(
    tmp_path: Path, trained: tuple[BoundaryModel, list[Round]], monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = [_utterance(i)[0] for i in range(4)]
    begun: list[bool] = []

    def train(*given: object, checkpoint: Path, **named: object) -> object:
        begun.append(checkpoint.exists())
        return trained

    monkeypatch.setattr(session, "train_boundary_model", train)
    for again, fresh in ((False, True), (False, False), (True, True)):
        (tmp_path / session.CHECKPOINT.format("model")).write_text("of a training that stopped")
        found = session.train_into(tmp_path / "model", utterances, CONFIG, anyway=True, again=again)
        assert found.fresh == fresh
    assert begun == [True, False]


def test_a_model_that_was_not_asked_whether_its_texts_are_right_is_trained_again(
    tmp_path: Path, trained: tuple[BoundaryModel, list[Round]], monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = [_utterance(i)[0] for i in range(4)]
    monkeypatch.setattr(session, "train_boundary_model", lambda *given, **named: trained)
    session.train_into(tmp_path / "model", utterances, CONFIG, anyway=True)
    assert not session.train_into(tmp_path / "model", utterances, CONFIG, anyway=True).fresh
    record = read_json_object(tmp_path / "model" / session.RECORD)
    del record["convergence"]["preferred"]
    write_json(tmp_path / "model" / session.RECORD, record)
    assert session.train_into(tmp_path / "model", utterances, CONFIG, anyway=True).fresh


@pytest.mark.parametrize("median", [True, False])
def test_phones_that_are_silence_have_all_of_it(median: bool) -> None:
    # As TIMIT's texts are: h# at both ends, pau within, and phones that fill the time between.
    def utterance(number: int) -> tuple[SpokenText, list[tuple[float, float]]]:
        spoken, times = _utterance(number)
        samples, _ = spoken.load()
        words, spans, now = [], [], 0.0
        for word, (start, end) in zip(spoken.words, times, strict=True):
            if start > now:
                words.append("pau" if now else "h#")
                spans.append((now, start))
            words.append(word)
            spans.append((start, end))
            now = end
        words.append("h#")
        spans.append((now, len(samples) / RATE))
        return SpokenText(spoken.name, tuple(words), spoken.load), spans

    utterances = [utterance(i)[0] for i in range(24)]
    # Only what is silence is a unit of its own; the others are spelled by their letters.
    lexicon = {word: ((word,),) for word in ("h#", "pau")}
    config = replace(CONFIG, median=median)
    model, _ = train_boundary_model(utterances, config, lexicon=lexicon)
    errors = []
    for number in range(100, 110):
        one, times = utterance(number)
        found = aligned(model, one)
        assert found.words[0].start == 0.0
        assert found.words[-1].end == pytest.approx(times[-1][1], abs=CONFIG.hop / 2)
        for place, (word, (start, end)) in enumerate(zip(one.words, times, strict=True)):
            if word not in lexicon:
                continue
            span, token = found.words[place], found.tokens[found.token_words.index(place)]
            errors += [abs(span.start - start), abs(span.end - end)]
            errors += [abs(token.start - start), abs(token.end - end)]
            if place:
                assert span.start == pytest.approx(found.words[place - 1].end)
            if place + 1 < len(times):
                assert span.end == pytest.approx(found.words[place + 1].start)
            low, high = found.end_intervals[place]
            assert low <= span.end <= high
    assert sum(errors) / len(errors) < 0.02


def test_models_of_one_folder_have_checkpoints_of_their_own_and_a_poor_one_is_never_given(
    tmp_path: Path, trained: tuple[BoundaryModel, list[Round]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints: list[Path] = []

    def train(*given: object, checkpoint: Path, **named: object) -> object:
        checkpoints.append(checkpoint)
        return trained

    poor = Convergence(0.0, 0.0, 1.0, 1)
    monkeypatch.setattr(session, "train_boundary_model", train)
    monkeypatch.setattr(session, "_checked", lambda *given: poor)
    assert not poor.converged
    utterances = [_utterance(i)[0] for i in range(4)]
    for name in ("a", "b"):
        session.train_into(tmp_path / name, utterances, CONFIG, anyway=True)
        # It is there, and not what was asked for.
        with pytest.raises(session.NotConvergedError, match="did not find the words"):
            session.train_into(tmp_path / name, utterances, CONFIG)
    assert len(set(checkpoints)) == 2
