"""Training and decoding through ESPnet's own task, in one process, on a corpus of tones."""

import io
import json
import logging
import os
import shutil
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from espnet2.asr.ctc import CTC
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.bin import pack
from espnet2.main_funcs.pack_funcs import unpack
from espnet2.tasks.asr import ASRTask
from espnet2.train.trainer import Trainer
from espnet_lab import ENCODER, HYBRID
from kaldialign import edit_distance
from lhotse import CutSet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from espnet_ottc.alignment.metrics.words import ErrorCounts, characters, count_errors
from espnet_ottc.bin import asr_train, export_aux_ctc
from espnet_ottc.espnet import register
from espnet_ottc.espnet.building import build_criterion
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.decoding.inference import ViterbiSpeech2Text
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.recording import WRITER_LOCK, RecordingTrainer
from espnet_ottc.espnet.trained_model import TrainedModel
from espnet_ottc.utils.holding import hold
from espnet_ottc.utils.training_checkpoints import restore_checkpoint
from espnet_ottc.utils.training_records import read_epochs, read_position


@pytest.fixture(scope="module")
def ottc(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<word_break>", "freeze_alpha_after_epoch": 9}
    return lab.train("ottc", ctc_conf=conf)


@pytest.fixture(scope="module")
def ctc(lab):
    return lab.train("ctc", ctc_conf={"ctc_type": "builtin"}, max_epoch=1)


def _scalars(experiment: Path, part: str) -> dict[str, list[float]]:
    events = EventAccumulator(str(experiment / "tensorboard" / part))
    events.Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _error_rate(found: dict[str, str], texts: dict[str, str]) -> float:
    """Of characters: a label is doubled here and there in eight short utterances."""
    counts = [
        count_errors(characters(text.split()), characters(found[utterance].split()))
        for utterance, text in texts.items()
    ]
    return sum(counts, ErrorCounts()).rate


def test_ottc_learns_the_tones_and_decodes_them_greedily_and_by_beam_search(lab, ottc):
    greedy = lab.decode(ottc, "greedy", "--greedy", "true")
    assert _error_rate(greedy, lab.valid.texts) < 0.1
    assert all(text == text.strip() for text in greedy.values())
    beam = lab.decode(ottc, "beam", "--ctc_weight", "1.0", "--beam_size", "3")
    assert _error_rate(beam, lab.valid.texts) < 0.1
    assert all(text == text.strip() for text in beam.values())
    # OTTC alone needs no beam.
    assert lab.decode(ottc, "beam_of_one", "--ctc_weight", "1.0", "--beam_size", "1") == beam


def test_viterbi_reads_the_tones_too_and_is_greedy_for_ctc(lab, ottc, ctc):
    found = lab.decode(ottc, "viterbi", "--viterbi", "true")
    assert _error_rate(found, lab.valid.texts) < 0.1
    assert all(text == text.strip() for text in found.values())
    # Options of a search have no effect, also of those that know no prefixes.
    timed = ("--viterbi", "true", "--time_sync", "true", "--ctc_weight", "1.0")
    assert lab.decode(ottc, "viterbi_timed", *timed) == found
    both = (lab.decode(ctc, f"ctc_{name}", f"--{name}", "true") for name in ("greedy", "viterbi"))
    assert next(both) == next(both)
    with pytest.raises(SystemExit):
        lab.decode(ctc, "ctc_both", "--greedy", "true", "--viterbi", "true")


def test_the_saved_price_of_a_change_is_that_of_the_fewest_errors_in_validation(lab, ottc):
    state = torch.load(ottc / "valid.loss.ave.pth", weights_only=True)
    errors = state["ctc.transition_scale.errors"]
    found = lab.decode(ottc, "viterbi_of_price", "--viterbi", "true")
    wrong = [
        edit_distance(list(text), list(found[utterance]))["total"]
        for utterance, text in lab.valid.texts.items()
    ]
    assert sum(wrong) == int(errors.min())
    assert int(errors.max()) > int(errors.min())


def test_the_transports_diagnostics_stand_in_tensorboard(ottc):
    scalars = _scalars(ottc, "valid")
    for name in ("alpha_entropy", "alpha_effective_frames", "dropped_frames", "peaky_frames"):
        assert len(scalars[name]) == 10
    assert len(scalars["boundary_moved_frames"]) == 9
    assert 0 < scalars["peaky_frames"][-1] < 1
    assert scalars["cer_ctc"][-1] < 0.2
    assert scalars["wer_ctc"][-1] < 0.5


@pytest.mark.parametrize("name", ["ottc", "ctc"])
def test_every_epoch_leaves_a_record_with_what_tensorboard_has(request, name):
    experiment = request.getfixturevalue(name)
    records = read_epochs(experiment)
    epochs = {"ottc": 10, "ctc": 1}[name]
    assert [record.epoch for record in records] == list(range(1, epochs + 1))
    assert {record.max_epoch for record in records} == {epochs}
    assert all(record.seconds > 0 and record.time and not record.warnings for record in records)
    scalars = _scalars(experiment, "valid")
    for quantity in ("loss", "cer_ctc"):
        assert [record.valid[quantity] for record in records] == pytest.approx(scalars[quantity])
    assert records[-1].train["loss"] > 0
    # How many batches are noted depends on how long they take.
    assert read_position(experiment)[:2] == (epochs, epochs)


def test_the_followed_alignments_are_kept_for_every_epoch(lab, ottc):
    last = json.loads((ottc / "alignments" / "10epoch.json").read_text())
    assert set(last) <= set(lab.valid.texts)
    for utterance, alignment in last.items():
        inside = " ".join(lab.valid.texts[utterance]).split()
        labels = [lab_id for lab_id in alignment["labels"] if lab_id > 2]
        assert len(labels) == len(inside)
        assert alignment["labels"][0] == alignment["labels"][-1] == 2
        assert alignment["starts"] == sorted(alignment["starts"])


def test_the_saved_configuration_is_complete_and_names_the_model_and_the_boundary_token(ottc):
    config = yaml.safe_load((ottc / "config.yaml").read_text())
    assert config["model"] == "ottc"
    assert config["ctc_conf"]["boundary_label"] == "<space>"
    assert config["ctc_conf"]["scale"] == "frames"


def test_an_interrupted_training_resumes_where_it_was(lab, ottc):
    # The tenth epoch trained with a frozen head; this one goes on from it without.
    head = "ctc.frame_head.hidden.weight"
    before = torch.load(ottc / "10epoch.pth", weights_only=True)
    conf = {"ctc_type": "ottc", "boundary_label": "<space>"}
    lab.train("ottc", "--resume", "true", ctc_conf=conf, max_epoch=11)
    after = torch.load(ottc / "latest.pth", weights_only=True)
    assert (ottc / "11epoch.pth").exists()
    assert not torch.equal(before[head], after[head])
    assert len(_scalars(ottc, "valid")["boundary_moved_frames"]) == 10
    assert [record.epoch for record in read_epochs(ottc)] == list(range(1, 12))


def test_a_training_half_done_under_version_0_1_goes_on(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<space>"}
    half = lab.train("half", ctc_conf=conf, max_epoch=1)
    old = shutil.copytree(half, lab.folder / "half_0_1")
    _as_version_0_1_left_it(old)
    for name in ("half", "half_0_1"):
        lab.train(name, "--resume", "true", ctc_conf=conf, max_epoch=2)
    expected, found = (
        torch.load(folder / "checkpoint.pth", weights_only=False) for folder in (half, old)
    )
    assert expected["reporter"]["epoch"] == found["reporter"]["epoch"] == 2
    for part in ("model", "optimizers"):
        torch.testing.assert_close(found[part], expected[part])


def _as_version_0_1_left_it(experiment: Path) -> None:
    """Give the checkpoint the head of version 0.1, and its records the numbers of NumPy 1.

    The head's last layer had a row (1, D) as its weight.  ESPnet before 202609 kept NumPy's numbers.
    """
    model, _ = ASRTask.build_model_from_file(experiment / "config.yaml", experiment / "1epoch.pth")
    name = "ctc.frame_head.output.bias"
    index = [name for name, _ in model.named_parameters()].index(name)
    states = torch.load(experiment / "checkpoint.pth", weights_only=False)
    states["model"]["ctc.frame_head.output.weight"] = states["model"].pop(name)[None]
    moments = states["optimizers"][0]["state"][index]
    for moment in ("exp_avg", "exp_avg_sq"):
        moments[moment] = moments[moment][None]
    for stats in states["reporter"]["stats"].values():
        stats["train"]["loss"] = np.float64(stats["train"]["loss"])
    stream = io.BytesIO()
    torch.save(states, stream, _use_new_zipfile_serialization=False)  # which can be edited
    old = stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert b"cnumpy.core.multiarray\nscalar" in old
    (experiment / "checkpoint.pth").write_bytes(old)


def test_a_folder_has_one_training_at_a_time(lab):
    folder = lab.folder / "held"

    def wait(holder: str) -> None:
        raise AssertionError(holder)

    with (
        hold(folder / WRITER_LOCK, wait),
        pytest.raises(ValueError, match=rf"held: process {os.getpid()} on .* trains into this"),
    ):
        lab.train("held", ctc_conf={"ctc_type": "builtin"}, max_epoch=1)
    assert not list(folder.glob("*.pth"))


def test_a_resumed_training_replaces_the_records_of_what_it_repeats(lab):
    conf = {"ctc_type": "builtin"}
    experiment = lab.train("repeated", "--keep_checkpoint", "true", ctc_conf=conf, max_epoch=2)
    first, second = read_epochs(experiment)
    assert (experiment / "checkpoint.kept.pth").exists()
    restore_checkpoint(experiment)
    (experiment / "epochs.jsonl").unlink()  # as an older version left it
    lab.train("repeated", "--resume", "true", ctc_conf=conf, max_epoch=2)
    again = read_epochs(experiment)
    assert [record.epoch for record in again] == [1, 2]
    assert (again[0].valid, again[0].time) == (first.valid, None)
    assert again[1].valid["loss"] == pytest.approx(second.valid["loss"], rel=1e-4)
    assert again[1].time >= second.time


def test_a_frozen_head_keeps_its_parameters_under_weight_decay_and_momentum(lab):
    conf = {"ctc_type": "ottc", "freeze_alpha_after_epoch": 1}
    experiment = lab.train(
        "frozen", ctc_conf=conf, max_epoch=3, optim_conf={"lr": 0.01, "weight_decay": 0.5},
        keep_nbest_models=3,
    )  # fmt: skip
    first, last = (
        torch.load(experiment / f"{epoch}epoch.pth", weights_only=True) for epoch in (1, 3)
    )
    for name in (name for name in first if name.startswith(("encoder.", "ctc."))):
        assert torch.equal(first[name], last[name]) is name.startswith("ctc.frame_head."), name


def test_the_same_yaml_trains_espnets_ctc_as_without_the_plug_in(lab, ctc, tmp_path):
    config = yaml.safe_load((ctc / "config.yaml").read_text())
    assert config["ctc_conf"] == {"ctc_type": "builtin"}
    assert config["model"] == "espnet"
    # Building a model chooses the trainer; another test may have built one since.
    ASRTask.build_model_from_file(ctc / "config.yaml")
    assert ASRTask.trainer is RecordingTrainer
    # DeepSpeed goes with no other trainer than ESPnet's own.
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "use_deepspeed": True}))
    ASRTask.build_model_from_file(tmp_path / "config.yaml")
    assert ASRTask.trainer is Trainer
    texts = lab.decode(ctc, "ctc_greedy", "--greedy", "true")
    assert set(texts) == set(lab.valid.texts)


