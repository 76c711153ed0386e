"""Every configuration for two cores builds, and a twin differs in the criterion alone.

What recipes share is resolved for each, as they do.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.tasks.asr import ASRTask

from espnet_ottc.bin import asr_inference
from espnet_ottc.ops.flat_start import flat_start_share
from espnet_ottc.recipe.configs import (
    BASE,
    Config,
    purpose,
    render,
    resolve,
    resolve_system,
    system_files,
)
from espnet_ottc.recipe.systems import System

RECIPES = Path(__file__).parents[2] / "egs2"
# Those that are built; data of one's own train as LibriSpeech does.
BUILT = ("ami", "librispeech", "timit")
CORPORA = ("any", *BUILT)
CONF = RECIPES / "librispeech_ottc" / "conf"
MINI = RECIPES / "TEMPLATE" / "conf" / "mini"
DECODING = sorted((RECIPES / "TEMPLATE" / "conf").glob("decode_*.yaml"))
# The separators of characters and of SentencePiece.
TOKENS = ["<blank>", "<unk>", "<space>", "▁", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>"]
SHARED = {
    *("ctc", "ctc_prior", "cr_ctc", "single_path", "soft_dtw"),
    *("ottc", "ottc_joint", "ottc_plain", "ottc_fixed_alpha", "ottc_flat_start", "cr_ottc"),
    *("ottc_freeze_0", "ottc_freeze_5", "ottc_freeze_10", "ottc_freeze_15"),
    *("ottc_null", "ottc_null_no_word_label"),
    *("ottc_oracle", "ottc_selfbeta", "ottc_learned_beta", "ottc_learned_beta_floor"),
}
NULL = {"ottc_null", "ottc_null_no_word_label"}
OVERLAYS = ("adapter_only", "balanced", "plan", "random_teacher", "uniform")
TRANSFER = {
    f"{criterion}_transfer{overlay}"
    for criterion in ("ctc", "ottc")
    for overlay in ("", *(f"_{name}" for name in OVERLAYS))
}


@dataclass(frozen=True)
class Training:
    """A system of a recipe's folder of configurations."""

    folder: Path
    system: str

    @property
    def made_of(self) -> Config:
        return resolve_system(self.folder, self.system)

    @property
    def config(self) -> dict:
        return dict(self.made_of.values)


def _name(training: Training) -> str:
    return "-".join([training.folder.parts[-3], training.folder.name, training.system])


def _trainings() -> list[Training]:
    """Every system of each corpus, and of those of the demo what it has itself, and CTC."""
    found = []
    for corpus in BUILT:
        folder = RECIPES / f"{corpus}_ottc" / "conf" / "mini"
        # What the overlays of the transfer add is the same for each corpus.
        systems = system_files(folder).keys() - (TRANSFER if folder != CONF / "mini" else set())
        found += [Training(folder, system) for system in sorted(systems)]
    return [*found, *(Training(CONF / "demo", name) for name in ("ctc", "ottc", "ottc_joint"))]


TRAINING = _trainings()
FILES = sorted(RECIPES.glob("*/conf/**/*.yaml"))


def _options(training: Training, folder: Path) -> argparse.Namespace:
    tokens = folder / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n")
    flat = folder / "train.yaml"
    flat.write_text(render(training.made_of))
    words = ["--config", str(flat), "--token_type", "char", "--token_list", str(tokens)]
    # The statistics of global_mvn come from the data.
    options = ASRTask.get_parser().parse_args(
        [*words, "--output_dir", str(folder), "--normalize", "none"]
    )
    options.normalize, options.normalize_conf = None, {}
    return options


def test_there_are_configurations():
    assert [path.stem for path in DECODING] == ["decode_beam", "decode_greedy", "decode_viterbi"]
    for corpus in CORPORA:
        own = {"ctc_long"} if corpus == "librispeech" else set()
        assert system_files(RECIPES / f"{corpus}_ottc/conf/mini").keys() == SHARED | TRANSFER | own
    assert {path.stem for path in (CONF / "demo").iterdir()} == {
        *("base", "train_ottc", "train_ottc_joint")
    }


