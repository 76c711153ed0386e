"""Configurations with the paper's schedule build: its encoders for all corpora, a Conformer from scratch."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.tasks.asr import ASRTask

from espnet_ottc.espnet.schedule import LinearDecay, count_updates
from espnet_ottc.recipe.configs import Config, purpose, render, resolve_system, system_files
from espnet_ottc.recipe.systems import System

EGS = Path(__file__).parents[2] / "egs2"
CORPORA = ("librispeech", "timit", "ami")
ENCODERS = {"wav2vec2_large": "WAV2VEC2_LARGE_LV60K", "xlsr300m": "WAV2VEC2_XLSR_300M"}
CTC_TYPES = {"ctc": "builtin", "ottc": "ottc", "ottc_null": "ottc"}
TOKENS = ["<blank>", "<unk>", "<space>", "▁", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]
TRAINING = [
    (corpus, system)
    for corpus in CORPORA
    for system in system_files(EGS / f"{corpus}_ottc" / "conf")
]
CONFORMER = [(corpus, system) for corpus, system in TRAINING if system.endswith("_conformer")]
PRETRAINED = [each for each in TRAINING if each not in CONFORMER]


def _config(corpus: str, system: str) -> Config:
    return resolve_system(EGS / f"{corpus}_ottc" / "conf", system)


def _load(corpus: str, system: str) -> dict:
    return dict(_config(corpus, system).values)


def _options(corpus: str, system: str, folder: Path) -> argparse.Namespace:
    tokens = folder / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    flat = folder / "train.yaml"
    flat.write_text(render(_config(corpus, system)), encoding="utf-8")
    words = ["--config", str(flat), "--token_type", "word", "--token_list", str(tokens)]
    return ASRTask.get_parser().parse_args([*words, "--output_dir", str(folder)])


def test_every_corpus_has_both_encoders_with_both_criteria():
    wanted = {
        (corpus, f"{criterion}_{encoder}")
        for corpus in CORPORA
        for criterion in CTC_TYPES
        for encoder in ENCODERS
    }
    assert set(PRETRAINED) == wanted


def test_librispeech_has_a_conformer_with_both_criteria():
    assert set(CONFORMER) == {("librispeech", f"{criterion}_conformer") for criterion in CTC_TYPES}


@pytest.mark.parametrize(("corpus", "system"), PRETRAINED)
def test_a_pretrained_configuration_builds(corpus, system, tmp_path):
    options = _options(corpus, system, tmp_path)
    with torch.device("meta"):
        model = ASRTask.build_model(options)
    encoder = next(name for name in ENCODERS if system.endswith(f"_{name}"))
    criterion = system.removesuffix(f"_{encoder}")
    assert model.ctc.ctc_type == CTC_TYPES[criterion]
    assert model.encoder.bundle == ENCODERS[encoder]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == pytest.approx(311e6, rel=0.01)
    assert model.frontend is model.normalize is model.specaug is None
    # The waveform's own lengths are all that stage 4 collects.
    assert options.model_conf["extract_feats_in_collect_stats"] is False
    # One folder, one set of statistics.
    assert System("x", _config(corpus, system)).features == {
        "input_size": 1, "normalize": None
    }  # fmt: skip


@pytest.mark.parametrize(("corpus", "system"), CONFORMER)
def test_a_conformer_builds(corpus, system, tmp_path):
    options = _options(corpus, system, tmp_path)
    # Stage 4 writes them.
    stats = tmp_path / "feats_stats.npz"
    np.savez(stats, count=2, sum=np.zeros(80), sum_square=np.full(80, 2.0))
    options.normalize_conf = {"stats_file": str(stats)}
    model = ASRTask.build_model(options)
    criterion = system.removesuffix("_conformer")
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


@pytest.mark.parametrize(("corpus", "system"), TRAINING)
def test_the_schedule_is_the_papers(corpus, system, tmp_path):
    options = _options(corpus, system, tmp_path)
    shapes = tmp_path / "speech_shape"
    second, ami = 16000, corpus == "ami"
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


@pytest.mark.parametrize(("corpus", "system"), TRAINING)
def test_a_system_differs_from_its_twin_in_the_criterion_alone(corpus, system):
    twin = system.replace("ottc_null_", "ctc_").replace("ottc_", "ctc_")
    ctc, other = _load(corpus, twin), _load(corpus, system)
    assert ctc.pop("ctc_conf") == {"ctc_type": "builtin"}
    conf = other.pop("ctc_conf")
    if system != twin:
        label = {"librispeech": "<word_break>", "timit": None, "ami": None}
        assert conf["ctc_type"] == "ottc"
        null = system.startswith("ottc_null_")
        assert conf.get("boundary_label") == (None if null else label[corpus])
        assert (conf.get("null_capacity", 0) > 0) is null
    assert ctc == other


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("criterion", CTC_TYPES)
def test_encoders_differ_in_the_bundle_alone(corpus, criterion):
    configs = [_load(corpus, f"{criterion}_{encoder}") for encoder in ENCODERS]
    for config, bundle in zip(configs, ENCODERS.values(), strict=True):
        assert config["encoder_conf"].pop("bundle") == bundle
    assert configs[0] == configs[1]


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_base_of_a_corpus_says_how_to_train_on_it(corpus):
    head = purpose(EGS / f"{corpus}_ottc" / "conf" / "base.yaml")
    assert f"./run.sh --{corpus} DIR " in head
    for word in (
        "Purpose:",
        "Command:",
        "Hardware:",
        "Time:",
        "--systems ctc_xlsr300m ottc_xlsr300m ",
    ):
        assert word in head
