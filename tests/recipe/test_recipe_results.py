"""Results are assembled from score files, and say where they come from."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from espnet_ottc.recipe.results import collect_rows
from espnet_ottc.utils.provenance import provenance

ABOUT = {"commit": "c0ffee", "config": "conf/mini/train_ottc.yaml", "seed": 1}


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _experiment(expdir: Path, system: str, seed: int, aligners: tuple[str, ...]) -> Path:
    folder = expdir / system / f"seed{seed}"
    _write(folder / "provenance.json", ABOUT)
    counts = {"words": 200, "substitutions": 3}
    wer = {"wer": 1.5, "cer": 0.5, "wer_interval": [1.0, 2.0], "wer_counts": counts}
    _write(folder / "decode_greedy/test-clean/score.json", wer)
    for aligner in aligners:
        times = {"boundary_mae_ms": 50.0, "idr": 80.0, "peaky": -1.0, "coverage": 100.0}
        times |= {"matched_words": 200, "frames": 4000, "intervals": {"idr": [79.0, 81.0]}}
        _write(folder / f"align_{aligner}/test-clean/score.json", times)
    return folder


def test_a_row_for_each_system_seed_set_and_decoder_in_time(tmp_path):
    for seed in (1, 2):
        _experiment(tmp_path, "ottc", seed, ("transport", "viterbi"))
    _experiment(tmp_path, "ctc", 1, ("forced_align",))
    rows = collect_rows(tmp_path, "greedy")
    assert [(r["system"], r["decoder"], r["seed"]) for r in rows] == [
        ("ctc", "forced_align", 1),
        ("ottc", "transport", 1),
        ("ottc", "transport", 2),
        ("ottc", "viterbi", 1),
        ("ottc", "viterbi", 2),
    ]
    for row in rows:
        assert (row["set"], row["text_decoder"]) == ("test-clean", "greedy")
        assert (row["wer"], row["cer"], row["boundary_mae_ms"], row["idr"]) == (
            1.5,
            0.5,
            50.0,
            80.0,
        )
        assert row["counts"]["words"] == {"words": 200, "substitutions": 3}
        assert row["counts"]["times"] == {"matched_words": 200, "frames": 4000}
        assert row["intervals"] == {"wer": [1.0, 2.0], "cer": None, "idr": [79.0, 81.0]}
        assert row["provenance"] == ABOUT


def test_scores_against_a_forced_alignment_are_rows_of_their_own(tmp_path):
    folder = _experiment(tmp_path, "ottc", 1, ("viterbi",))
    _experiment(tmp_path, "ctc", 1, ("forced_align",))
    _write(folder / "align_viterbi/test-clean/score_by_ctc.json", {"boundary_mae_ms": 7.0})
    ctc, ottc = collect_rows(tmp_path, "greedy", "ctc")
    assert (ctc["system"], ctc["decoder"], ctc["boundary_mae_ms"]) == ("ctc", "greedy", None)
    assert (ottc["decoder"], ottc["boundary_mae_ms"], ottc["wer"]) == ("viterbi", 7.0, 1.5)
    assert ottc["provenance"]["reference_times"] == "forced alignment of ctc, same seed"
    assert [row["boundary_mae_ms"] for row in collect_rows(tmp_path, "greedy")] == [50.0, 50.0]


def test_another_decoder_of_words_has_a_row_without_times(tmp_path):
    folder = _experiment(tmp_path, "ottc", 1, ("viterbi",))
    _write(folder / "decode_beam/test-clean/score.json", {"wer": 1.0, "cer": 0.4})
    beam, viterbi = collect_rows(tmp_path, "greedy")
    assert (beam["decoder"], beam["wer"], beam["idr"]) == ("beam", 1.0, None)
    assert (viterbi["decoder"], viterbi["wer"], viterbi["idr"]) == ("viterbi", 1.5, 80.0)


def test_a_set_without_reference_times_still_has_its_words(tmp_path):
    _experiment(tmp_path, "ctc", 1, ())
    (row,) = collect_rows(tmp_path, "greedy")
    assert (row["decoder"], row["wer"], row["peaky"]) == ("greedy", 1.5, None)


def test_trainings_that_were_replaced_do_not_count(tmp_path):
    _experiment(tmp_path, "ctc", 1, ("forced_align",))
    _experiment(tmp_path / ".replaced", "ctc", 1, ("forced_align",))
    assert len(collect_rows(tmp_path, "greedy")) == 1


def test_somebodys_copy_of_a_training_does_not_count(tmp_path):
    _experiment(tmp_path, "ottc", 1, ("viterbi",)).rename(tmp_path / "ottc" / "seed1.bak")
    _experiment(tmp_path, "ottc", 1, ("viterbi",))
    assert len(collect_rows(tmp_path, "greedy")) == 1


def test_a_training_under_way_does_not_count(tmp_path):
    _experiment(tmp_path, "ctc", 1, ("forced_align",))
    (tmp_path / "ottc" / "seed1").mkdir(parents=True)
    assert [row["system"] for row in collect_rows(tmp_path, "greedy")] == ["ctc"]


def test_without_scores_the_stage_that_makes_them_is_named(tmp_path):
    with pytest.raises(ValueError, match="run stage 10"):
        collect_rows(tmp_path, "greedy")


def test_provenance_names_versions_and_hardware():
    found = json.loads(json.dumps(provenance()))
    assert found["versions"]["espnet"] == importlib.metadata.version("espnet")
    assert found["hardware"]["cores"] >= 1
    assert (found["commit"] is None) == (found["dirty"] is None)