def test_deepspeed_is_refused_where_it_would_train_without_ottcs_trainer(lab):
    with pytest.raises(ValueError, match=r"^use_deepspeed: .* its own trainer"):
        lab.train("deepspeed", ctc_conf={"ctc_type": "ottc"}, max_epoch=1, use_deepspeed=True)


def test_a_ctc_model_initialises_ottc(lab, ctc, caplog):
    checkpoint = ctc / "valid.loss.ave.pth"
    with caplog.at_level(logging.INFO):
        experiment = lab.train(
            "from_ctc", "--init_param", str(checkpoint), ctc_conf={"ctc_type": "ottc"},
            max_epoch=1, optim_conf={"lr": 0.0},
        )  # fmt: skip
    assert "Loading pretrained params" in caplog.text
    source = torch.load(checkpoint, weights_only=True)
    result = torch.load(experiment / "1epoch.pth", weights_only=True)
    for name, value in source.items():
        torch.testing.assert_close(result[name], value)


def test_hybrid_training_decodes_with_attention_and_prefix_scores(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<space>", "aux_ctc_weight": 0.3}
    experiment = lab.train(
        "hybrid", ctc_conf=conf, model_conf={"ctc_weight": 0.5}, max_epoch=1, **HYBRID
    )
    scalars = _scalars(experiment, "valid")
    assert {"loss_att", "loss_ctc", "loss_ottc", "loss_aux_ctc", "acc"} <= set(scalars)
    total = scalars["loss_ottc"][0] + 0.3 * scalars["loss_aux_ctc"][0]
    assert scalars["loss_ctc"][0] == pytest.approx(total, rel=1e-4)
    options = ("--ctc_weight", "0.5", "--beam_size", "2", "--maxlenratio", "-8")
    assert set(lab.decode(experiment, "hybrid_beam", *options)) == set(lab.valid.texts)


@pytest.mark.parametrize(
    "conf",
    [
        {"ctc_type": "ctc_prior"},
        pytest.param({"ctc_type": "cr_ctc"}, marks=pytest.mark.slow),
    ],
    ids=lambda conf: conf["ctc_type"],
)
def test_a_baseline_learns_the_tones_and_decodes_them(lab, conf):
    # Dropout makes two views differ; a masked band would hide a tone.
    encoder = {**ENCODER, "dropout": 0.1}
    experiment = lab.train(conf["ctc_type"], ctc_conf=conf, max_epoch=25, encoder_conf=encoder)
    found = lab.decode(experiment, conf["ctc_type"] + "_greedy", "--greedy", "true")
    assert _error_rate(found, lab.valid.texts) < 0.2
    scalars = _scalars(experiment, "train")
    assert ("loss_consistency" in scalars) is (conf["ctc_type"] == "cr_ctc")
    state = torch.load(experiment / "latest.pth", weights_only=True)
    if conf["ctc_type"] == "ctc_prior":
        assert state["ctc.log_prior"].exp().sum().item() == pytest.approx(1.0, abs=0.01)


def test_a_flat_start_is_for_the_first_epochs_and_ottc_goes_on(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<space>", "flat_start_epochs": 12}
    experiment = lab.train("flat_start", ctc_conf=conf, max_epoch=20)
    found = lab.decode(experiment, "flat_start_greedy", "--greedy", "true")
    assert _error_rate(found, lab.valid.texts) < 0.2
    train, valid = _scalars(experiment, "train"), _scalars(experiment, "valid")
    assert len(train["loss_flat_start"]) == 16
    assert len(train["loss_ottc"]) == 20
    assert "loss_flat_start" not in valid
    assert valid["loss_ctc"] == pytest.approx(valid["loss_ottc"])


def test_two_views_cannot_be_warped_in_time(lab):
    conf = {"ctc_type": "cr_ctc"}
    with pytest.raises(ValueError, match="apply_time_warp: false"):
        lab.train("warped", ctc_conf=conf, max_epoch=1, specaug="specaug",
                  specaug_conf={"apply_time_warp": True, "apply_time_mask": False})  # fmt: skip


def test_an_alignment_stream_reaches_the_criterion(lab):
    streams = []
    for part, tones in lab.data.items():
        path = lab.folder / f"ali.{part}"
        with path.open("w") as file:
            for utterance, text in tones.texts.items():
                # Three frames a letter, blanks around: what a forced alignment looks like.
                ids = {"A": 3, "B": 4, "C": 5, "D": 6, " ": 2}
                frames = [str(i) for c in text for i in (ids[c], ids[c], ids[c], 0)]
                file.write(f"{utterance} 0 0 {' '.join(frames)}\n")
        streams += [f"--{part}_data_path_and_name_and_type", f"{path},ali,text_int"]
    conf = {"ctc_type": "ottc", "boundary_label": "<space>", "label_weights": "ali"}
    experiment = lab.train("ali", *streams, ctc_conf=conf, max_epoch=1)
    followed = json.loads((experiment / "alignments" / "1epoch.json").read_text())
    labels = next(iter(followed.values()))["labels"]
    assert labels[0] == labels[-1] == 2
    assert 0 in labels


def test_an_alignment_that_does_not_spell_the_text_is_named(lab):
    path = lab.folder / "ali.wrong"
    path.write_text("".join(f"{utterance} 0 3 3 0\n" for utterance in lab.data["train"].texts))
    conf = {"ctc_type": "ottc", "label_weights": "ali"}
    stream = ("--train_data_path_and_name_and_type", f"{path},ali,text_int")
    with pytest.raises(ValueError, match=r"^utt1-\d\d: ali must spell the text"):
        lab.train("wrong_ali", *stream, ctc_conf=conf, max_epoch=1)


def test_a_packed_model_unpacks_and_decodes(lab, ottc, tmp_path, capsys):
    archive = tmp_path / "model.zip"
    command = ["asr", "--asr_train_config", str(ottc / "config.yaml"), "--outpath", str(archive)]
    pack.main([*command, "--asr_model_file", str(ottc / "valid.loss.ave.pth")])
    files = unpack(archive, tmp_path / "unpacked")
    model, _ = ASRTask.build_model_from_file(files["asr_train_config"], files["asr_model_file"])
    assert isinstance(model, OTTCASRModel)
    assert model.ctc.boundary == 2
    expected = TrainedModel(ottc).model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])
    paths = {name: files[name] for name in ("asr_train_config", "asr_model_file")}
    decoder = ViterbiSpeech2Text(**paths)
    cuts = {cut.id: cut for cut in CutSet.from_file(lab.valid.cuts)}
    for utterance, text in lab.decode(ottc, "unpacked", "--viterbi", "true").items():
        assert decoder(cuts[utterance].load_audio()[0])[0][0] == text


