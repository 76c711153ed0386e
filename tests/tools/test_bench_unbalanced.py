"""The benchmark of unbalanced transport: its ways agree, and its page has their ratios."""

import argparse

import bench_unbalanced as bench

ABOUT = {
    **{"command": "python x", "hardware": "h", "dtype": "float32", "seed": 0, "rounds": 2},
    **{"versions": {}, "commit": "abc", "dirty": False, "device": "cpu"},
}


def test_every_way_runs_and_they_agree() -> None:
    batch = bench.make_batch((2, 9, 4, 8), "cpu", 0)
    bench.check(batch)
    ways = bench.ways(batch)
    assert {bench.COST, bench.PLAN, bench.IMPLICIT, bench.UNROLLED} <= ways.keys()
    (implicit,), (unrolled,) = ways[bench.IMPLICIT](), ways[bench.UNROLLED]()
    assert implicit.shape == unrolled.shape == batch.cost.shape
    assert all(part.shape for part in ways[bench.COST]())


def test_the_page_has_ratios_of_what_was_measured() -> None:
    times = {bench.COST: 50.0, bench.PLAN: 30.0, bench.IMPLICIT: 40.0, bench.UNROLLED: 200.0}
    row = bench.Row((2, 9, 4, 8), times, {bench.IMPLICIT: 19.0, bench.UNROLLED: 117.0})
    page = bench.markdown(ABOUT, [row], {(2, 9, 30, 4): {"without": 1.0, "with": 1.03}})
    assert "| 2, 9, 4, 8 | 50.0 | 30.0 | 40.0 | 0.80 | 200.0 | 19.0 | 117.0 |" in page
    assert "| 2, 9, 30, 4 | 1.00 | 1.03 | 1.03 |" in page
    assert "Not installed: POT." in page


def test_steps_with_and_without_a_null_capacity_are_measured(monkeypatch) -> None:
    monkeypatch.setattr(bench, "STEP_ROUNDS", 1)
    options = argparse.Namespace(device="cpu", seed=0)
    found = bench.null_steps((2, 20, 6, 3), options)
    assert found.keys() == {"without", "with"}
    assert all(value > 0 for value in found.values())