def test_every_corpus_has_the_same_systems_from_the_same_files():
    for system in SHARED | TRANSFER:
        assert MINI / f"train_{system}.yaml" in MINI.iterdir()
        for corpus in CORPORA:
            folder = RECIPES / f"{corpus}_ottc/conf/mini"
            assert not (folder / f"train_{system}.yaml").exists()


def test_data_of_ones_own_train_as_librispeech_but_for_the_weight_that_digits_have():
    for system in SHARED:
        folders = (RECIPES / f"{corpus}_ottc/conf/mini" for corpus in ("any", "librispeech"))
        own, librispeech = (dict(resolve_system(folder, system).values) for folder in folders)
        for config in (own, librispeech):
            config["ctc_conf"] = {**config["ctc_conf"]}
            config["ctc_conf"].pop("alpha_kl_weight", None)
        assert own == librispeech


def test_configurations_repeat_nothing():
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 900
    for path in FILES:
        for own, below in _with_what_it_rests_on(path):
            repeated = [
                name
                for name, value in own.items()
                if name != "ctc_conf" and name in below and below[name] == value
            ]
            assert not repeated, path


def _with_what_it_rests_on(path: Path) -> list[tuple[dict, dict]]:
    if path.parent.name == "transfer":
        # An overlay is no configuration until it lies on one.
        base = yaml.safe_load(path.read_text()).get("base")
        return [] if base is None else [(_own(path), _own(path.parent / base))]
    content = resolve(path)
    return [
        (_own(path), resolve(other.absolute()).values)
        for other in content.files[1:2]
        if other.parent.name != "transfer"
    ]


def _own(path: Path) -> dict:
    """What a file says itself."""
    content = yaml.safe_load(path.read_text())
    return {n: v for n, v in content.items() if n not in ("base", "overlay")}


@pytest.mark.parametrize("training", [t for t in TRAINING if "freeze" in t.system], ids=_name)
def test_the_frame_weights_are_fixed_for_the_last_epochs(training):
    config, last = training.config, int(training.system.rpartition("_")[2])
    assert config["max_epoch"] - config["ctc_conf"]["freeze_alpha_after_epoch"] == last


@pytest.mark.parametrize("corpus", CORPORA)
def test_ottc_fixes_the_frame_weights_for_the_same_share_of_every_training(corpus):
    config = Training(RECIPES / f"{corpus}_ottc/conf/mini", "ottc").config
    last = config["max_epoch"] - config["ctc_conf"]["freeze_alpha_after_epoch"]
    # docs/decisions/0006: 15 of 40 epochs.
    assert last / config["max_epoch"] == pytest.approx(15 / 40, abs=0.6 / config["max_epoch"])


@pytest.mark.parametrize(
    "training",
    [t for t in TRAINING if "flat_start_epochs" in t.config["ctc_conf"] and t.system not in NULL],
    ids=_name,
)
def test_a_flat_start_leaves_a_fifth_of_the_training_to_ottc_alone(training):
    config = training.config
    epochs = config["ctc_conf"]["flat_start_epochs"]
    shares = [flat_start_share(epoch + 1, epochs) for epoch in range(config["max_epoch"])]
    # docs/decisions/0010: three fifths, a fifth to hand over, a fifth.
    near = pytest.approx(1 / 5, abs=0.6 / config["max_epoch"])
    assert shares.count(0) / len(shares) == near
    assert sum(0 < share < 1 for share in shares) / len(shares) == near


@pytest.mark.parametrize("training", TRAINING, ids=_name)
def test_every_configuration_builds_a_model_and_its_schedule(training, tmp_path):
    options = _options(training, tmp_path)
    model = ASRTask.build_model(options)
    assert model.ctc.ctc_type == training.config["ctc_conf"]["ctc_type"]
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6, rel=0.1)
    options.dry_run = True  # there is no teacher
    (optimizer,) = ASRTask.build_optimizers(options, model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **options.scheduler_conf)
    # A schedule that ends before the training raises in its last step.
    assert scheduler.total_steps == options.max_epoch * options.num_iters_per_epoch


