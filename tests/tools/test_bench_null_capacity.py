"""The benchmark of the null capacity: its scores of words, and its page."""

import itertools
import random
from dataclasses import asdict

import bench_null_capacity as bench
import null_page
import pytest
import torch

from espnet_ottc.recipe.configs import resolve_system


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = random.Random(0)
    for _ in range(20):
        said, unsaid = ([draw.randrange(6) / 4 for _ in range(draw.randrange(1, 9))] for _ in "12")
        pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(said, unsaid)]
        assert bench.auc(said, unsaid) == pytest.approx(sum(pairs) / len(pairs))


def test_the_grounding_is_the_share_of_mass_that_the_null_label_could_not_have_had() -> None:
    # On the first frame the label is three times as likely as the null label, on the second as likely.
    log_probs = torch.tensor([[0.2, 0.6, 0.2], [0.4, 0.2, 0.4]]).log()
    scores = bench.scores_of(log_probs, torch.tensor([1, 2]), torch.tensor([0.1, 0.3]), 0.5)
    assert scores["grounding"] == pytest.approx((0.1 * 0.75 + 0.3 * 0.5) / 0.4)
    assert scores["grounded mass"] == pytest.approx((0.1 * 0.75 + 0.3 * 0.5) / 0.5)
    assert scores["probability"] == pytest.approx(0.5)


def test_a_word_that_is_cut_out_of_the_sound_stays_in_the_text() -> None:
    words = (bench.Span("ONE", 0.3, 0.6), bench.Span("TWO", 0.9, 1.5))
    utterance = bench.Utterance(torch.arange(60.0)[:, None], words)
    assert int(utterance.silent().sum()) == 60 - 10 - 20
    cut = utterance.without(0)
    assert cut.text == ["ONE", "TWO"]
    assert cut.features[:, 0].tolist() == [*range(10), *range(20, 60)]


_PROVENANCE = {
    **{"command": "python x", "hardware": "none", "dtype": "float32", "seed": 1, "versions": {}},
    **{"commit": "abc", "dirty": False},
}


def _row(
    system: str, seed: int, f1: float, tried: bool, boundary: float = 50.0, weight: float = 0.5
) -> null_page.Row:
    scores = {"posterior": 70.0 + seed, "grounding": 80.0 + seed}
    return {
        "record": "null_capacity",
        **{"set": "dev", "system": system, "seed": seed, "steps": 5, "batch": 8, "tried": tried},
        "settings": {"capacity": 0.6, "weight": weight, "kl": 0.03, "roughness": 0.3},
        "measured": {"silence F1": f1, "boundary": boundary},
        **({} if tried else dict.fromkeys(null_page.KINDS, scores)),
    }


def test_rows_are_added_with_their_provenance_and_the_page_has_means_over_seeds(tmp_path) -> None:
    results, page = tmp_path / "rows" / "null.jsonl", tmp_path / "page.md"
    world = {**_row("OTTC", 1, 5.0, True), "record": "null_world", "set": "no silence"}
    null_page.add_rows([world, _row("ottc_null", 1, 60.0, True)], results, page)
    final = [_row("ottc_null", 1, 70.0, False), _row("ottc_null", 2, 80.0, False)]
    null_page.add_rows(final, results, page)
    rows = null_page.read_rows(results)
    assert [row["measured"]["silence F1"] for row in rows] == [5.0, 60.0, 70.0, 80.0]
    assert all("torch" in row["provenance"]["versions"] for row in rows)
    _, toy, tried, silence, words, how = page.read_text().split("\n## ")
    assert "| no silence | `OTTC` | 0.6 | 0.5 | 0.03 | 0.3 | 1 | 5.0 | 50.0 |" in toy
    assert "| dev | `ottc_null` | 0.6 | 0.5 | 0.03 | 0.3 | 1 | 60.0 | 50.0 |" in tried
    assert "| dev | `ottc_null` | 2 | 75.0 (70.0, 80.0) | 50.0 (50.0, 50.0) |" in silence
    assert "| `ottc_null` | grounding | 81.5 (81.0, 82.0) | 81.5" in words
    assert how.count("* command: `python ") == 1


def test_settings_are_chosen_by_boundary_error_on_the_development_set_alone() -> None:
    tried = [_row("a", seed, 0.0, True, boundary, 3.0) for seed, boundary in ((1, 40.0), (2, 50.0))]
    tried += [
        _row("a", seed, 0.0, True, boundary, 0.5) for seed, boundary in ((1, 60.0), (2, 20.0))
    ]
    tried += [_row("a", 1, 0.0, True, 1.0, 0.1), _row("b", 1, 0.0, True, 90.0, 2.0)]
    # One seed of the smallest error does not count beside two of others.
    best = {system: settings["weight"] for system, settings in null_page.chosen(tried).items()}
    assert best == {"a": 0.5, "b": 2.0}
    tested = [_row("a", 1, 71.0, False, 9.0, 3.0), _row("a", 1, 72.0, False, 99.0, 0.5)]
    shown = null_page.page_of([dict(row, provenance=_PROVENANCE) for row in [*tried, *tested]])
    silence = shown.split("\n## ")[2]
    assert "72.0" in silence
    assert "71.0" not in silence


@pytest.mark.parametrize("name", ["ottc_null", "ottc_null_no_word_label"])
def test_recipes_have_the_settings_that_were_chosen(name: str) -> None:
    rows = [row for row in null_page.read_rows() if row["record"] == "null_capacity"]
    best = null_page.chosen([row for row in rows if row["tried"]])[name]
    assert asdict(bench.SYSTEMS[name].settings) == best
    conf = resolve_system(null_page.ROOT / "egs2" / "TEMPLATE" / "conf" / "mini", name).values
    options = {
        "null_capacity": "capacity",
        "null_weight": "weight",
        "alpha_kl_weight": "kl",
        "alpha_roughness_weight": "roughness",
    }
    assert {key: conf["ctc_conf"][key] for key in options} == {
        key: best[short] for key, short in options.items()
    }
