"""Every configuration for two cores builds, and a twin differs in the criterion alone."""

import argparse
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.tasks.asr import ASRTask

from espnet_ottc.bin import asr_inference
from espnet_ottc.ops.flat_start import flat_start_share
from espnet_ottc.recipe.systems import System

RECIPES = Path(__file__).parents[2] / "egs2"
CONF = RECIPES / "librispeech_ottc" / "conf"
TRAINING = sorted(RECIPES.glob("*/conf/*/train_*.yaml"))
DECODING = sorted((RECIPES / "TEMPLATE" / "conf").glob("decode_*.yaml"))
# The separators of characters and of SentencePiece.
TOKENS = ["<blank>", "<unk>", "<space>", "▁", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]


def _name(path: Path) -> str:
    return "-".join([path.parents[2].name, path.parent.name, path.stem])


def _load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def _options(path: Path, folder: Path) -> argparse.Namespace:
    tokens = folder / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n")
    words = ["--config", str(path), "--token_type", "char", "--token_list", str(tokens)]
    # The statistics of global_mvn come from the data.
    options = ASRTask.get_parser().parse_args(
        [*words, "--output_dir", str(folder), "--normalize", "none"]
    )
    options.normalize, options.normalize_conf = None, {}
    return options


def test_there_are_configurations():
    assert [path.stem for path in DECODING] == ["decode_beam", "decode_best_path", "decode_greedy"]
    found = {(path.parents[2].name, path.parent.name) for path in TRAINING}
    mini = {(f"{corpus}_ottc", "mini") for corpus in ("ami", "librispeech", "timit")}
    assert found == {*mini, ("librispeech_ottc", "demo")}
    systems = {
        corpus: {p.stem for p in TRAINING if p.parent == RECIPES / f"{corpus}_ottc/conf/mini"}
        for corpus in ("ami", "librispeech", "timit")
    }
    assert systems["ami"] == systems["timit"] == systems["librispeech"] - {"train_ctc_long"}


@pytest.mark.parametrize("path", [p for p in TRAINING if "freeze" in p.stem], ids=_name)
def test_the_frame_weights_are_fixed_for_the_last_epochs(path):
    config, last = _load(path), int(path.stem.rpartition("_")[2])
    assert config["max_epoch"] - config["ctc_conf"]["freeze_alpha_after_epoch"] == last


MINI_OTTC = [p for p in TRAINING if p.stem == "train_ottc" and p.parent.name == "mini"]


@pytest.mark.parametrize("path", MINI_OTTC, ids=_name)
def test_ottc_fixes_the_frame_weights_for_the_same_share_of_every_training(path):
    config = _load(path)
    last = config["max_epoch"] - config["ctc_conf"]["freeze_alpha_after_epoch"]
    # docs/decisions/0006: 15 of 40 epochs.
    assert last / config["max_epoch"] == pytest.approx(15 / 40, abs=0.6 / config["max_epoch"])


@pytest.mark.parametrize(
    "path", [p for p in TRAINING if "flat_start_epochs" in _load(p)["ctc_conf"]], ids=_name
)
def test_a_flat_start_leaves_a_fifth_of_the_training_to_ottc_alone(path):
    config = _load(path)
    epochs = config["ctc_conf"]["flat_start_epochs"]
    shares = [flat_start_share(epoch + 1, epochs) for epoch in range(config["max_epoch"])]
    # docs/decisions/0010: three fifths, a fifth to hand over, a fifth.
    near = pytest.approx(1 / 5, abs=0.6 / config["max_epoch"])
    assert shares.count(0) / len(shares) == near
    assert sum(0 < share < 1 for share in shares) / len(shares) == near


@pytest.mark.parametrize("path", TRAINING, ids=_name)
def test_every_configuration_builds_a_model_and_its_schedule(path, tmp_path):
    options = _options(path, tmp_path)
    model = ASRTask.build_model(options)
    assert model.ctc.ctc_type == _load(path)["ctc_conf"]["ctc_type"]
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6, rel=0.1)
    (optimizer,) = ASRTask.build_optimizers(options, model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **options.scheduler_conf)
    # A schedule that ends before the training raises in its last step.
    assert scheduler.total_steps == options.max_epoch * options.num_iters_per_epoch


