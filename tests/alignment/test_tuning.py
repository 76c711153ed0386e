"""`ottc-tune`: a recogniser that is there gets a boundary model, and both align as one."""

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tone_words import PITCHES, RATE, Times, small_config, spoken, write
from torch import Tensor

from espnet_ottc.aligner.aligner import Aligner
from espnet_ottc.aligner.models import registry
from espnet_ottc.alignment.boundary import session
from espnet_ottc.alignment.boundary.adapting import adapted_config
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.bin.align import main as align
from espnet_ottc.bin.tune import main as tune

soundfile = pytest.importorskip("soundfile")
STRIDE = 640
LETTERS = tuple("ABCDE")
TOKENS = ("-", "|", *LETTERS)


class ToneModel:
    """A CTC model that knows each letter, but says it up to 100 ms late, as such models may."""

    sampling_rate, stride, least_samples = RATE, STRIDE, STRIDE
    grid = FrameGrid(STRIDE / RATE)
    tokens = TOKENS
    token_type, topology = "char", "ctc"
    blank, separator, unknown, boundary, null = 0, 1, None, None, None
    alphabet, romanize = Alphabet(frozenset(LETTERS)), None
    pads, device = False, torch.device("cpu")
    boundary_model = None

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, samples: Tensor) -> Tensor:
        return samples

    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        found = []
        for samples in stretches:
            frames = samples[: len(samples) // STRIDE * STRIDE].reshape(-1, STRIDE)
            time = torch.arange(STRIDE) / RATE
            heard = [
                (frames * torch.exp(-2j * math.pi * pitch * time)).mean(1).abs()
                for pitch in PITCHES.values()
            ]
            letters = torch.stack(heard, 1)
            quiet = torch.full((len(frames), 2), 0.03)
            scores = 60 * torch.cat([quiet, letters], 1)
            found.append(FrameOutputs(scores.roll(2, 0).log_softmax(1)))
        return found

    def encode(self, word: str) -> list[int]:
        return [TOKENS.index(letter) for letter in word]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        best = outputs.log_probs.argmax(1).unique_consecutive().tolist()
        letters = "".join(TOKENS[i] for i in best if i > 1)
        return " ".join(letters[i : i + 3] for i in range(0, len(letters), 3))


def _load(place: str, *, name: str, **_: object) -> ToneModel:
    return ToneModel(name)


@pytest.fixture(autouse=True)
def _tones(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tone_model")
    module.load = _load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "espnet_ottc.aligner.models.tone_model", module)
    monkeypatch.setitem(registry.SOURCES, "tone", ("tone_model", "anything"))
    monkeypatch.setattr(session, "suited_config", lambda texts, **_: small_config())


def _write(folder: Path, number: int, count: int = 4) -> Times:
    samples, words, times = spoken(number, count)
    write(folder, f"r{number}", samples, " ".join(words).upper())
    return times


def _errors(out: Path, times: dict[str, list[tuple[float, float]]]) -> float:
    found: dict[str, list[tuple[float, float]]] = {}
    for line in (out / "words.ctm").read_text().splitlines():
        name, _, start, length, *_ = line.split()
        found.setdefault(name, []).append((float(start), float(start) + float(length)))
    return float(
        (torch.tensor(list(found.values())) - torch.tensor([times[u] for u in found])).abs().mean()
    )


def _recordings(folder: Path, count: int, first: int = 0, words: int = 4) -> dict[str, list]:
    folder.mkdir()
    return {f"r{i}": _write(folder, i, words) for i in range(first, first + count)}


def test_a_tuned_model_is_sharper_than_its_recogniser_and_recognises_as_before(tmp_path, capsys):
    _recordings(tmp_path / "data", 16)
    times = _recordings(tmp_path / "new", 4, first=50)
    tuned = tmp_path / "tuned"
    assert tune(["--model", "tone:x", "--data", str(tmp_path / "data"), "--out", str(tuned)]) == 0
    assert "nats per frame" in capsys.readouterr().out
    errors = {}
    for name, model in (("before", "tone:x"), ("after", str(tuned))):
        out = tmp_path / name
        assert align(
            [str(tmp_path / "new"), "--model", model, "--out", str(out), "--processes", "1"]
        ) in (0, 3)
        errors[name] = _errors(out, times)
    assert errors["after"] < 0.02 < errors["before"]
    aligner = Aligner.from_pretrained(str(tuned))
    assert (aligner.search, aligner.model_name) == ("boundary", str(tuned))
    samples = torch.from_numpy(soundfile.read(tmp_path / "new/r50.wav", dtype="float32")[0])
    torch.testing.assert_close(
        aligner.outputs(samples).log_probs, ToneModel("").outputs([samples])[0].log_probs
    )
    # The same again trains nothing.
    assert tune(["--model", "tone:x", "--data", str(tmp_path / "data"), "--out", str(tuned)]) == 0
    assert "trained by an earlier run" in capsys.readouterr().out


def test_recordings_without_text_are_recognised_and_train_with_a_model_aligns_at_once(
    tmp_path, capsys
):
    times = _recordings(tmp_path / "data", 16)
    for path in sorted((tmp_path / "data").glob("*.txt"))[:6]:
        path.unlink()
    out = tmp_path / "out"
    command = [str(tmp_path / "data"), "--train", "--model", "tone:x", "--out", str(out)]
    command.append("--no-vad")  # its words are tones
    assert align([*command, "--processes", "1"]) in (0, 3)
    assert "6 recordings without text were recognised" in capsys.readouterr().out
    assert json.loads((out / "tuned_model/tuned_model.json").read_text())["model"] == "tone:x"
    # A second run has nothing to do.
    assert align([*command, "--processes", "1"]) in (0, 3)
    assert "16 of an earlier run" in capsys.readouterr().out
    assert _errors(out, times) < 0.02


def test_a_boundary_model_is_no_recogniser_and_a_recogniser_that_went_is_named(tmp_path, capsys):
    _recordings(tmp_path / "data", 16)
    data, out = str(tmp_path / "data"), tmp_path / "out"
    assert align([data, "--train", "--out", str(out), "--processes", "1"]) == 0
    boundary = out / "boundary_model"
    assert tune(["--model", str(boundary), "--data", data, "--out", str(tmp_path / "t")]) == 1
    assert "no recogniser to tune" in capsys.readouterr().err
    tuned = tmp_path / "one/tuned"
    shutil.copytree(boundary, tuned / "boundary_model")
    (tuned / "tuned_model.json").write_text(
        json.dumps({"model": str(tmp_path / "gone"), "beside": "../gone"})
    )
    with pytest.raises(FileNotFoundError, match="gone is not there any more"):
        Aligner.from_pretrained(str(tuned))
    # Moved together they find each other.
    (tmp_path / "one/gone").mkdir()
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(FileNotFoundError, match=r"two/tuned/\.\./gone"):
        Aligner.from_pretrained(str(tmp_path / "two/tuned"))


def test_neither_a_model_nor_train_is_an_error(tmp_path, capsys):
    assert align([str(tmp_path)]) == 1
    assert "give a --model, or --train" in capsys.readouterr().err


def test_the_boundary_model_of_a_tuned_model_is_adapted(tmp_path, capsys):
    _recordings(tmp_path / "data", 16)
    tuned, out, new = tmp_path / "tuned", tmp_path / "out", tmp_path / "new"
    data = ["--data", str(tmp_path / "data")]
    assert tune(["--model", "tone:x", *data, "--out", str(tuned)]) == 0
    new.mkdir()
    for number in range(50, 62):
        samples, words, _ = spoken(number, voice=0.6)
        write(new, f"r{number}", samples, " ".join(words).upper())
    before = BoundaryModel.load(tuned / "boundary_model")
    align([str(new), "--model", str(tuned), "--out", str(out), "--adapt", "--processes", "1"])
    assert f"{out / 'tuned_model'}: 6 rounds" in capsys.readouterr().out
    adapted = BoundaryModel.load(out / "tuned_model" / "boundary_model")
    assert adapted.config == adapted_config(before)
    assert Aligner.from_pretrained(str(out / "tuned_model")).search == "boundary"
    assert tune(["--model", "tone:x", *data, "--out", str(tmp_path / "b"), "--adapt"]) == 1
    assert "has no boundary model to adapt" in capsys.readouterr().err
    lexicon = ["--lexicon", __file__]
    assert tune(["--model", str(tuned), *data, "--out", str(out), "--adapt", *lexicon]) == 1
    assert "--lexicon has no use with --adapt" in capsys.readouterr().err
    # A model that were its own recogniser could not be loaded.
    for adapt in ([], ["--adapt"]):
        assert tune(["--model", str(tuned), *data, "--out", str(tuned), *adapt]) == 1
        assert "is the --model itself" in capsys.readouterr().err
