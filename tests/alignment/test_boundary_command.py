"""`ottc-align --train`: recordings and texts in, times and a model out, without any model to begin with."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from tone_words import RATE, Times, small_config, spoken, write

from espnet_ottc.aligner.aligner import Aligner
from espnet_ottc.aligner.boundary import TRAINING_CALIBRATION, _speller
from espnet_ottc.alignment.boundary import session
from espnet_ottc.alignment.confidence import Calibration
from espnet_ottc.bin import tune
from espnet_ottc.bin.align import main

soundfile = pytest.importorskip("soundfile")


def _write(folder: Path, number: int, said: bool = True) -> Times:
    """A recording with its text, and the words' times; or noise alone with such a text."""
    samples, words, times = spoken(number)
    if not said:
        samples = 0.1 * torch.randn(len(samples), generator=torch.Generator().manual_seed(number))
    write(folder, f"r{number}", samples, " ".join(words).upper() + ".\n")
    return times


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "suited_config", lambda texts, **_: small_config())


@pytest.mark.usefixtures("_small")
def test_recordings_and_texts_give_times_and_a_model_that_can_be_used_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    times = {f"r{i}": _write(folder, i) for i in range(16)}
    command = [str(folder), "--train", "--out", str(out), "--processes", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "nats per frame" in printed.out
    errors = []
    for line in (out / "words.ctm").read_text().splitlines():
        name, _, start, length, word, *_ = line.split()
        true = times[name].pop(0)
        assert word.isupper()
        errors += [abs(float(start) - true[0]), abs(float(start) + float(length) - true[1])]
    assert not any(times.values())
    assert sum(errors) / len(errors) < 0.015
    # A word's first token begins with it, its last one ends with it, and none lies apart.
    for file in out.glob("*.json"):
        for word in json.loads(file.read_text())["utterances"][0]["words"]:
            edges = [(token["start"], token["end"]) for token in word["tokens"]]
            assert (edges[0][0], edges[-1][1]) == (word["start"], word["end"])
            assert all(end == start for (_, end), (start, _) in itertools.pairwise(edges))
    # A second run trains nothing; the model serves recordings that it has not heard.
    assert main(command) == 0
    assert "trained by an earlier run" in capsys.readouterr().out
    other = tmp_path / "other"
    other.mkdir()
    true = _write(other, 99)
    found = Aligner.from_pretrained(str(out / "boundary_model")).align(
        other / "r99.wav", (other / "r99.txt").read_text()
    )
    assert found.search == "boundary"
    assert [word.status for word in found.words] == ["ok"] * 4
    # How sure it is of what it has learned says nothing about other recordings.
    assert (out / "boundary_model" / TRAINING_CALIBRATION).is_file()
    Calibration(word_slope=0.1).save(out / "boundary_model" / TRAINING_CALIBRATION)
    main(command)
    again = tmp_path / "again"
    assert main([str(folder), "--model", str(out / "boundary_model"), "--out", str(again)]) == 0
    by_training, by_default = (
        json.loads((place / "r0.json").read_text())["utterances"][0]["words"]
        for place in (out, again)
    )
    for one, same in zip(by_training, by_default, strict=True):
        assert (one["start"], one["end"]) == (same["start"], same["end"])
        assert one["confidence"] != same["confidence"]
    assert all(word.confidence > 0.5 for word in found.words)
    wrong = Aligner.from_pretrained(str(out / "boundary_model")).align(
        other / "r99.wav", (folder / "r0.txt").read_text()
    )
    assert wrong.status != "ok"
    assert wrong.confidence < 0.5 < found.confidence
    assert abs(found.words[1].start - true[1][0]) < 0.03
    with pytest.raises(ValueError, match="recognises nothing"):
        Aligner.from_pretrained(str(out / "boundary_model")).align(other / "r99.wav")


@pytest.mark.usefixtures("_small")
def test_a_training_that_finds_nothing_says_so_and_hands_out_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        _write(folder, number, said=False)
    assert main([str(folder), "--train", "--out", str(out)]) == 1
    assert "the training did not find the words" in capsys.readouterr().err
    assert not list(out.rglob("*.ctm"))
    assert not (out / "boundary_model").exists()


@pytest.mark.usefixtures("_small")
def test_texts_of_other_recordings_that_were_learned_by_heart_give_no_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        samples, _, _ = spoken(number)
        _, words, _ = spoken((number + 5) % 12)
        write(folder, f"r{number}", samples, " ".join(words))
    assert main([str(folder), "--train", "--out", str(out)]) == 1
    printed = capsys.readouterr().err
    assert "speech fits its own text better than another (at least 80 %)" in printed
    # Nothing else shows it.
    assert " 0.0 % of 48 words without support" in printed
    assert not list(out.rglob("*.ctm"))
    assert not (out / "boundary_model").exists()


def test_train_needs_texts_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", torch.zeros(RATE).numpy(), RATE)
    assert main([str(tmp_path), "--train"]) == 1
    assert "--train needs --out" in capsys.readouterr().err
    assert main([str(tmp_path), "--train", "--out", str(tmp_path / "out")]) == 1
    assert "there are no texts to learn from" in capsys.readouterr().err
    absent = str(tmp_path / "absent.wav")
    assert main([absent, "--train", "--out", str(tmp_path / "out")]) == 1
    assert f"{absent}: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", "--out", "o", "--recognise"], "learns from texts"),
        (["--train", "--out", "o", "--aligner", "viterbi"], "--aligner has no use with --train"),
        (["--train", "--out", "o", "--allow_gaps"], "--allow_gaps has no use with --train"),
        (["--train", "--out", "o", "--weights", "w.pt"], "--weights has no use with --train"),
        (["--model", "m", "--lexicon", "l"], "--lexicon goes with --train"),
    ],
)
def test_options_without_a_use_are_refused_before_anything_is_read(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nowhere", *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "{file}"], "--out must be a folder, {file} is a file"),
        (["--out", "{file}/below"], "--out must be a folder, {file} is a file"),
        (["--lexicon", "{file}.no"], "--lexicon: there is no file {file}.no"),
        (["--weights", "{file}.no"], "--weights: there is no file {file}.no"),
        (["--calibration", "{file}.no"], "--calibration: there is no file {file}.no"),
        (["--calibration", "."], "--calibration must be a file, . is a folder"),
    ],
)
def test_files_and_folders_that_do_not_serve_are_named_by_their_option(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    given = [option.format(file=file) for option in options]
    expected = f"error: {message.format(file=file)}\n"
    kind = ["--train", "--out", "o"] if "--lexicon" in options else ["--model", "m"]
    assert main(["nowhere", *kind, *given]) == 1
    assert capsys.readouterr().err == expected
    if "--calibration" not in options:  # which ottc-tune has not
        out = ["--out", str(tmp_path / "out")]
        assert tune.main(["--data", "nowhere", "--model", "m", *out, *given]) == 1
        assert capsys.readouterr().err == expected


@pytest.mark.usefixtures("_small")
def test_the_record_of_a_training_says_how_it_converged(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        _write(folder, number)
    assert main([str(folder), "--train", "--out", str(out), "--format", "json"]) == 0
    record = json.loads((out / "boundary_model" / "training.json").read_text())
    assert record["convergence"]["score"] > record["convergence"]["backwards"]
    assert [done["number"] for done in record["rounds"]] == list(range(len(record["rounds"])))
    words = json.loads((out / "r1.json").read_text())["utterances"][0]["words"]
    assert len(words) == 4
    for word in words:
        for side in ("start", "end"):
            low, high = word[f"{side}_interval"]
            assert low <= word[side] <= high
            assert low < high


def test_a_note_of_transcripts_is_said_where_the_lexicon_has_it_alone() -> None:
    lexicon = {"[laughter]": (("spn",),), "yes": (("j", "e", "s"),)}
    assert _speller("en", lexicon).spell("[laughter]").spoken == ("[laughter]",)
    assert _speller("en", lexicon).spell("[noise]").has_wildcard
    assert _speller("en", None).spell("[laughter]").has_wildcard
