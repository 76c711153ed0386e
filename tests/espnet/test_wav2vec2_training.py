"""Training, resuming and decoding of a wav2vec2 encoder through ESPnet's own task."""

import pytest
import torch
import torchaudio
import yaml
from lhotse import CutSet
from wav2vec2_lab import BUNDLE, LARGE, tiny_bundle, tiny_encoder

from espnet_ottc.espnet.trained_model import TrainedModel

OTTC = {"ctc_type": "ottc", "boundary_label": "<space>", "freeze_alpha_after_epoch": 1}
RAW = {
    "encoder": "torchaudio_wav2vec2",
    "input_size": 1,
    "normalize": None,
    "max_epoch": 2,
    "optim_conf": {"lr": 0.001},
    "scheduler": "linear_decay",
    "scheduler_conf": {"warmup_steps": 3},
}
BATCHES = 48 // 8


@pytest.fixture(scope="module", params=["ctc", "ottc"])
def trained(lab, request):
    conf = {"ctc": {"ctc_type": "builtin"}, "ottc": OTTC}[request.param]
    options = {
        "model_conf": LARGE,
        "normalize_waveform": True,
        "mask_prob": 0.2,
        "mask_length": 2,
        "mask_channel_prob": 0.1,
        "mask_channel_length": 4,
        "gradient_checkpointing": True,
        "lr_scale": 0.5,
        "layer_lr_decay": 0.9,
    }
    return lab.train(f"raw_{request.param}", ctc_conf=conf, encoder_conf=options, **RAW)


def test_a_raw_waveform_trains_decodes_and_aligns(lab, trained):
    found = lab.decode(trained, f"{trained.name}_greedy", "--greedy", "true")
    assert found.keys() == lab.valid.texts.keys()
    model = TrainedModel(trained)
    cuts = list(CutSet.from_file(lab.valid.cuts))
    posteriors = model.posteriors(cuts)
    frames = [len(found.log_probs) for found in posteriors]
    assert frames == [(cut.num_samples - 400) // 320 + 1 for cut in cuts]
    assert (model.grid.shift, model.grid.offset) == (320 / 16000, 39.5 / 16000)


def test_the_schedule_ends_with_the_training_and_layers_keep_their_shares(trained):
    states = torch.load(trained / "checkpoint.pth", weights_only=False)
    assert states["schedulers"][0]["last_epoch"] == 2 * BATCHES
    groups = states["optimizers"][0]["param_groups"]
    rates = sorted(group["initial_lr"] for group in groups)
    factors = [0.5 * 0.9**3, 0.5 * 0.9**2, 0.5 * 0.9, 0.5, 1]
    assert rates == pytest.approx([0.001 * factor for factor in factors])
    assert [group["lr"] for group in groups] == [0.0] * 5
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["scheduler_conf"] == {"warmup_steps": 3, "total_steps": 2 * BATCHES}


def test_statistics_need_neither_features_nor_weights(lab):
    out = lab.train(
        "raw_stats",
        "--collect_stats",
        "true",
        encoder_conf={"bundle": "WAV2VEC2_XLSR_2B"},
        **{**RAW, "model_conf": {"ctc_weight": 1.0, "extract_feats_in_collect_stats": False}},
    )
    shapes = dict(
        line.split() for line in (out / "valid" / "speech_shape").read_text().splitlines()
    )
    assert shapes == {cut.id: str(cut.num_samples) for cut in CutSet.from_file(lab.valid.cuts)}


def test_statistics_are_collected_by_a_model_as_well(lab):
    out = lab.train(
        "raw_stats_model", "--collect_stats", "true", encoder_conf={"model_conf": LARGE}, **RAW
    )
    assert (out / "train" / "feats_stats.npz").exists()


def test_weights_are_loaded_for_a_training_and_never_again(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(torchaudio.pipelines, BUNDLE, tiny_bundle())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    config = {**RAW, "encoder_conf": {"bundle": BUNDLE}, "optim_conf": {"lr": 1e-9}}
    config["max_epoch"] = 1
    with pytest.raises(FileNotFoundError, match=r"tiny\.pth"):
        lab.train("pretrained", **config)

    file = tmp_path / "checkpoints" / "tiny.pth"
    file.parent.mkdir(exist_ok=True)
    weights = {
        name: torch.full_like(value, 0.5)
        for name, value in tiny_encoder().model.state_dict().items()
    }
    torch.save(weights, file)
    first = lab.train("pretrained", **config)
    best = first / "valid.loss.ave.pth"
    state = torch.load(best, weights_only=True)
    for name, value in weights.items():
        torch.testing.assert_close(state[f"encoder.model.{name}"], value, rtol=0, atol=1e-6)

    file.unlink()
    assert (TrainedModel(first).model.encoder.bundle, file.exists()) == (BUNDLE, False)
    lab.train("pretrained", "--resume", "true", **{**config, "max_epoch": 2})
    assert (first / "2epoch.pth").exists()
    other = lab.train("from_ctc", "--init_param", str(best), ctc_conf=OTTC, **config)
    again = torch.load(other / "valid.loss.ave.pth", weights_only=True)
    name = "encoder.model.feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(again[name], state[name])
    with pytest.raises(FileNotFoundError, match=r"tiny\.pth"):
        lab.train("head_only", "--init_param", f"{best}:ctc:ctc", **config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "utterance_mvn"}, "normalize must be null"),
        (
            {"specaug": "specaug", "specaug_conf": {"time_mask_width_range": 5}},
            "specaug must be null",
        ),
        ({"input_size": None}, "needs input_size: 1"),
        (
            {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.1, "total_steps": 12}},
            "onecyclelr sets one for all",
        ),
    ],
)
def test_options_that_do_not_go_together_stop_before_any_training(lab, options, message):
    conf = {"model_conf": LARGE, "layer_lr_decay": 0.9}
    with pytest.raises(ValueError, match=message):
        lab.train("wrong", encoder_conf=conf, **{**RAW, **options})
