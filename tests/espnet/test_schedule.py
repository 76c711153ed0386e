"""Linear warm-up and decay over a training whose length is counted."""

import argparse

import pytest
import torch

from espnet_ottc.espnet.schedule import LinearDecay, count_updates, scale_learning_rates


def _optimizer(**groups):
    parameters = {name: torch.nn.Parameter(torch.zeros(1)) for name in groups or {"a": 0.1}}
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters[name]], "lr": rate}
            for name, rate in (groups or {"a": 0.1}).items()
        ]
    )
    return optimizer


def _rates(optimizer, scheduler, updates):
    rates = []
    for _ in range(updates):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [{"warmup_steps": 4}, {"warmup_share": 0.4}])
def test_the_rate_rises_and_falls_in_lines_and_each_group_keeps_its_share(warmup):
    optimizer = _optimizer(a=1.0, b=0.1)
    rates = _rates(optimizer, LinearDecay(optimizer, total_steps=10, **warmup), 11)
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7, 0]
    assert [a for a, _ in rates] == pytest.approx(expected)
    assert [b for _, b in rates] == pytest.approx([rate / 10 for rate in expected])


def test_without_warm_up_the_first_rate_is_the_full_one():
    optimizer = _optimizer(a=1.0)
    rates = _rates(optimizer, LinearDecay(optimizer, total_steps=4, warmup_steps=0), 4)
    assert [a for (a,) in rates] == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])


def test_a_resumed_training_may_be_a_longer_one():
    optimizer = _optimizer(a=1.0)
    short = LinearDecay(optimizer, total_steps=4, warmup_steps=1)
    _rates(optimizer, short, 4)
    longer = _optimizer(a=1.0)
    scheduler = LinearDecay(longer, total_steps=8, warmup_steps=1)
    scheduler.load_state_dict(short.state_dict())
    longer.step()
    scheduler.step()
    assert longer.param_groups[0]["lr"] == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"warmup_steps": 4}, "total_steps must be given"),
        ({"total_steps": 9}, "one of warmup_steps and warmup_share"),
        ({"total_steps": 9, "warmup_steps": 4, "warmup_share": 0.1}, "one of warmup_steps and"),
        ({"total_steps": 9, "warmup_steps": 9}, "shorter than the 9 updates"),
    ],
)
def test_a_schedule_that_cannot_be_is_an_error(conf, message):
    with pytest.raises(ValueError, match=message):
        LinearDecay(_optimizer(), **conf)


def _args(tmp_path, **changes):
    shapes = tmp_path / "speech_shape"
    shapes.write_text("".join(f"u{n} {1000 + n}\n" for n in range(10)))
    options = {
        "scheduler": "linear_decay",
        "scheduler_conf": {"warmup_steps": 2, "total_steps": 1},
        "num_iters_per_epoch": None,
        "iterator_type": "sequence",
        "train_shape_file": [str(shapes)],
        "max_epoch": 5,
        "accum_grad": 1,
        "batch_type": "numel",
        "batch_size": 20,
        "batch_bins": 3100,
        "fold_length": [],
        "sort_in_batch": "descending",
        "sort_batch": "descending",
        "drop_last_iter": False,
        "min_batch_size": 1,
    }
    return argparse.Namespace(**{**options, **changes})


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 5 * 3),  # the sampler deals out the remainder: 4, 3, 3
        ({"accum_grad": 3}, 5 * 1),
        ({"num_iters_per_epoch": 7}, 5 * 7),
        ({"batch_type": "unsorted", "batch_size": 2}, 5 * 5),
        # What cannot be counted has to be given.
        ({"iterator_type": "chunk"}, 1),
        ({"scheduler": "onecyclelr"}, 1),
    ],
)
def test_updates_are_counted_from_the_batches(tmp_path, changes, steps):
    args = _args(tmp_path, **changes)
    given = args.scheduler_conf
    count_updates(args)
    assert args.scheduler_conf == {"warmup_steps": 2, "total_steps": steps}
    assert given == {"warmup_steps": 2, "total_steps": 1}


def test_parameters_are_grouped_by_their_factor_and_keep_their_other_options():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(layers.parameters(), lr=0.2, weight_decay=0.3)
    scale_learning_rates(optimizer, dict.fromkeys(layers[0].parameters(), 0.5), "linear_decay")
    groups = {group["lr"]: group for group in optimizer.param_groups}
    assert groups.keys() == {0.1, 0.2}
    assert set(groups[0.1]["params"]) == set(layers[0].parameters())
    assert set(groups[0.2]["params"]) == set(layers[1].parameters())
    assert {group["weight_decay"] for group in groups.values()} == {0.3}


def test_factors_of_one_leave_the_optimizer_as_it_is():
    optimizer = _optimizer()
    group = optimizer.param_groups[0]
    scale_learning_rates(optimizer, dict.fromkeys(group["params"], 1.0), "onecyclelr")
    assert optimizer.param_groups == [group]
