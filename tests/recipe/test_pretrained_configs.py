"""Configurations with the paper's schedule build: its encoders for all corpora, a Conformer from scratch."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.tasks.asr import ASRTask

from espnet_ottc.espnet.schedule import LinearDecay, count_updates
from espnet_ottc.recipe.systems import System

EGS = Path(__file__).parents[2] / "egs2"
CORPORA = ("librispeech", "timit", "ami")
ENCODERS = {"wav2vec2_large": "WAV2VEC2_LARGE_LV60K", "xlsr300m": "WAV2VEC2_XLSR_300M"}
TRAINING = sorted(EGS.glob("*_ottc/conf/train_*.yaml"))
CONFORMER = sorted(EGS.glob("*_ottc/conf/train_*_conformer.yaml"))
PRETRAINED = [path for path in TRAINING if path not in CONFORMER]
CTC_TYPES = {"ctc": "builtin", "ottc": "ottc"}
TOKENS = ["<blank>", "<unk>", "<space>", "▁", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]


def _name(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


def _load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _options(path: Path, folder: Path) -> argparse.Namespace:
    tokens = folder / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    words = ["--config", str(path), "--token_type", "word", "--token_list", str(tokens)]
    return ASRTask.get_parser().parse_args([*words, "--output_dir", str(folder)])


def test_every_corpus_has_both_encoders_with_both_criteria():
    wanted = {
        f"{corpus}_ottc-train_{criterion}_{encoder}"
        for corpus in CORPORA
        for criterion in ("ctc", "ottc")
        for encoder in ENCODERS
    }
    assert {_name(path) for path in PRETRAINED} >= wanted


def test_librispeech_has_a_conformer_with_both_criteria():
    wanted = {f"librispeech_ottc-train_{criterion}_conformer" for criterion in CTC_TYPES}
    assert {_name(path) for path in CONFORMER} == wanted


@pytest.mark.parametrize("path", PRETRAINED, ids=_name)
def test_a_pretrained_configuration_builds(path, tmp_path):
    options = _options(path, tmp_path)
    with torch.device("meta"):
        model = ASRTask.build_model(options)
    _, criterion, encoder = path.stem.split("_", 2)
    assert model.ctc.ctc_type == CTC_TYPES[criterion]
    assert model.encoder.bundle == ENCODERS[encoder]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == pytest.approx(311e6, rel=0.01)
    assert model.frontend is model.normalize is model.specaug is None
    # The waveform's own lengths are all that stage 4 collects.
    assert options.model_conf["extract_feats_in_collect_stats"] is False
    # One folder, one set of statistics.
    assert System("x", path, _load(path)).features == {"input_size": 1, "normalize": None}


@pytest.mark.parametrize("path", CONFORMER, ids=_name)
def test_a_conformer_builds(path, tmp_path):
    options = _options(path, tmp_path)
    # Stage 4 writes them.
    stats = tmp_path / "feats_stats.npz"
    np.savez(stats, count=2, sum=np.zeros(80), sum_square=np.full(80, 2.0))
    options.normalize_conf = {"stats_file": str(stats)}
    model = ASRTask.build_model(options)
    criterion = path.stem.split("_")[1]
    assert model.ctc.ctc_type == CTC_TYPES[criterion]
    assert isinstance(model.encoder, ConformerEncoder)
    assert isinstance(model.normalize, GlobalMVN)
    # Masked before it is normalised: 0 would not be the mean.
    for mask in (model.specaug.freq_mask, model.specaug.time_mask):
        assert mask.replace_with_zero is False
    torch.manual_seed(0)
    samples = 2 * 16000
    _, lengths = model.encode(torch.randn(1, samples), torch.tensor([samples]))
    # 20 ms frames, but for what the convolutions lose at the ends.
    assert lengths.item() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("path", TRAINING, ids=_name)
def test_the_schedule_is_the_papers(path, tmp_path):
    options = _options(path, tmp_path)
    shapes = tmp_path / "speech_shape"
    second, ami = 16000, path.parts[-3].startswith("ami")
    # 3 h, the smallest of the corpora.
    shapes.write_text("".join(f"u{n:04d} {3 * second}\n" for n in range(3600)))
    options.train_shape_file = [str(shapes)]
    count_updates(options)
    (optimizer,) = ASRTask.build_optimizers(options, torch.nn.Linear(1, 1))
    assert isinstance(optimizer, torch.optim.AdamW)
    scheduler = LinearDecay(optimizer, **options.scheduler_conf)
    steps = options.scheduler_conf["total_steps"]
    warmup = round(0.1 * steps) if ami else 500
    assert (scheduler.total_steps, scheduler.warmup) == (steps, warmup)
    assert options.optim_conf["lr"] == (1.25e-3 if ami else 2e-4)
    assert options.max_epoch == 40
    # An epoch is one pass over the data.
    assert options.num_iters_per_epoch is None
    frozen_after = 30 if options.ctc_conf["ctc_type"] == "ottc" else None
    assert options.ctc_conf.get("freeze_alpha_after_epoch") == frozen_after


@pytest.mark.parametrize("path", TRAINING, ids=_name)
def test_a_system_differs_from_its_twin_in_the_criterion_alone(path):
    name = path.name.replace("train_ottc_", "train_ctc_")
    ctc, other = _load(path.with_name(name)), _load(path)
    assert ctc.pop("ctc_conf") == {"ctc_type": "builtin"}
    conf = other.pop("ctc_conf")
    if path.name != name:
        label = {"librispeech_ottc": "<space>", "timit_ottc": None, "ami_ottc": None}
        assert conf["ctc_type"] == "ottc"
        assert conf.get("boundary_label") == label[path.parts[-3]]
    assert ctc == other


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("criterion", ["ctc", "ottc"])
def test_encoders_differ_in_the_bundle_alone(corpus, criterion):
    folder = EGS / f"{corpus}_ottc" / "conf"
    configs = [_load(folder / f"train_{criterion}_{encoder}.yaml") for encoder in ENCODERS]
    for config, bundle in zip(configs, ENCODERS.values(), strict=True):
        assert config["encoder_conf"].pop("bundle") == bundle
    assert configs[0] == configs[1]


@pytest.mark.parametrize("path", TRAINING, ids=_name)
def test_a_configuration_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    head = text[: text.index("\nencoder:")]
    for word in ("Purpose:", "Command:", "Hardware:", "Time:"):
        assert f"# {word}" in head
    assert f"--systems {path.stem.removeprefix('train_')} " in head
