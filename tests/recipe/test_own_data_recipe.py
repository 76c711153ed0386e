"""The recipe for data of one's own, from the data to the tokens."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from espnet_ottc.recipe import driver

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A folder with data, from which the recipe runs as from its own."""
    (tmp_path / "egs2").symlink_to(ROOT / "egs2")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "conf").symlink_to(ROOT / "egs2/any_ottc/conf")
    (tmp_path / "TEMPLATE").symlink_to(ROOT / "egs2/TEMPLATE")
    monkeypatch.chdir(folder)
    return folder


def test_a_kaldi_directory_becomes_cuts_and_tokens(recipe, capsys):
    data = recipe / "my data"
    data.mkdir()
    for name in ("ann", "bob", "cat"):
        samples = np.random.default_rng(0).normal(0, 0.1, 16000)
        soundfile.write(data / f"{name}.wav", samples, 16000)
    names = ("ann", "bob", "cat")
    (data / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
    (data / "text").write_text("".join(f"{name} HELLO {name.upper()}\n" for name in names))
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    (data / "ctm").write_text("ann 1 0.1 0.3 HELLO\nann 1 0.4 0.3 ANN\n")
    words = ["--corpus", "any", "--data", str(data), "--stop_stage", "3"]
    assert driver.main(words) == 0
    cuts = {
        cut.id: (part, cut)
        for part in ("train", "dev", "test")
        for cut in CutSet.from_file(recipe / "data" / part / "cuts.jsonl.gz")
    }
    assert sorted(cuts) == ["ann", "bob", "cat"]
    assert len({part for part, _ in cuts.values()}) == 3
    assert [one.symbol for one in cuts["ann"][1].supervisions[0].alignment["word"]] == [
        *("HELLO", "ANN")
    ]
    tokens = (recipe / "data/token_list/char/tokens.txt").read_text().splitlines()
    assert {"H", "E", "L", "O", "<space>"} <= set(tokens)
    assert "divided into train, dev, test by speakers" in capsys.readouterr().out


def test_data_that_are_not_there_are_named_before_anything_runs(recipe, capsys):
    assert driver.main(["check", "--corpus", "any", "--data", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (recipe / "data").exists()
