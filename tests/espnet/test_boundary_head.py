"""A boundary head: trained with the recogniser, kept in its parameters, used for times."""

import logging
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
import yaml
from espnet2.tasks.asr import ASRTask
from lhotse import CutSet, Recording, SupervisionSegment

from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.alignment.aligners import make_aligner
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.options import parse_boundary_conf
from espnet_ottc.alignment.boundary.session import NotConvergedError
from espnet_ottc.espnet import boundary_head
from espnet_ottc.espnet.boundary_head import PREFIX, WHOLE_WORDS, BoundaryHead
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.trained_model import TrainedModel

OTTC = {"ctc_type": "ottc", "boundary_label": "<word_break>"}
BOUNDARY = {
    **{"window": 0.015, "noise": 0.5, "durations": 1.0, "gaussian_rounds": 4, "least_steps": 1},
    **{"stages": [{"rounds": 4, "epochs": 3}], "batch_frames": 256},
}
MODEL = {"ctc_weight": 1.0, "boundary_head": None, "boundary_conf": BOUNDARY}
TRAINING = {"ctc_conf": OTTC, "model_conf": MODEL, "keep_nbest_models": 2}


@pytest.fixture(scope="module")
def headed(lab):
    return lab.train("headed", max_epoch=3, **TRAINING)


@pytest.fixture(scope="module")
def model(headed):
    return TrainedModel(headed)


def _heads(folder):
    """The entries of the head in each file of parameters."""
    files = [p for p in folder.glob("*.pth") if not p.name.startswith("checkpoint")]
    return {
        path.name: {n: v for n, v in load_parameters(path).items() if n.startswith(PREFIX)}
        for path in files
    }


def _louder_than_noise(cut):
    """Seconds of a cut's first and last tone."""
    samples = cut.load_audio()[0]
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    return loud[0] / 16000, loud[-1] / 16000


def test_every_file_of_parameters_has_the_head_that_the_folder_has(headed):
    kept = BoundaryModel.load(headed / "boundary_model").to_tensors()
    heads = _heads(headed)
    assert {"3epoch.pth", "latest.pth", "valid.loss.ave_2best.pth"} <= heads.keys()
    for name, head in heads.items():
        assert {n.removeprefix(PREFIX) for n in head} == kept.keys(), name
        assert all(torch.equal(head[PREFIX + n], kept[n]) for n in kept), name


def test_times_are_the_heads_by_default_and_sharper_than_the_posteriors(lab, model):
    cuts = list(CutSet.from_file(lab.valid.cuts))
    found = model.align(cuts)
    assert list(found.times) == ["boundary"]
    rough = model.align(cuts, {"rough": make_aligner("viterbi")}).times["rough"].words
    errors = {"boundary": [], "rough": []}
    for cut in cuts:
        start, end = _louder_than_noise(cut)
        for name, words in (
            ("boundary", found.times["boundary"].words),
            ("rough", rough),
        ):
            spans = words[cut.id]
            assert [span.symbol for span in spans] == lab.valid.texts[cut.id].split()
            errors[name] += [abs(spans[0].start - start), abs(spans[-1].end - end)]
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["boundary"] < 0.008, means
    assert means["boundary"] < means["rough"], means


def test_the_command_aligns_by_the_head_and_keeps_confidences(lab, headed, model):
    cut = next(iter(CutSet.from_file(lab.valid.cuts)))
    aligner = Aligner.from_pretrained(str(headed))
    assert aligner.search == "boundary"
    text = lab.valid.texts[cut.id]
    found = aligner.align(cut.load_audio(), text, sampling_rate=16000)
    expected = model.align([cut]).times["boundary"].words[cut.id]
    for word, span in zip(found.words, expected, strict=True):
        assert (word.text, word.start, word.end) == (span.symbol, span.start, span.end)
        assert word.confidence is not None
        assert word.start_interval[0] <= word.start <= word.start_interval[1]
        assert [t.symbol for t in word.tokens] == list(word.text.lower())
    gaps = Aligner.from_pretrained(str(headed), AlignerOptions(allow_gaps=True))
    assert gaps.search == "viterbi"
    with pytest.raises(ValueError, match="knows no gaps"):
        AlignerOptions(search="boundary", allow_gaps=True)


