"""A trained model: alignments of cuts, and files of parameters that are refused."""

import argparse
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from espnet2.tasks.asr import ASRTask
from espnet_lab import cut_of
from lhotse import CutSet

from espnet_ottc.alignment.aligners import make_aligner
from espnet_ottc.alignment.formats import read_text
from espnet_ottc.alignment.windows import Windows
from espnet_ottc.bin import asr_train
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.decoding.windowed import WindowedEncoding
from espnet_ottc.espnet.forced_alignment import check_alignment_source, write_forced_alignment
from espnet_ottc.espnet.trained_model import TrainedModel
from espnet_ottc.espnet.training_texts import check_training_texts


@pytest.fixture(scope="module")
def ottc(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<word_break>"}
    return TrainedModel(lab.train("aligned", ctc_conf=conf, max_epoch=1))


@pytest.fixture(scope="module")
def ctc(lab):
    return TrainedModel(lab.train("aligned_ctc", ctc_conf={"ctc_type": "builtin"}, max_epoch=1))


def _cuts(lab):
    return list(CutSet.from_file(lab.valid.cuts))


def test_cuts_are_aligned_with_their_texts_by_the_models_own_aligner(lab, ottc):
    cuts = _cuts(lab)
    found = ottc.align(cuts)
    assert list(found.times) == ["viterbi"]
    assert found.texts == lab.valid.texts
    assert found.durations == {cut.id: cut.duration for cut in cuts}
    times = found.times["viterbi"]
    for name, spans in times.words.items():
        assert " ".join(span.symbol for span in spans) == lab.valid.texts[name]
        (heard,) = ottc.posteriors([c for c in cuts if c.id == name])
        assert len(found.frame_labels[name]) == len(heard.log_probs)
    assert times.words.keys() | times.infeasible.keys() == lab.valid.texts.keys()


def test_several_aligners_share_a_pass_and_texts_may_come_from_elsewhere(lab, ottc):
    cuts = _cuts(lab)[:3]
    aligners = {"plan": make_aligner("transport"), "search": make_aligner("viterbi")}
    texts = {cuts[0].id: "A", cuts[1].id: "", cuts[2].id: "DA CAB"}
    found = ottc.align(cuts, aligners, text=lambda cut, _: texts[cut.id])
    assert found.texts == texts
    for name in aligners:
        words = {u: [s.symbol for s in spans] for u, spans in found.times[name].words.items()}
        assert words == {u: text.split() for u, text in texts.items()}


def test_what_is_infeasible_has_a_reason_and_no_times(lab, ctc):
    cuts = _cuts(lab)[:2]
    long = cuts[0].id
    texts = {long: "ABCD" * 100, cuts[1].id: "A"}
    aligners = {"forced": make_aligner("torchaudio_ctc")}
    (first, second) = ctc.aligned(cuts, aligners, text=lambda cut, _: texts[cut.id])
    assert first.infeasible["forced"]
    assert not first.words
    assert [span.symbol for span in second.words["forced"]] == ["A"]


def test_a_cut_without_a_text_of_its_own_is_an_error(lab, ottc):
    cut = _cuts(lab)[0]
    cut.supervisions = []
    with pytest.raises(ValueError, match=rf"{cut.id}: a cut must have one supervision"):
        ottc.align([cut])


def test_a_forced_alignment_names_a_token_for_every_frame(lab, ctc, tmp_path):
    cuts = _cuts(lab)
    aligner = make_aligner("torchaudio_ctc")
    done = list(write_forced_alignment(ctc, cuts, aligner, tmp_path / "valid"))
    assert done == [cut.id for cut in cuts]
    infeasible = read_text(tmp_path / "valid" / "infeasible")
    lines = [line.split() for line in (tmp_path / "valid" / "ali").read_text().splitlines()]
    assert {line[0] for line in lines} | infeasible.keys() == {cut.id for cut in cuts}
    heard = ctc.posteriors(cuts)
    frames = {cut.id: len(found.log_probs) for cut, found in zip(cuts, heard, strict=True)}
    assert all(len(line) - 1 == frames[line[0]] for line in lines)


def test_long_recordings_go_by_windows_on_every_way(lab, ottc, ctc, tmp_path, monkeypatch):
    """Recordings of 100 s: no way hears more than a window, and all find what the whole gives."""
    from espnet_ottc.espnet.decoding.inference import ViterbiSpeech2Text

    speech = np.tile(np.concatenate([c.load_audio()[0] for c in _cuts(lab)]), 20)[: 100 * 16000]
    rest = len(speech) % 160
    cut = cut_of(tmp_path / "long.wav", speech[: len(speech) - rest], "A BAD CAB")
    longest = []

    def watched(model):
        whole = model.encode

        def encode(speech, speech_lengths):
            longest.append(speech.shape[1])
            return whole(speech, speech_lengths)

        return encode

    for model in (ottc, ctc):
        # Over an utterance it would be over each window.
        monkeypatch.setattr(model.model, "normalize", None)
        with torch.no_grad():
            samples = torch.from_numpy(cut.load_audio())
            encoded, _ = model.model.encode(samples, torch.tensor([samples.shape[1]]))
        score = model.criterion.frame_log_probs if model is ottc else model.criterion.log_softmax
        expected = score(encoded)[0].detach()
        monkeypatch.setattr(model.model, "encode", watched(model.model))
        (found,) = model.posteriors([cut])
        torch.testing.assert_close(found.log_probs, expected, atol=1e-3, rtol=0)
        assert model.align([cut]).times[model.default_aligner].words[cut.id]
    folder = ottc.directory
    decoder = ViterbiSpeech2Text(folder / "config.yaml", folder / "valid.loss.ave.pth")
    decoder.asr_model.normalize = None
    decoder.asr_model.encode.whole = watched(SimpleNamespace(encode=decoder.asr_model.encode.whole))
    (said, *_) = decoder(cut.load_audio()[0])[0]
    assert said == ottc.recognise(ottc.posteriors([cut])[0])
    assert len(longest) > 3
    assert max(longest) <= 40 * 16000


def test_the_outputs_of_inner_layers_come_by_windows_too():
    def encode(speech, lengths):
        frames = speech[:, : speech.shape[1] // 160 * 160].reshape(1, -1, 160).mean(2)[..., None]
        return (frames, [(3, 2 * frames), (5, -frames)]), lengths // 160

    model = SimpleNamespace(encode=encode)
    windowed = WindowedEncoding(model, 16000, Windows(4.0, 0.8))
    windowed.stride = 160
    speech = torch.randn(1, 200000)
    (whole, layers), frames = encode(speech, torch.tensor([200000]))
    (found, inner), lengths = windowed(speech, torch.tensor([200000]))
    assert torch.equal(found, whole)
    assert torch.equal(lengths, frames)
    assert [number for number, _ in inner] == [3, 5]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(inner, layers, strict=True))


def test_alignments_for_trainings_come_from_ctc_with_the_same_tokens(lab, ottc, ctc, tmp_path):
    tokens = lab.valid.directory / "tokens.txt"
    check_alignment_source(ctc, tokens)
    with pytest.raises(ValueError, match="needs a model with CTC, this one has OTTC"):
        check_alignment_source(ottc, tokens)
    other = tmp_path / "tokens.txt"
    other.write_text(tokens.read_text().replace("C", "E"))
    with pytest.raises(ValueError, match="token 5 is 'C' there and 'E' here"):
        check_alignment_source(ctc, other)


def test_texts_that_the_tokens_cannot_spell_are_refused_before_a_training(lab, tmp_path):
    text = lab.data["train"].directory / "text"
    lower = tmp_path / "text"
    lines = [line.split(maxsplit=1) for line in text.read_text().splitlines()]
    lower.write_text("".join(f"{name} {words.lower()}\n" for name, words in lines))
    command = lab.command("lower", ctc_conf={"ctc_type": "builtin"}, max_epoch=1)
    command = [part.replace(f"{text},text", f"{lower},text") for part in command]
    with pytest.raises(ValueError, match=rf"{lower}: \d+ % of its tokens are <unk>; in upper case"):
        asr_train.main(command)
    assert not (lab.folder / "lower" / "1epoch.pth").exists()


def test_texts_with_some_unknown_tokens_are_warned_of(lab, tmp_path, caplog):
    path = tmp_path / "text"
    args = argparse.Namespace(
        token_list=["<blank>", "<unk>", "<space>", "A", "B", "<sos/eos>"],
        train_data_path_and_name_and_type=[(str(path), "text", "text"), ("x", "speech", "sound")],
        **dict.fromkeys(("bpemodel", "non_linguistic_symbols", "cleaner", "g2p")),
        use_preprocessor=True,
        token_type="char",
    )
    for text, said in (("A B A", False), ("A B A Z", True)):
        path.write_text(f"utt {text}\n")
        caplog.clear()
        check_training_texts(ASRTask, args)
        assert ("of its tokens are <unk>" in caplog.text) == said


class _Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_statistics_that_a_copied_model_lacks_are_asked_for(ottc, tmp_path):
    for name in ("config.yaml", "valid.loss.ave.pth"):
        shutil.copy(ottc.directory / name, tmp_path / name)
    path = tmp_path / "config.yaml"
    config = {**yaml.safe_load(path.read_text()), "normalize": "global_mvn"}
    path.write_text(yaml.safe_dump({**config, "normalize_conf": {"stats_file": "exp/stats.npz"}}))
    with pytest.raises(FileNotFoundError, match=r"config\.yaml names exp/stats\.npz, .*copy it"):
        TrainedModel(tmp_path)


def test_parameters_that_would_run_code_are_refused_before_they_do(lab, ottc, tmp_path, capsys):
    ran, path = tmp_path / "ran", tmp_path / "valid.loss.ave.pth"
    torch.save({"ctc.ctc_lo.weight": _Hostile(ran)}, path)
    (tmp_path / "config.yaml").write_text((ottc.directory / "config.yaml").read_text())
    with pytest.raises(ValueError, match="must hold tensors alone"):
        TrainedModel(tmp_path)
    with pytest.raises(SystemExit) as ended:
        lab.decode(tmp_path, "hostile", "--greedy", "true")
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {path}: ")
    with pytest.raises(ValueError, match="must hold tensors alone"):
        lab.train("hostile", "--init_param", str(path), ctc_conf={"ctc_type": "builtin"})
    (lab.folder / "hostile").mkdir(exist_ok=True)
    shutil.copy(path, lab.folder / "hostile" / "checkpoint.pth")
    with pytest.raises(ValueError, match="must hold tensors alone"):
        lab.train("hostile", "--resume", "true", ctc_conf={"ctc_type": "builtin"})
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"no pickle", pickle.dumps([1, 2], protocol=2)])
def test_what_is_no_file_of_parameters_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.pth: "):
        load_parameters(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        load_parameters(tmp_path / "gone.pth")
