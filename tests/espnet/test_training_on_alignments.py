"""From a CTC experiment to a training on its forced alignment, with an utterance that has none."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from espnet_lab import CONFIG, Lab
from lhotse import CutSet

from espnet_ottc.alignment.formats import read_ctm, read_text
from espnet_ottc.recipe import driver
from espnet_ottc.recipe.marks import Step, perform

SETS = {"train": "train-clean-100", "valid": "dev-clean"}
# Too long for its recording.
LONG = "utt1-05"


@pytest.fixture(scope="module")
def source(lab: Lab) -> Path:
    return lab.train("source", ctc_conf={"ctc_type": "builtin"}, max_epoch=4)


@pytest.fixture
def folder(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe folder as stages 0 to 4 leave it, with the tones as its corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "k2", None)
    (tmp_path / "LibriSpeech" / "test-clean").mkdir(parents=True)
    for part, name in SETS.items():
        (tmp_path / "LibriSpeech" / name).mkdir()
        out = tmp_path / "data" / name
        out.mkdir(parents=True)
        cuts = list(CutSet.from_file(lab.data[part].cuts))
        for cut in cuts:
            if cut.id == LONG:
                cut.supervisions[0].text = "ABCD " * 100
        CutSet.from_cuts(cuts).to_file(out / "cuts.jsonl.gz")
        texts = "".join(f"{cut.id} {cut.supervisions[0].text}\n" for cut in cuts)
        (out / "text").write_text(texts)
    tokens = tmp_path / "data" / "token_list" / "char"
    tokens.mkdir(parents=True)
    shutil.copy(lab.valid.directory / "tokens.txt", tokens)
    shutil.copytree(lab.folder / "stats", tmp_path / "exp" / "stats")
    perform(Step("", tmp_path / "exp" / ".marks" / "stats.json", {}), lambda _: None, print)
    conf = tmp_path / "conf"
    conf.mkdir()
    oracle = {"ctc_type": "ottc", "boundary_label": "<space>", "label_weights": "ali"}
    config = {**CONFIG, "ctc_conf": oracle, "max_epoch": 1}
    (conf / "train_oracle.yaml").write_text(yaml.safe_dump(config))
    (conf / "decode_viterbi.yaml").write_text("viterbi: true\n")
    return tmp_path


def _words(model: Path, seeds: str = "1 2") -> list[str]:
    words = ["--librispeech", "LibriSpeech", "--conf", "conf", "--systems", "oracle"]
    return [*words, "--seed", seeds, "--ali_from", str(model)]


def test_what_cannot_be_aligned_is_named_and_left_out_of_the_training(
    source: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert driver.main(["forced_alignment", *_words(source)]) == 0
    # One alignment for both seeds.
    said = capfd.readouterr().out
    assert said.count("started") == 1
    assert (
        f"1 of 48 utterances have no alignment of train-clean-100 by torchaudio_ctc, the first is {LONG}"
        in said
    )
    ali = folder / "exp" / "ali_from" / "train-clean-100"
    texts = read_text(folder / "data" / "train-clean-100" / "text")
    frames, infeasible = read_text(ali / "ali"), read_text(ali / "infeasible")
    assert list(infeasible) == [LONG]
    assert infeasible[LONG]
    assert list(frames) == [utterance for utterance in texts if utterance != LONG]
    times = read_ctm(ali / "words.ctm")
    assert {utterance: [span.symbol for span in spans] for utterance, spans in times.items()} == {
        utterance: texts[utterance] for utterance in frames
    }
    mark = json.loads((folder / "exp" / ".marks" / "ali_from.json").read_text())
    assert mark["options"] == {"aligner": "torchaudio_ctc"}

    assert driver.main(["train_ottc", *_words(source, seeds="1")]) == 0, capfd.readouterr().out
    said = capfd.readouterr().out
    assert "1 of 48 utterances of train-clean-100 have no forced alignment" in said
    experiment = folder / "exp" / "oracle" / "seed1"
    shapes = read_text(experiment / "aligned" / "train" / "speech_shape")
    assert list(shapes) == list(frames)
    followed = json.loads((experiment / "alignments" / "1epoch.json").read_text())
    assert 0 in next(iter(followed.values()))["labels"]


def test_a_model_with_other_tokens_cannot_align(
    source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = folder / "data" / "token_list" / "char" / "tokens.txt"
    tokens.write_text(tokens.read_text().replace("B\n", "E\n"))
    assert driver.main(["forced_alignment", *_words(source / "valid.loss.ave.pth")]) == 1
    assert "token 4 is 'B' there and 'E' here" in capsys.readouterr().err
    assert not (folder / "exp" / "ali_from" / "train-clean-100" / "ali").exists()


def test_a_model_with_ottc_cannot_align(
    lab: Lab, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lab.train("no_source", ctc_conf={"ctc_type": "ottc"}, max_epoch=1)
    assert driver.main(["forced_alignment", *_words(model)]) == 1
    assert "needs a model with CTC, this one has OTTC" in capsys.readouterr().err