@pytest.mark.gpu
def test_mixed_precision_trains_decodes_and_aligns_on_a_gpu(lab):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    conf = {"ctc_type": "ottc", "boundary_label": "<space>", "freeze_alpha_after_epoch": 8}
    experiment = lab.train("amp", "--ngpu", "1", "--use_amp", "true", ctc_conf=conf)
    for name in ("greedy", "viterbi"):
        found = lab.decode(experiment, f"amp_{name}", f"--{name}", "true", "--ngpu", "1")
        assert _error_rate(found, lab.valid.texts) < 0.1
    beam = ("--ctc_weight", "1.0", "--beam_size", "3")
    found = lab.decode(experiment, "amp_beam", *beam, "--ngpu", "1")
    assert _error_rate(found, lab.valid.texts) < 0.1
    cuts = list(CutSet.from_file(lab.valid.cuts))[:3]
    on_gpu, on_cpu = (TrainedModel(experiment, device=d).posteriors(cuts) for d in ("cuda", "cpu"))
    for there, here in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(there.alpha, here.alpha, rtol=0.01, atol=1e-4)


def test_posteriors_come_with_weights_lengths_and_times(lab, ottc, ctc):
    cuts = list(CutSet.from_file(lab.valid.cuts))[:3]
    model = TrainedModel(ottc)
    assert model.grid.shift == pytest.approx(0.02)
    assert model.grid.offset == pytest.approx(-0.005)
    for cut, found in zip(cuts, model.posteriors(cuts), strict=True):
        frames = len(found.log_probs)
        assert frames == -(-(cut.num_samples // 160 + 1) // 2)
        torch.testing.assert_close(
            found.log_probs.exp().sum(1), torch.ones(frames), rtol=0, atol=1e-5
        )
        assert float(found.alpha.sum()) == pytest.approx(1)
    texts = [cut.supervisions[0].text for cut in cuts]
    labels = model.labels([model.token_ids(text) for text in texts])
    assert labels.targets[0, 0] == labels.targets[0, labels.lengths[0] - 1] == model.boundary == 2
    assert TrainedModel(ctc).posteriors(cuts)[0].alpha is None


def test_the_auxiliary_head_becomes_a_ctc_model_of_its_own(lab, ottc, tmp_path):
    conf = {"ctc_type": "ottc", "boundary_label": "<space>", "aux_ctc_weight": 1.0}
    joint = lab.train("joint", ctc_conf=conf)
    out = tmp_path / "aux"
    arguments = ["--experiment", str(joint), "--out", str(out)]
    assert export_aux_ctc.main(arguments) == 0
    exported, whole = TrainedModel(out), TrainedModel(joint)
    assert type(exported.criterion) is CTC
    cuts = list(CutSet.from_file(lab.valid.cuts))[:1]
    batch = torch.from_numpy(cuts[0].load_audio())
    with torch.no_grad():
        encoded, _ = whole.model.encode(batch, torch.tensor([batch.shape[1]]))
        expected = whole.criterion.aux_ctc_lo(encoded).log_softmax(2)
    torch.testing.assert_close(exported.posteriors(cuts)[0].log_probs, expected[0])
    found = lab.decode(out, "decode_aux", "--greedy", "true")
    best = [label for label, _ in groupby(expected[0].argmax(1).tolist()) if label]
    text = "".join(exported.token_list[label] for label in best).replace("<space>", " ")
    assert found[cuts[0].id] == text.strip()
    assert text


def test_only_a_joint_training_has_an_auxiliary_head_to_export(ottc, tmp_path, capsys):
    arguments = ["--experiment", str(ottc), "--out", str(tmp_path / "aux")]
    assert export_aux_ctc.main(arguments) == 1
    assert "must have an auxiliary CTC head" in capsys.readouterr().err


def test_an_utterance_that_breaks_the_loss_is_named(ottc):
    model = TrainedModel(ottc).model
    speech = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    speech[1, 100] = torch.nan
    lengths = torch.tensor([8000, 8000])
    text, text_lengths = torch.tensor([[3, 4], [4, 5]]), torch.tensor([2, 2])
    with pytest.raises(ValueError, match=r"^second: .*NaN"):
        model(speech, lengths, text, text_lengths, utt_id=["first", "second"])


def test_parameters_of_another_model_are_refused(lab, ottc, ctc):
    other = lab.folder / "mixed"
    other.mkdir()
    (other / "config.yaml").write_text((ottc / "config.yaml").read_text())
    (other / "ctc.pth").write_bytes((ctc / "valid.loss.ave.pth").read_bytes())
    with pytest.raises(ValueError, match=r"missing: \['ctc.frame_head"):
        TrainedModel(other, "ctc.pth")


def test_registering_again_changes_nothing():
    before = {name: ASRTask.__dict__[name] for name in ("build_model", "print_config")}
    register.register()
    assert all(ASRTask.__dict__[name] is function for name, function in before.items())
    with pytest.raises(TypeError, match="boundary_label"):
        build_criterion(5, 4, ctc_type="builtin", boundary_label="<space>")
    assert type(build_criterion(odim=5, encoder_output_size=4)) is CTC
    assert type(build_criterion(5, 4, ctc_type="ottc")) is OTTC
    assert issubclass(OTTCASRModel, ESPnetASRModel)


def test_print_config_documents_every_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["asr_train", "--ctc_conf", "ctc_type=ottc"])
    with pytest.raises(SystemExit):
        asr_train.main(["--print_config", "--ctc_conf", "ctc_type=ottc"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["ctc_conf"]["drop_threshold"] == 0.01
    assert "#   freeze_alpha_after_epoch: null  (keep the frame-weight head" in text


def test_a_misspelt_option_stops_before_any_training(lab):
    with pytest.raises(ValueError, match="did you mean scale"):
        lab.train("misspelt", ctc_conf={"ctc_type": "ottc", "scal": "frames"})


def test_the_logged_loss_is_the_whole_one_where_gradients_are_accumulated(lab):
    # ESPnet's trainer divides the loss in place.
    options = ASRTask.get_parser().parse_args(
        lab.command("divided", ctc_conf={"ctc_type": "ottc"}, model="ottc")
    )
    model = ASRTask.build_model(options)
    text = torch.tensor([[3, 4, 5]])
    loss, stats, _ = model(torch.randn(1, 16000), torch.tensor([16000]), text, torch.tensor([3]))
    before = loss.item()
    loss /= 2
    assert stats["loss"].item() == stats["loss_ctc"].item() == before