@pytest.mark.parametrize("path", TRAINING, ids=_name)
def test_every_configuration_says_what_it_is_for(path):
    text = path.read_text()
    head = text[: text.index("\nencoder:")]
    for word in ("Purpose:", "Command:", "Hardware:", "Time:"):
        assert f"# {word}" in head


@pytest.mark.parametrize(
    "path", [p for p in TRAINING if not p.stem.startswith("train_ctc_long")], ids=_name
)
def test_a_system_differs_from_ctc_in_the_criterion_alone(path):
    ctc, other = _load(path.parent / "train_ctc.yaml"), _load(path)
    assert ctc.pop("ctc_conf") == {"ctc_type": "builtin"}
    assert (other.pop("ctc_conf") == {"ctc_type": "builtin"}) is (path.stem == "train_ctc")
    assert ctc == other


# Each system once, and the recipes' own two with each recipe's settings.
@pytest.mark.parametrize(
    "path",
    [p for p in TRAINING if CONF in p.parents or p.stem in ("train_ctc", "train_ottc")],
    ids=_name,
)
def test_a_system_learns_a_batch_by_heart(path, tmp_path):
    torch.manual_seed(0)
    model = ASRTask.build_model(_options(path, tmp_path))
    model.specaug = None
    text = torch.tensor([[3, 4, 4, 2, 5], [6, 2, 7, -1, -1]])
    batch = {
        "speech": torch.randn(2, 16000),
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": text,
        "text_lengths": (text >= 0).sum(1),
    }
    if System("x", path, _load(path)).needs_alignment:
        # One label for each of the encoder's frames.
        _, batch["ali_lengths"] = model.encode(batch["speech"], batch["speech_lengths"])
        T, shorter = batch["ali_lengths"].tolist()
        batch["ali"] = torch.full((2, T), -1)
        for row, path_labels, frames in ((0, [0, 3, 4, 0, 4, 2, 5], T), (1, [0, 6, 2, 7], shorter)):
            padded = [*path_labels, *[0] * (frames - len(path_labels))]
            batch["ali"][row, :frames] = torch.tensor(padded)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss, _, _ = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_longer_twin_differs_from_the_twin_in_its_length_alone():
    short, long = (_load(CONF / "mini" / f"train_{name}.yaml") for name in ("ctc", "ctc_long"))
    assert long.pop("max_epoch") == 3 * short.pop("max_epoch")
    steps = [config["scheduler_conf"].pop("total_steps") for config in (long, short)]
    assert steps[0] == 3 * steps[1]
    assert long == short


@pytest.mark.parametrize("path", [p for p in TRAINING if "librispeech" not in str(p)], ids=_name)
def test_a_corpus_without_silence_or_with_labels_for_it_has_no_boundary_label(path):
    assert "boundary_label" not in _load(path)["ctc_conf"]


@pytest.mark.parametrize("path", DECODING, ids=lambda path: path.stem)
def test_every_decoder_is_known_to_the_inference(path, tmp_path):
    words = ["--config", str(path), "--output_dir", str(tmp_path)]
    words += ["--data_path_and_name_and_type", "x,speech,lhotse"]
    options = asr_inference.get_parser().parse_args(words)
    chosen = [name for name in ("greedy", "best_path") if getattr(options, name)]
    assert chosen == [name for name in [path.stem.removeprefix("decode_")] if name != "beam"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("ctc", 5),
        ("ctc_prior", 5),
        ("cr_ctc", 5),
        ("ottc", 7),
        ("cr_ottc", 7),
        ("soft_dtw", 5),
        ("ottc_selfbeta", 7),
        ("ottc_oracle", 7),
        ("single_path", 7),
    ],
)
def test_what_trains_on_a_forced_alignment_trains_after_it(name, stage):
    path = CONF / "mini" / f"train_{name}.yaml"
    assert System(name, path, _load(path)).stage == stage