def test_a_cut_with_a_long_pause_has_the_commands_times(lab, headed, model, tmp_path):
    one, other = list(CutSet.from_file(lab.valid.cuts))[:2]
    hiss = 0.02 * np.random.default_rng(0).standard_normal(3 * 16000)
    samples = np.concatenate([one.load_audio()[0], hiss, other.load_audio()[0]])
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    cut = Recording.from_file(tmp_path / "x.wav").to_cut()
    text = f"{lab.valid.texts[one.id]} {lab.valid.texts[other.id]}"
    cut.supervisions = [SupervisionSegment("x", "x", 0, cut.duration, text=text)]
    times = model.align([cut]).times["boundary"]
    found = Aligner.from_pretrained(str(headed)).align(tmp_path / "x.wav", text)
    pause = (one.duration, one.duration + 3)
    assert len(times.words["x"]) == len(found.words)
    for span, word in zip(times.words["x"], found.words, strict=True):
        assert (span.symbol, span.start, span.end) == (word.text, word.start, word.end)
        assert span.end < pause[0] + 0.2 or span.start > pause[1] - 0.2
    heard = [token for word in found.words for token in word.tokens]
    assert len(times.tokens["x"]) == len(heard)
    assert all(token.end <= cut.duration for token in times.tokens["x"])


def test_a_long_cut_is_searched_in_pieces_with_the_same_times(lab, model, monkeypatch):
    from espnet_ottc.alignment.boundary import beside, pieces

    cuts = list(CutSet.from_file(lab.valid.cuts))
    whole = model.align(cuts).times["boundary"].words
    monkeypatch.setattr(beside, "align_long", partial(pieces.align_long, longest=0.8))
    calls = []
    search = beside.align_features
    monkeypatch.setattr(
        beside, "align_features", lambda *given: calls.append(given[2]) or search(*given)
    )
    cut_up = model.align(cuts).times["boundary"].words
    assert len(calls) > len(cuts)
    for name, spans in whole.items():
        for one, other in zip(spans, cut_up[name], strict=True):
            assert abs(one.start - other.start) < 0.002
            assert abs(one.end - other.end) < 0.002


def test_a_training_that_goes_on_keeps_one_head_in_all_files(lab, headed):
    folder = lab.folder / "longer"
    shutil.copytree(headed, folder, symlinks=True)
    before = BoundaryModel.load(folder / "boundary_model").to_tensors()
    # As if the run had ended while it put the head into the files.
    path = folder / "3epoch.pth"
    state = load_parameters(path)
    torch.save({n: v for n, v in state.items() if not n.startswith(PREFIX)}, path)
    lab.train("longer", "--resume", "true", max_epoch=5, **TRAINING)
    for name, head in _heads(folder).items():
        assert head.keys() == {PREFIX + n for n in before}, name
        for entry, value in before.items():
            if value.is_floating_point():
                torch.testing.assert_close(head[PREFIX + entry], value, msg=name)
    assert TrainedModel(folder, "valid.loss.ave_2best.pth").boundary_model is not None


def test_espnets_own_average_and_half_precision_leave_the_head_readable(lab, headed, tmp_path):
    states = [load_parameters(headed / f"{epoch}epoch.pth") for epoch in (2, 3)]
    mean = {name: (one + states[1][name]) / 2 for name, one in states[0].items()}
    halved = {n: v.half() if v.is_floating_point() else v for n, v in mean.items()}
    head = BoundaryHead()
    head.load_state_dict(
        {n.removeprefix(PREFIX): v for n, v in halved.items() if n.startswith(PREFIX)}
    )
    kept = BoundaryModel.load(headed / "boundary_model")
    assert head.model().config == kept.config
    assert head.model().units.names == kept.units.names
    torch.testing.assert_close(head.model().log_prior, kept.log_prior, atol=0.01, rtol=0.01)


