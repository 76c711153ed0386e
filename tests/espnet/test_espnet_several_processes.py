"""Several processes on the CPU, and the EZ interface: minutes, since each needs interpreters of its own."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from espnet_lab import TOKENS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wav2vec2_lab import LARGE

pytestmark = pytest.mark.slow

# Without dropout: two processes draw other random numbers than one.
CONF = {
    "ctc_type": "ottc",
    "boundary_label": "<space>",
    "freeze_alpha_after_epoch": 1,
    "dropout": 0.0,
}

RAW = {
    "encoder": "torchaudio_wav2vec2",
    "encoder_conf": {
        "model_conf": LARGE,
        "normalize_waveform": True,
        "gradient_checkpointing": True,
        "layer_lr_decay": 0.9,
    },
    "input_size": 1,
    "normalize": None,
    "optim_conf": {"lr": 0.001},
    "scheduler": "linear_decay",
    "scheduler_conf": {"warmup_steps": 3},
}


def _losses(experiment, part):
    events = EventAccumulator(str(experiment / "tensorboard" / part))
    events.Reload()
    # At the end of each epoch; in between stand shorter averages.
    last = {event.step: event.value for event in events.Scalars("loss_ctc")}
    return [last[step] for step in sorted(last)]


def _free_port():
    with socket.socket() as open_socket:
        open_socket.bind(("localhost", 0))
        return open_socket.getsockname()[1]


def _train_by_processes(lab, name, count=2, **config):
    options = ["--multiprocessing_distributed", "false", "--dist_backend", "gloo"]
    options += ["--dist_world_size", str(count), "--dist_master_addr", "localhost"]
    options += ["--dist_master_port", str(_free_port())]
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_train"]
    command += lab.command(name, *options, **config)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, "--dist_rank", str(rank)], env=environment)
        for rank in range(count)
    ]
    assert [process.wait(timeout=900) for process in processes] == [0] * count
    return lab.folder / name


def _state(experiment, epoch):
    return torch.load(experiment / f"{epoch}epoch.pth", weights_only=True)


@pytest.mark.parametrize(
    ("name", "encoder"), [("together", {}), ("together_raw", RAW)], ids=["features", "raw waveform"]
)
def test_two_processes_give_the_loss_curve_of_one(lab, name, encoder):
    config = {"ctc_conf": CONF, "max_epoch": 4, "keep_nbest_models": 4, **encoder}
    alone = lab.train(f"{name}_alone", **config)
    together = _train_by_processes(lab, name, **config)
    for part in ("train", "valid"):
        assert _losses(together, part) == pytest.approx(_losses(alone, part), rel=0.02)
    # After the first epoch the frame-weight head is frozen.
    states = [_state(together, epoch) for epoch in (1, 4)]
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert "ctc.ctc_lo.weight" in moved
    assert not [name for name in moved if name.startswith("ctc.frame_head.")]


@pytest.mark.parametrize(
    ("name", "conf", "options"),
    [
        ("flat", {"flat_start_epochs": 1, "freeze_alpha_after_epoch": None}, {}),
        ("learned", {"label_weights": "learned", "freeze_alpha_after_epoch": None}, {}),
        ("accumulated", {}, {"accum_grad": 2}),
        # Of seven utterances one process has four, the other three.
        ("uneven", {}, {"batch_size": 7}),
        # Without masks, which are random: both views of an utterance are alike, and doubled in each process.
        ("consistent", {"consistency_weight": 0.2}, {}),
    ],
    ids=[
        *("flat start", "learnt label weights", "accumulated gradients", "uneven batches"),
        "consistency of two views",
    ],
)
def test_two_processes_end_with_the_parameters_of_one(lab, name, conf, options):
    config = {"ctc_conf": {**CONF, **conf}, "max_epoch": 2, **options}
    alone = lab.train(f"{name}_alone", **config)
    together = _train_by_processes(lab, name, **config)
    for part in ("train", "valid"):
        assert _losses(together, part) == pytest.approx(_losses(alone, part), rel=0.02)
    _assert_near(_state(together, 2), _state(alone, 2))


def test_four_processes_end_with_the_parameters_of_one(lab):
    config = {"ctc_conf": CONF, "max_epoch": 2}
    alone = lab.train("four_alone", **config)
    together = _train_by_processes(lab, "four", count=4, **config)
    assert _losses(together, "train") == pytest.approx(_losses(alone, "train"), rel=0.02)
    _assert_near(_state(together, 2), _state(alone, 2))


def _assert_near(found, expected):
    """Parameters of two trainings, as one vector: both have moved alike from where they began.

    One by one they may differ: Adam makes as large a step of a gradient that is 0 but for rounding, as
    that of the keys' bias in an attention, as of any other.
    """
    assert found.keys() == expected.keys()
    names = [name for name, value in expected.items() if value.is_floating_point()]
    one, other = (torch.cat([state[n].flatten() for n in names]) for state in (found, expected))
    assert (one - other).norm() < 0.05 * other.norm()


def test_two_processes_are_taught_as_one_is(lab):
    # Before its epoch the adapter has no loss: its gradient is awaited all the same.
    options = {"teacher": "random", "after_epoch": 1}
    config = {
        "ctc_conf": CONF, "max_epoch": 2, "postencoder": "linguistic_adapter",
        "postencoder_conf": {"linguistic_size": 16, "feed_back": False},
        "model_conf": {"ctc_weight": 1.0, "transfer_conf": options},
    }  # fmt: skip
    alone = lab.train("taught_alone", **config)
    together = _train_by_processes(lab, "taught_together", **config)
    for part in ("train", "valid"):
        assert _losses(together, part) == pytest.approx(_losses(alone, part), rel=0.02)


@pytest.mark.parametrize(
    ("name", "conf", "statistics"),
    [
        (
            "durations",
            {**CONF, "label_weights": "self", "freeze_alpha_after_epoch": None},
            ["ctc.label_weighting.durations", "ctc.label_weighting.frames"],
        ),
        ("priors", {"ctc_type": "ctc_prior"}, ["ctc.log_prior", "ctc.occupancy"]),
    ],
    ids=["durations of tokens", "priors"],
)
def test_two_processes_gather_the_statistics_of_one(lab, name, conf, statistics):
    config = {"ctc_conf": conf, "max_epoch": 2}
    alone = _state(lab.train(f"{name}_alone", **config), 2)
    together = _state(_train_by_processes(lab, name, **config), 2)
    for statistic in statistics:
        assert alone[statistic].count_nonzero() > 1
        torch.testing.assert_close(together[statistic], alone[statistic], rtol=0.02, atol=0.02)


EZ = """
import sys
import espnet_ottc.espnet.register
import espnetez
import yaml

config = espnetez.from_yaml("asr", sys.argv[1])
info = {"speech": ("cuts.jsonl.gz", "lhotse"), "text": ("text", "text")}
trainer = espnetez.Trainer(
    task="asr", train_config=config, train_dump_dir=sys.argv[3], valid_dump_dir=sys.argv[4],
    data_info=info, output_dir=sys.argv[2], stats_dir=sys.argv[2] + "/stats", ngpu=0,
)
trainer.collect_stats()
trainer.train()
"""


@pytest.mark.skipif(not find_spec("espnetez"), reason="ESPnet has no espnetez from 202609 on")
def test_the_ez_interface_trains_ottc(lab):
    lab.command("ez", ctc_conf=CONF, max_epoch=1, token_list=TOKENS)
    script = lab.folder / "ez.py"
    script.write_text(EZ)
    arguments = [lab.folder / "ez.yaml", lab.folder / "ez"]
    arguments += [lab.data["train"].directory, lab.data["valid"].directory]
    subprocess.run([sys.executable, script, *arguments], check=True, timeout=300)
    assert len(_losses(lab.folder / "ez", "valid")) == 1
    assert (lab.folder / "ez" / "alignments" / "1epoch.json").exists()