@pytest.mark.parametrize("path", FILES, ids=lambda p: "-".join(p.relative_to(RECIPES).parts))
def test_every_configuration_says_what_it_is_for(path):
    head = purpose(path)
    assert head.startswith("# Purpose:  ")
    # Hardware and time are those of the base, unless a system says something else.
    wanted = ("Command:", "Hardware:", "Time:") if path.name == BASE else ("Command:",)
    assert path.stem in ("pretrained",) or all(f"# {word}" in head for word in wanted)


@pytest.mark.parametrize("training", [t for t in TRAINING if t.system != "ctc_long"], ids=_name)
def test_a_system_differs_from_ctc_in_the_criterion_alone(training):
    ctc, other = Training(training.folder, "ctc").config, training.config
    if training.system in TRANSFER:
        criterion, _, overlay = training.system.partition("_transfer")
        twin = Training(training.folder, criterion).config
        assert other.pop("postencoder") == "linguistic_adapter"
        way_back = {} if overlay == "_adapter_only" else {"feed_back": False}
        assert other.pop("postencoder_conf") == {"linguistic_size": 128, **way_back}
        model = {**other["model_conf"]}
        assert (model.pop("transfer_conf", None) is None) is (overlay == "_adapter_only")
        assert {**other, "model_conf": model} == twin
        return
    assert ctc.pop("ctc_conf") == {"ctc_type": "builtin"}
    assert (other.pop("ctc_conf") == {"ctc_type": "builtin"}) is (training.system == "ctc")
    assert ctc == other


@pytest.mark.parametrize("system", sorted(SHARED | TRANSFER))
def test_a_shared_system_says_nothing_but_its_criterion(system):
    assert _own(MINI / f"train_{system}.yaml").keys() <= {"ctc_conf"}


# Each system once, and the recipes' own two with each recipe's settings.
@pytest.mark.parametrize(
    "training",
    [t for t in TRAINING if CONF in t.folder.parents or t.system in ("ctc", "ottc")],
    ids=_name,
)
def test_a_system_learns_a_batch_by_heart(training, tmp_path):
    torch.manual_seed(0)
    model = ASRTask.build_model(_options(training, tmp_path))
    model.specaug = None
    text = torch.tensor([[3, 4, 4, 2, 5], [6, 2, 7, -1, -1]])
    batch = {
        "speech": torch.randn(2, 16000),
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": text,
        "text_lengths": (text >= 0).sum(1),
    }
    if System("x", training.made_of).needs_alignment:
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
    short, long = (Training(CONF / "mini", name).config for name in ("ctc", "ctc_long"))
    assert long.pop("max_epoch") == 3 * short.pop("max_epoch")
    steps = [config["scheduler_conf"].pop("total_steps") for config in (long, short)]
    assert steps[0] == 3 * steps[1]
    assert long == short


@pytest.mark.parametrize("training", TRAINING, ids=_name)
def test_silence_has_a_label_where_the_corpus_has_silence_and_none_for_it(training):
    conf = training.config["ctc_conf"]
    boundary = CONF in training.folder.parents and conf["ctc_type"] in ("ottc", "soft_dtw")
    assert (conf.get("null_capacity", 0) > 0) is (training.system in NULL)
    boundary &= training.system not in NULL  # their silence is the blank's
    assert conf.get("boundary_label") == ("<word_break>" if boundary else None)


@pytest.mark.parametrize("path", DECODING, ids=lambda path: path.stem)
def test_every_decoder_is_known_to_the_inference(path, tmp_path):
    words = ["--config", str(path), "--output_dir", str(tmp_path)]
    words += ["--data_path_and_name_and_type", "x,speech,lhotse"]
    options = asr_inference.get_parser().parse_args(words)
    chosen = [name for name in ("greedy", "viterbi") if getattr(options, name)]
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
    assert System(name, resolve_system(CONF / "mini", name)).stage == stage
