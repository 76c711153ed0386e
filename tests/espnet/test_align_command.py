"""`ottc-align` with models of ESPnet: times of words, recognised or given, and what cannot be done."""

import json
import re
import shutil
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from lhotse import CutSet

from espnet_ottc.alignment.boundary import session
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.outputs.json_file import read_alignment
from espnet_ottc.bin import align, tune

DOCUMENT = Path(__file__).parents[2] / "docs" / "howto" / "align_recordings.md"


@pytest.fixture(scope="module")
def model(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<space>"}
    return lab.train("aligning", ctc_conf=conf)


@pytest.fixture(scope="module")
def ctc(lab):
    return lab.train("aligning_ctc", ctc_conf={"ctc_type": "builtin"}, max_epoch=1)


@pytest.fixture(scope="module")
def recordings(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    cuts = list(CutSet.from_file(lab.valid.cuts))
    for cut in cuts:
        soundfile.write(folder / f"{cut.id}.wav", cut.load_audio()[0], cut.sampling_rate)
    return sorted(folder.glob("*.wav"))


def _align(model, out, *options):
    # Models of so little training doubt much.
    doubts = ["--max-doubtful", "1"]
    # Their words are tones.
    doubts += [] if "--text" in options else ["--no-vad"]
    return align.main([*map(str, options), "--model", str(model), "--out", str(out), *doubts])


def _found(out):
    return {one.id: one for path in out.rglob("*.json") for one in read_alignment(path)}


def _texts(out):
    return {name: " ".join(w.text for w in one.words) for name, one in _found(out).items()}


def test_recognised_words_get_times(lab, model, recordings, tmp_path, capsys):
    assert _align(model, tmp_path, *recordings) == 0
    found = _found(tmp_path)
    assert _texts(tmp_path) == lab.decode(model, "best_of_aligning", "--viterbi", "true")
    for path in recordings:
        one = found[path.stem]
        assert one.recognised
        assert one.search == "viterbi"
        edges = [edge for word in one.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= soundfile.info(path).duration
        assert (tmp_path / f"{path.stem}.TextGrid").exists()
    count = sum(len(one.words) for one in found.values())
    assert f"{count} words" in capsys.readouterr().out


def test_words_are_recognised_greedily_if_asked(lab, model, recordings, tmp_path):
    # With so high a price of a change the two decoders are not of one mind, which would show nothing.
    costly = shutil.copytree(model, tmp_path / "costly")
    path = costly / "valid.loss.ave.pth"
    state = torch.load(path, weights_only=True)
    errors = state["ctc.transition_scale.errors"]
    errors[:], errors[-1] = 1, 0
    path.unlink()
    torch.save(state, path)
    out = tmp_path / "out"
    assert _align(costly, out, *recordings, "--decoder", "greedy") == 0
    decoded = lab.decode(costly, "greedy_of_aligning", "--greedy", "true")
    assert _texts(out) == decoded
    assert decoded != lab.decode(costly, "best_of_aligning_again", "--viterbi", "true")


def test_the_case_of_a_text_moves_no_word_and_stays_as_it_was_given(lab, model, tmp_path):
    times = []
    for number, change in enumerate((str.upper, str.lower, str.title)):
        lines = (f"{name} {change(text)}\n" for name, text in lab.valid.texts.items())
        text, out = tmp_path / f"text{number}", tmp_path / f"out{number}"
        text.write_text("".join(lines))
        assert _align(model, out, lab.valid.cuts, "--text", text) == 0
        found = _found(out)
        for name, given in lab.valid.texts.items():
            assert [w.text for w in found[name].words] == change(given).split()
        times.append({n: [(w.start, w.end) for w in one.words] for n, one in found.items()})
    assert times[0] == times[1] == times[2]


def test_a_model_is_used_from_another_folder_than_it_was_trained_in(
    lab, model, recordings, tmp_path, monkeypatch
):
    moved = tmp_path / "recipe" / "exp" / "seed1"
    shutil.copytree(model, moved)
    stats = tmp_path / "recipe" / "exp" / "stats.npz"
    shutil.copy(lab.folder / "stats" / "train" / "feats_stats.npz", stats)
    config = yaml.safe_load((moved / "config.yaml").read_text())
    config |= {"normalize": "global_mvn", "normalize_conf": {"stats_file": "exp/stats.npz"}}
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    state = torch.load(moved / "valid.loss.ave.pth", weights_only=True)
    mean = np.load(stats)["sum"] / np.load(stats)["count"]
    for name in ("mean", "std"):
        state[f"normalize.{name}"] = torch.from_numpy(mean).float()
    torch.save(state, moved / "valid.loss.ave.pth")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("A\n")
    assert _align("recipe/exp/seed1", tmp_path / "out", recordings[0], "--text", "text") == 0


def test_a_packed_archive_gives_the_times_of_its_experiment(
    model, recordings, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache" / "torch"))
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("valid.loss.ave.pth", "config.yaml"):
            file.write(model / name, f"exp/asr/{name}")
        meta = {
            "files": {"asr_model_file": "exp/asr/valid.loss.ave.pth"},
            "yaml_files": {"asr_train_config": "exp/asr/config.yaml"},
        }
        file.writestr("meta.yaml", yaml.safe_dump(meta))
    outs = [tmp_path / "packed", tmp_path / "plain"]
    for source, out in zip((archive, model), outs, strict=True):
        assert _align(source, out, recordings[0]) == 0
    packed, plain = (_found(out)[recordings[0].stem].words for out in outs)
    assert packed
    assert packed == plain
    # What another process may be reading is not written again.
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files if path.suffix != ".lock"}
    assert _align(archive, tmp_path / "again", recordings[0]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_documented_python_gives_the_words_that_the_command_does(
    lab, model, recordings, tmp_path, monkeypatch, capsys
):
    section = DOCUMENT.read_text(encoding="utf-8").split("## From Python")[1].split("\n## ")[0]
    code = "".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    assert code.count("exp/ottc/seed1") == 1
    monkeypatch.chdir(tmp_path)
    shutil.copy(recordings[0], "talk.wav")
    Path("talk.txt").write_text("a ba\n")
    exec(code.replace("exp/ottc/seed1", str(model)), {})
    printed = capsys.readouterr().out
    assert _align(model, "out", "talk.wav") == 0
    for word in _found(tmp_path / "out")["talk"].words:
        assert f"{word.start:.2f} {word.end:.2f} {word.text}" in printed


def test_a_text_is_aligned_as_it_stands_whatever_the_model_hears(model, recordings, tmp_path):
    given = {path.stem: "DA" for path in recordings[:2]}
    (tmp_path / "text").write_text("".join(f"{name} {text}\n" for name, text in given.items()))
    assert _align(model, tmp_path / "out", *recordings[:2], "--text", tmp_path / "text") == 0
    assert _texts(tmp_path / "out") == given


def test_texts_of_other_recordings_end_with_status_3_once_all_is_written(
    lab, model, recordings, tmp_path, capsys
):
    own = {path.stem: lab.valid.texts[path.stem] for path in recordings}
    others = dict(zip(own, [*list(own.values())[1:], next(iter(own.values()))], strict=True))
    statuses = []
    for name, texts in (("own", own), ("others", others)):
        (tmp_path / name).write_text("".join(f"{one} {text}\n" for one, text in texts.items()))
        out = tmp_path / f"out_{name}"
        command = [*map(str, recordings), "--model", str(model), "--text", str(tmp_path / name)]
        statuses.append(align.main([*command, "--out", str(out), "--max_doubtful", "0.3"]))
        assert _texts(out) == texts
        assert len(list(out.glob("*.TextGrid"))) == len(recordings)
    assert statuses == [0, 3]
    said = capsys.readouterr()
    assert re.search(r"error: \d+ % is not ok, more than the 30 % of --max-doubtful", said.err)
    # What could not be read at all weighs more.
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    command = [str(bad), *map(str, recordings), "--model", str(model), "--recognise"]
    assert align.main([*command, "--out", str(tmp_path / "bad"), "--max_doubtful", "0"]) == 1


def test_transport_is_refused_with_the_reason(model, recordings, capsys):
    with pytest.raises(SystemExit) as ended:
        align.main([str(recordings[0]), "--model", str(model), "--aligner", "transport"])
    assert ended.value.code == 2
    assert "transport spreads a text over long silence too: take viterbi" in capsys.readouterr().err


def test_cuts_keep_their_recording_and_their_place_on_it_with_a_ctc_model_too(lab, ctc, tmp_path):
    assert _align(ctc / "valid.loss.ave.pth", tmp_path, lab.valid.cuts) == 0
    assert _texts(tmp_path) == lab.valid.texts
    found = _found(tmp_path)
    for cut in CutSet.from_file(lab.valid.cuts):
        assert found[cut.id].recording == cut.recording_id
        assert found[cut.id].offset == pytest.approx(cut.start, abs=1e-6)
        assert found[cut.id].duration == pytest.approx(cut.duration, abs=1e-3)


def test_a_ctc_experiment_of_espnet_is_tuned_and_aligns_as_one_model(
    lab, ctc, tmp_path, monkeypatch
):
    stages = (Stage(rounds=3, epochs=2),)
    small = partial(BoundaryConfig, width=32, gaussian_rounds=3, least_count=1, stages=stages)
    monkeypatch.setattr(session, "suited_config", lambda texts, **_: small())
    before = {path.name: path.read_bytes() for path in ctc.glob("*.pth")}
    tuned = tmp_path / "tuned"
    data = str(lab.data["train"].cuts)
    assert tune.main(["--model", str(ctc), "--data", data, "--out", str(tuned)]) == 0
    assert {path.name: path.read_bytes() for path in ctc.glob("*.pth")} == before
    assert _align(tuned, tmp_path / "out", lab.valid.cuts) == 0
    assert {one.search for one in _found(tmp_path / "out").values()} == {"boundary"}
    assert _align(ctc, tmp_path / "untuned", lab.valid.cuts) == 0
    assert _texts(tmp_path / "out") == _texts(tmp_path / "untuned")


def test_a_text_that_does_not_fit_is_named_and_the_others_are_done(
    ctc, recordings, tmp_path, capsys
):
    long, empty, right = (path.stem for path in recordings[:3])
    (tmp_path / "text").write_text(f"{long} {'ABCD' * 100}\n{empty}\n{right} A\n")
    out = tmp_path / "out"
    assert _align(ctc, out, *recordings[:3], "--text", tmp_path / "text") == 1
    assert f"{long}.wav: the text does not fit the sound: " in capsys.readouterr().err
    (failed,) = map(json.loads, (out / "failed.jsonl").read_text().splitlines())
    assert failed["id"] == long
    assert _texts(out) == {empty: "", right: "A"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("absent.wav",), "absent.wav: there is no such file"),
        (("{wav}", "--text", "{text}"), "another A|has no text|must begin"),
        (("{wav}", "--text", "absent.txt"), "there is no absent.txt"),
        (("{wav}", "--device", "gpu"), "--device must be cpu, cuda or cuda:N, got 'gpu'"),
        (("{wav}", "--device", "cuda:99"), "--device cuda:99: PyTorch .* sees"),
        (("{wav}", "--channel", "both"), "--channel must be each, or .* must be mix"),
        (("{wav}", "--channel", "3"), "there is no channel 3: it has 1"),
        (("{wav}", "--format", "doc"), "doc"),
        (("{empty}",), "there is nothing to align"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(model, recordings, tmp_path, capsys, options, message):
    (tmp_path / "text").write_text("one A\ntwo B\n")
    (tmp_path / "cuts.jsonl").write_text("")
    names = {"wav": recordings[0], "text": tmp_path / "text", "empty": tmp_path / "cuts.jsonl"}
    if "{text}" in options:
        options = ("{wav}", str(recordings[1]), *options[1:])
    given = [option.format(**names) for option in options]
    assert _align(model, tmp_path / "out", *given) == 1
    found = capsys.readouterr().err
    assert found.startswith("error: ")
    assert re.search(message, found)
    assert "Traceback" not in found


@pytest.mark.parametrize("place", ["absent", "exp"])
def test_a_model_that_is_not_there_is_named(recordings, tmp_path, capsys, place):
    (tmp_path / "exp").mkdir()
    assert _align(tmp_path / place, tmp_path / "out", recordings[0]) == 1
    found = capsys.readouterr().err
    assert str(tmp_path / place) in found
    assert found.startswith("error: --model")
