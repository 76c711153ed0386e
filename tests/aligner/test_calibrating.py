"""Confidences that are learned from recordings with their right texts."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
from letters_model import LettersModel, write_spoken

from espnet_ottc.aligner import calibrating
from espnet_ottc.aligner.aligner import CALIBRATION, Aligner, AlignerOptions, _with_calibration
from espnet_ottc.aligner.calibrating import KINDS, calibrated, changed, errors, trials
from espnet_ottc.aligner.inputs import InputOptions, gather
from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.confidence import Calibration, calibration_error
from espnet_ottc.bin import align


def _aligner(calibration: Calibration | None = None) -> Aligner:
    return Aligner(LettersModel(), AlignerOptions(calibration=calibration))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sounds = tmp_path_factory.mktemp("sounds")
    write_spoken(sounds, 24)
    return sounds


@pytest.fixture(scope="module")
def utterances(folder: Path) -> list[Utterance]:
    return list(gather([str(folder)], InputOptions()).utterances)


def test_a_fitted_calibration_holds_on_recordings_that_it_has_not_seen(
    utterances: list[Utterance],
) -> None:
    wrong = Calibration(word_slope=3.0, word_offset=3.0, utterance_slope=-1.0, utterance_offset=3.0)
    found = calibrated(_aligner(wrong), utterances[:14])
    assert found.recordings == 14
    assert found.before[0] > 0.1
    assert found.after[0] < min(0.08, found.before[0] / 2)
    assert found.after[1] < found.before[1]
    before, after = (
        errors(list(trials(_aligner(one), utterances[14:]))) for one in (wrong, found.calibration)
    )
    assert after[0] < min(0.1, before[0] / 2)
    assert after[1] < before[1]


def test_wrong_texts_are_told_from_right_ones(utterances: list[Utterance]) -> None:
    calibration = calibrated(_aligner(), utterances[:14]).calibration
    found = list(trials(_aligner(calibration), utterances[14:]))
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    assert all(len(of_kind) == 10 for of_kind in by_kind.values())
    assert all(one.ok for one in by_kind["right"])
    assert all(right for one in by_kind["right"] for _, _, right in one.words)
    for kind in ("other", "deleted"):
        assert not any(one.ok for one in by_kind[kind])
    # Most of the words that stayed are where they were.
    kept = [right for one in by_kind["replaced"] for _, _, right in one.words]
    assert 0.5 < sum(kept) / len(kept) < 0.8


def test_texts_are_made_wrong_as_their_kind_says() -> None:
    texts = ["a b c d e f", "g h", "i"]
    draw = random.Random(0)
    assert [changed(texts, n, "other", draw) for n in range(3)] == ["g h", texts[0], "g h"]
    deleted = changed(texts, 0, "deleted", draw).split()
    assert len(deleted) == 4
    assert deleted == sorted(deleted)
    assert changed(texts, 2, "deleted", draw) == "i"
    replaced = changed(texts, 0, "replaced", draw).split()
    assert sum(one == other for one, other in zip(replaced, "abcdef", strict=True)) >= 4
    assert changed(texts, 1, "right", draw) == "g h"
    assert changed(["a b", "a b"], 0, "other", draw) == "b a"


def test_few_recordings_calibrate_nothing(utterances: list[Utterance]) -> None:
    silent = [dataclasses.replace(one, text=" ") for one in utterances[9:]]
    with pytest.raises(ValueError, match=r"at least 10 recordings .*, got 9"):
        calibrated(_aligner(), [*utterances[:9], *silent])


def test_a_calibration_that_is_worse_than_the_one_before_is_not_written(
    folder: Path,
    utterances: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = calibrated(_aligner(), utterances).calibration
    monkeypatch.setattr("espnet_ottc.aligner.aligner.load_model", lambda *_, **__: LettersModel())
    given, file = tmp_path / "before.json", tmp_path / "after.json"
    before.save(given)

    def fit(calibration: Calibration) -> None:
        monkeypatch.setattr(calibrating, "fit_calibration", lambda *examples: calibration)

    # Words or texts alone are taken where the others were better.
    unsure = dataclasses.replace(before, word_slope=0.0, word_offset=0.0)
    fit(before)
    assert calibrated(_aligner(unsure), utterances).calibration == before
    fit(dataclasses.replace(before, utterance_slope=0.0, utterance_offset=-9.0))
    assert calibrated(_aligner(unsure), utterances).calibration == before
    worse = Calibration(word_slope=0.0, word_offset=0.0, utterance_slope=0.0, utterance_offset=0.0)
    fit(worse)
    command = [str(folder), "--model", "letters", "--calibration", str(given)]
    assert align.main([*command, "--calibrate", str(file)]) == 1
    said = capsys.readouterr().err
    assert "must not be worse than the one before, by 24 recordings it is" in said
    assert "calibration error of words from " in said
    assert not file.exists()


def test_few_recordings_suffice_to_be_sure_of_what_they_tell_apart(
    utterances: list[Utterance],
) -> None:
    calibration = calibrated(_aligner(), utterances[:12]).calibration
    found = list(trials(_aligner(calibration), utterances[12:]))
    right = [one.confidence for one in found if one.kind == "right"]
    other = [one.confidence for one in found if one.kind == "other"]
    assert sum(right) / len(right) > 0.85
    assert sum(other) / len(other) < 0.05


def test_the_calibration_error_is_the_distance_from_the_truth() -> None:
    assert calibration_error([(0.95, True)] * 19 + [(0.95, False)]) == pytest.approx(0)
    assert calibration_error([(0.05, True), (1.0, True)]) == pytest.approx(0.475)
    assert calibration_error([]) == 0


def test_the_calibration_beside_a_model_is_taken_unless_another_is_given(tmp_path: Path) -> None:
    own, given = Calibration(word_slope=7.0), Calibration(word_slope=8.0)
    (tmp_path / "model.pth").touch()
    plain = AlignerOptions()
    assert _with_calibration(plain, tmp_path) is plain
    own.save(tmp_path / CALIBRATION)
    for place in (tmp_path, tmp_path / "model.pth"):
        assert _with_calibration(plain, place).calibration == own
    assert _with_calibration(AlignerOptions(calibration=given), tmp_path).calibration == given
    (tmp_path / CALIBRATION).write_text(json.dumps({"word_slope": 1}))
    with pytest.raises(ValueError, match=r"calibration\.json: a calibration is a JSON object"):
        _with_calibration(plain, tmp_path)


def test_the_command_writes_a_calibration_and_aligns_by_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("espnet_ottc.aligner.aligner.load_model", lambda *_, **__: LettersModel())
    file, out = tmp_path / "letters.json", tmp_path / "out"
    command = [str(folder), "--model", "letters"]
    assert align.main([*command, "--calibrate", str(file)]) == 0
    assert f"{file}: by 24 recordings; calibration error of words from " in capsys.readouterr().out
    assert set(json.loads(file.read_text())) == {
        field.name for field in dataclasses.fields(Calibration)
    }
    options = [*command, "--out", str(out), "--processes", "1"]
    assert align.main([*options, "--calibration", str(file)]) == 0
    # Another one makes other confidences, of the same results.
    Calibration(word_offset=-30.0).save(file)
    assert align.main([*options, "--calibration", str(file)]) == 3
    assert "is not ok, more than the 10 % of --max-doubtful" in capsys.readouterr().err
    assert align.main([*options, "--calibration", str(tmp_path / "absent.json")]) == 1
    assert "absent.json" in capsys.readouterr().err