def test_a_packed_model_has_its_head(headed, tmp_path):
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(headed / "config.yaml", "exp/config.yaml")
        file.write(headed / "latest.pth", "exp/latest.pth")
        files = {"asr_model_file": "exp/latest.pth"}
        meta = {"files": files, "yaml_files": {"asr_train_config": "exp/config.yaml"}}
        file.writestr("meta.yaml", yaml.safe_dump(meta))
    assert Aligner.from_pretrained(str(archive)).search == "boundary"


def test_espnet_loads_it_and_trains_from_it(lab, headed):
    built, _ = ASRTask.build_model_from_file(
        str(headed / "config.yaml"), str(headed / "valid.loss.ave.pth"), "cpu"
    )
    assert built.boundary_head.model() is not None
    start = ["--init_param", str(headed / "latest.pth")]
    again = lab.train("from_headed", *start, max_epoch=1, **TRAINING)
    assert TrainedModel(again).boundary_model is not None


def test_who_wants_no_head_or_trains_ctc_has_none(lab):
    without = lab.train("without", ctc_conf=OTTC, max_epoch=1)
    assert not (without / "boundary_model").exists()
    model = TrainedModel(without)
    assert (model.boundary_model, model.default_aligner) == (None, "viterbi")
    with pytest.raises(ValueError, match="no boundary head"):
        model.aligner("boundary")
    with pytest.raises(ValueError, match="has no boundary model"):
        Aligner.from_pretrained(str(without), AlignerOptions(search="boundary"))


def test_a_head_that_finds_no_words_is_left_out_with_a_warning(lab, caplog, monkeypatch):
    def fail(*_):
        raise NotConvergedError("the training did not find the words: 0.02 nats per frame")

    monkeypatch.setattr(boundary_head, "train_into", fail)
    with caplog.at_level(logging.WARNING):
        folder = lab.train("no_words", max_epoch=1, **TRAINING)
    assert "the model gets no boundary head: the training did not find the words" in caplog.text
    assert not any(_heads(folder).values())
    assert TrainedModel(folder).default_aligner == "viterbi"


@pytest.mark.parametrize(
    ("token_type", "words", "units", "expected"),
    [
        ("word", "sil aa b epi", "auto", True),
        ("word", "zero one", "auto", False),
        ("char", "it is so", "auto", False),
        ("word", "sil aa b", "letters", False),
        ("char", "zero one", "words", True),
    ],
)
def test_phones_that_are_words_are_units_by_themselves(token_type, words, units, expected):
    options = parse_boundary_conf({"units": units})
    lexicon = options.lexicon(words.split(), whole=token_type in WHOLE_WORDS)
    assert lexicon == ({word: ((word,),) for word in words.split()} if expected else None)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"units": "phones"}, "units must be one of"),
        ({"window": -1}, "window"),
        ({"views": 3}, "has no views"),
    ],
)
def test_options_that_are_wrong_are_errors_before_anything_is_trained(lab, conf, message):
    with pytest.raises(ValueError, match=f"boundary_conf.*{message}"):
        lab.train("wrong", ctc_conf=OTTC, model_conf={**MODEL, "boundary_conf": conf})


def test_a_dictionary_that_is_not_there_is_an_error_before_anything_is_trained(lab, tmp_path):
    conf = {**BOUNDARY, "lexicon": str(tmp_path / "nowhere.txt")}
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lab.train("wrong", ctc_conf=OTTC, model_conf={**MODEL, "boundary_conf": conf})
    # Whoever gets no head needs none.
    lab.train(
        "none", ctc_conf=OTTC, model_conf={**MODEL, "boundary_head": False, "boundary_conf": conf}
    )
