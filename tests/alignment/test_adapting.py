"""A boundary model gets to know other voices: its rounds go on with recordings that it has not heard."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tone_words import RATE, Times, aligned, small_config, spoken, write

from espnet_ottc.alignment.boundary import session
from espnet_ottc.alignment.boundary.adapting import adapted_config, fingerprint
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.material import SpokenText, prepare_for
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.training import train_boundary_model
from espnet_ottc.bin.align import main as align
from espnet_ottc.bin.tune import main as tune

# Pitches of another voice.
LOWER = 0.6


def _said(numbers: range, voice: float = 1.0) -> tuple[list[SpokenText], dict[str, Times]]:
    utterances, times = [], {}
    for number in numbers:
        samples, words, spans = spoken(number, voice=voice)
        name = f"r{number}"
        utterances.append(SpokenText(name, tuple(words), lambda one=samples: (one, RATE)))  # type: ignore[misc]
        times[name] = spans
    return utterances, times


def _error(model: BoundaryModel, said: tuple[list[SpokenText], dict[str, Times]]) -> float:
    utterances, times = said
    errors = [
        abs(found - true)
        for one in utterances
        for span, edges in zip(aligned(model, one).words, times[one.name], strict=True)
        for found, true in zip((span.start, span.end), edges, strict=True)
    ]
    return sum(errors) / len(errors)


@pytest.fixture(scope="module")
def model() -> BoundaryModel:
    return train_boundary_model(_said(range(20))[0], small_config())[0]


@pytest.fixture(scope="module")
def in_context() -> BoundaryModel:
    stages = (Stage(rounds=3, epochs=3), Stage(rounds=2, epochs=3, neighbours=2))
    return train_boundary_model(_said(range(20))[0], small_config(stages=stages))[0]


def test_an_adapted_model_is_sharper_on_a_voice_that_it_has_not_heard(model: BoundaryModel) -> None:
    said = _said(range(50, 62), LOWER)
    before = fingerprint(model)
    adapted, rounds = train_boundary_model(said[0], model.config, start=model)
    assert len(rounds) == adapted.config.stages[-1].rounds
    assert rounds[0].score is not None
    assert rounds[0].moved is None
    assert _error(adapted, said) < 0.008 < 0.5 * _error(model, said)
    assert adapted.units is model.units
    # The model itself stays as it was.
    assert fingerprint(model) == before != fingerprint(adapted)


def test_letters_between_neighbours_are_adapted_too(in_context: BoundaryModel) -> None:
    said = _said(range(50, 74), LOWER)
    adapted, rounds = train_boundary_model(said[0], in_context.config, start=in_context)
    assert adapted.config.neighbours == 2
    assert _error(adapted, said) < 0.006 < 0.7 * _error(in_context, said)
    assert rounds[-1].score > rounds[0].score
    # What was adapted can be adapted again, and be kept.
    again, _ = train_boundary_model(said[0], adapted.config, start=adapted)
    assert len(again.config.stages) == 4
    assert BoundaryModel.from_tensors(again.to_tensors()).config == again.config


def test_an_adaptation_that_was_stopped_goes_on_to_the_same_model(
    model: BoundaryModel, tmp_path: Path
) -> None:
    utterances, _ = _said(range(50, 58), LOWER)
    whole, rounds = train_boundary_model(utterances, model.config, start=model)
    checkpoint = tmp_path / "checkpoint.pt"

    def stop(_: object) -> None:
        # Before the round is kept, so that the first two are.
        if checkpoint.exists() and stop.seen == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        stop.seen += 1  # type: ignore[attr-defined]

    stop.seen = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        train_boundary_model(
            utterances, model.config, start=model, checkpoint=checkpoint, on_round=stop
        )
    seen: list[object] = []
    found, history = train_boundary_model(
        utterances, model.config, start=model, checkpoint=checkpoint, on_round=seen.append
    )
    assert len(seen) == len(rounds) - 2
    assert history == rounds
    assert fingerprint(found) == fingerprint(whole)
    other = replace(model, log_prior=model.log_prior + 0.1)
    with pytest.raises(ValueError, match="of another training"):
        train_boundary_model(utterances, model.config, start=other, checkpoint=checkpoint)


def test_what_a_model_cannot_know_takes_no_part(model: BoundaryModel) -> None:
    (good,), _ = _said(range(50, 51))
    unheard = SpokenText("unheard", ("zzz",), good.load)
    narrow = SpokenText("narrow", good.words, lambda: (good.load()[0][::2], RATE // 2))
    short = SpokenText("short", good.words, lambda: (torch.zeros(800), RATE))
    mute = SpokenText("mute", (), good.load)
    found = prepare_for(model, [unheard, narrow, good, short, mute])
    assert found.names == [good.name]
    assert "letters that the model has not heard" in found.left_out["unheard"]
    assert "need a sampling rate" in found.left_out["narrow"]
    assert "its words need" in found.left_out["short"]
    assert found.left_out["mute"] == "no words"
    with pytest.raises(ValueError, match="no utterance can be learned from"):
        train_boundary_model([unheard], model.config, start=model)


def test_gaussians_are_trained_anew() -> None:
    utterances, _ = _said(range(4))
    config = BoundaryConfig(mixture=1, gaussian_rounds=1, least_count=1)
    gaussians, _ = train_boundary_model(utterances, config)
    with pytest.raises(ValueError, match="cannot be adapted"):
        adapted_config(gaussians)


def test_another_start_is_another_training(model: BoundaryModel, tmp_path: Path) -> None:
    utterances, _ = _said(range(50, 62), LOWER)

    def fresh(start: BoundaryModel) -> bool:
        return session.train_into(tmp_path / "model", utterances, start=start).fresh

    assert fresh(model)
    assert not fresh(model)
    assert fresh(replace(model, stays=model.stays + 0.01))


def test_the_commands_adapt_the_model_that_they_are_given(
    model: BoundaryModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for number in range(50, 62):
        samples, words, _ = spoken(number, voice=LOWER)
        write(data, f"r{number}", samples, " ".join(words).upper())
    model.save(tmp_path / "start")
    command = [str(data), "--model", str(tmp_path / "start"), "--processes", "1"]
    assert align([*command, "--out", str(out), "--adapt"]) == 0
    assert f"{out / 'boundary_model'}: 6 rounds" in capsys.readouterr().out
    adapted = BoundaryModel.load(out / "boundary_model")
    assert (
        fingerprint(adapted)
        != fingerprint(model)
        == fingerprint(BoundaryModel.load(tmp_path / "start"))
    )
    assert adapted.config == adapted_config(model)
    said = _said(range(50, 62), LOWER)
    assert _error(adapted, said) < 0.5 * _error(model, said)
    assert align([*command, "--out", str(out), "--adapt"]) == 0
    assert "trained by an earlier run" in capsys.readouterr().out
    own = [str(data), "--model", str(out / "boundary_model"), "--out", str(out)]
    for arguments, said_of_it in (
        ([*command, "--out", str(out), "--adapt", "--train"], "give one of them"),
        ([str(data), "--out", str(out), "--adapt"], "--adapt needs the --model"),
        ([*command, "--adapt"], "--adapt needs --out"),
        ([*own, "--adapt"], "is the --model itself"),
        ([*command, "--out", str(out), "--adapt", "--lexicon", __file__], "--lexicon goes with"),
        ([*command, "--out", str(out), "--adapt", "--calibrate", "x.json"], "--adapt calibrate"),
        ([*command, "--out", str(out), "--adapt", "--allow_gaps"], "no use with --adapt"),
        (
            [*command, "--out", str(out), "--adapt", "--weights", __file__],
            "takes no other --weights",
        ),
    ):
        assert align(arguments) == 1
        assert said_of_it in capsys.readouterr().err
    assert tune(["--model", str(tmp_path / "start"), "--data", str(data), "--out", str(out)]) == 1
    assert "ottc-align --adapt adapts it" in capsys.readouterr().err
