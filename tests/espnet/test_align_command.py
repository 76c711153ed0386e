"""`python -m espnet_ottc.bin.align`: times of recognised words and of given texts."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from lhotse import CutSet

from espnet_ottc.alignment.formats import read_ctm, read_supervisions, read_text, read_textgrid
from espnet_ottc.bin import align

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
    return align.main(["--model", str(model), "--out", str(out), *map(str, options)])


def test_recognised_words_get_times_in_every_format(lab, model, recordings, tmp_path, capsys):
    assert _align(model, tmp_path, "--audio", *recordings) == 0
    texts = read_text(tmp_path / "text")
    decoded = lab.decode(model, "best_of_aligning", "--best_path", "true")
    assert {name: " ".join(words) for name, words in texts.items()} == decoded
    times = read_ctm(tmp_path / "words.ctm")
    supervisions = read_supervisions(tmp_path / "words.jsonl.gz")
    for path in recordings:
        spans = times[path.stem]
        assert [span.symbol for span in spans] == texts[path.stem]
        edges = [edge for span in spans for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= soundfile.info(path).duration
        assert [span.symbol for span in supervisions[path.stem]] == texts[path.stem]
        assert (tmp_path / "textgrid" / f"{path.stem}.TextGrid").exists()
    count = sum(map(len, texts.values()))
    assert f"{count} words of {len(texts)} utterances, by viterbi" in capsys.readouterr().out


def test_words_are_recognised_greedily_if_asked(lab, model, recordings, tmp_path):
    assert _align(model, tmp_path, "--audio", *recordings, "--decoder", "greedy") == 0
    texts = read_text(tmp_path / "text")
    decoded = lab.decode(model, "greedy_of_aligning", "--greedy", "true")
    assert {name: " ".join(words) for name, words in texts.items()} == decoded
    # A model with two decoders of one mind would show nothing.
    assert decoded != lab.decode(model, "best_of_aligning_again", "--best_path", "true")


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
    state = torch.load(moved / "valid.loss.best.pth", weights_only=True)
    mean = np.load(stats)["sum"] / np.load(stats)["count"]
    for name in ("mean", "std"):
        state[f"normalize.{name}"] = torch.from_numpy(mean).float()
    torch.save(state, moved / "valid.loss.best.pth")
    monkeypatch.chdir(tmp_path)
    options = ("--audio", recordings[0], "--text", tmp_path / "text")
    (tmp_path / "text").write_text(f"{recordings[0].stem} A\n")
    assert _align("recipe/exp/seed1", tmp_path / "out", *options) == 0


def test_the_documented_python_gives_the_words_that_the_command_does(lab, model, tmp_path):
    section = DOCUMENT.read_text(encoding="utf-8").split("## From Python")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    code = "".join(blocks).replace("exp/ottc/seed1", str(model))
    assert str(model) in code
    assert code.count("words = words_from_tokens") == 1
    code = code.replace("words = words", "times[cut.id] = words")
    # One utterance: ESPnet's features depend a little on the batch.
    cuts = list(CutSet.from_file(lab.valid.cuts))[:1]
    times = {}
    names = {"cuts": cuts, "times": times}
    exec(code, names)
    assert names["spans"].words == times
    assert _align(model, tmp_path, "--cuts", lab.valid.cuts, "--transcripts") == 0
    expected = read_ctm(tmp_path / "words.ctm")[cuts[0].id]
    assert [span.symbol for span in times[cuts[0].id]] == [span.symbol for span in expected]
    starts = [[span.start for span in spans] for spans in (times[cuts[0].id], expected)]
    assert starts[0] == pytest.approx(starts[1], abs=1e-5)


def test_a_text_is_aligned_as_it_stands_whatever_the_model_hears(model, recordings, tmp_path):
    given = {path.stem: "DA" for path in recordings[:2]}
    (tmp_path / "text").write_text("".join(f"{name} {text}\n" for name, text in given.items()))
    options = ("--audio", *recordings[:2], "--text", tmp_path / "text", "--aligner", "transport")
    assert _align(model, tmp_path / "out", *options) == 0
    times = read_ctm(tmp_path / "out" / "words.ctm")
    assert {name: [span.symbol for span in spans] for name, spans in times.items()} == {
        name: [text] for name, text in given.items()
    }


def test_transcripts_of_cuts_are_aligned_by_a_ctc_model_too(lab, ctc, tmp_path):
    assert (
        _align(ctc / "valid.loss.best.pth", tmp_path, "--cuts", lab.valid.cuts, "--transcripts")
        == 0
    )
    times = read_ctm(tmp_path / "words.ctm")
    found = {name: " ".join(span.symbol for span in spans) for name, spans in times.items()}
    assert found == lab.valid.texts


def test_an_utterance_that_cannot_be_aligned_is_named_and_the_others_are_written(
    ctc, recordings, tmp_path, capsys
):
    long, empty, right = (path.stem for path in recordings[:3])
    text = f"{long} {'ABCD' * 100}\n{empty}\n{right} A\n"
    (tmp_path / "text").write_text(text)
    options = ("--audio", *recordings[:3], "--text", tmp_path / "text")
    assert _align(ctc, tmp_path / "out", *options) == 1
    assert f"the first is {long}: " in capsys.readouterr().err
    assert (tmp_path / "out" / "infeasible").read_text().startswith(f"{long} ")
    assert list(read_ctm(tmp_path / "out" / "words.ctm")) == [right]
    grid = read_textgrid(tmp_path / "out" / "textgrid" / f"{empty}.TextGrid", "words")
    assert not [span for span in grid if span.symbol]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--audio", "{wav}", "{folder}/../{folder.name}/{wav.name}"), "is called utt2-00 too"),
        (("--audio", "{wav}", "--transcripts"), "recordings have none"),
        (("--audio", "absent.wav"), "there is no absent.wav"),
        (("--cuts", "absent.jsonl"), "there is no absent.jsonl"),
        (("--audio", "{wav}", "--text", "{text}"), "utt2-00: .*text must have its text"),
    ],
)
def test_what_cannot_be_is_said(model, recordings, tmp_path, capsys, options, message):
    text = tmp_path / "text"
    text.write_text("another A\n")
    names = {"wav": recordings[0], "folder": recordings[0].parent, "text": text}
    assert _align(model, tmp_path / "out", *(option.format(**names) for option in options)) == 1
    found = capsys.readouterr().err
    assert found.startswith("error: ")
    assert re.search(message, found)
