"""The generated tables of our documents."""

import json
from pathlib import Path

import goal_table
import pytest
from fill_tables import PAGES, fill_page, main
from result_tables import make_table, read_paper

from espnet_ottc.espnet.criteria.options import OPTIONS
from espnet_ottc.recipe.configs import resolve_system, system_files
from espnet_ottc.report.records import results_text
from espnet_ottc.report.results import Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ablations.md"
RESULTS = ROOT / "results"
MINI = ROOT / "egs2" / "librispeech_ottc" / "conf" / "mini"


def _rows(system, decoder, wer, error, dev=10.0, idr=(50.0, 50.0)):
    rows = [Row(system, decoder, "dev-clean", 1, {"boundary_mae_ms": dev})]
    for seed, (w, e, i) in enumerate(zip(wer, error, idr, strict=True), start=1):
        fields = {
            "wer": w,
            "cer": w and w / 2,
            "boundary_mae_ms": e,
            "idr": i,
            "iou": 1.0,
            "peaky": 2.0,
        }
        rows.append(Row(system, decoder, "test-clean", seed, fields))
    return rows


def _cells(page):
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_system_stands_with_the_decoder_that_is_better_on_the_development_set():
    rows = _rows("ottc", "transport", (1.0, 2.0), (90.0, 90.0), dev=60.0)
    rows += _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0), dev=50.0)
    (cells,) = _cells(make_table("systems", rows, ()))
    assert cells[:5] == ["`ottc`", "viterbi", "1, 2", "1.50 (1.00, 2.00)", "95.5 (95.0, 96.0)"]
    assert cells[-1] == read_paper()["systems"]["ottc"]
    (cells,) = _cells(make_table("summary", rows, ()))
    assert cells[:4] == ["`ottc`", "viterbi", "1.50", "95.5"]


def test_without_development_set_viterbi_is_shown():
    rows = _rows("ottc", "transport", (1.0, 2.0), (90.0, 90.0))
    rows += _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0))
    tests = [row for row in rows if row.set == "test-clean"]
    (cells,) = _cells(make_table("summary", tests, ()))
    assert cells[1] == "viterbi"


def _row(system, seed, error, within, part="test"):
    key = {"record": "score", "system": system, "seed": seed, "decoder": "boundary", "set": part}
    return {**key, "boundary_mae_ms": error, "within_50ms": within, "provenance": {}}


def test_goals_stand_beside_what_each_seed_reached_and_bars_hold_as_they_are_shown(
    tmp_path, monkeypatch
):
    goals = """
    x:
        - {ruler: tones, results: tones, set: test, systems: [a, b],
           bars: {boundary_mae_ms: 8, beyond_50ms: 2}}
        - {ruler: rivals, results: tones, set: test, systems: [a, b], bars: {boundary_mae_ms: b}}
        - {ruler: alone, results: tones, set: dev, systems: [a], bars: {boundary_mae_ms: b}}
        - {ruler: none, results: absent, set: test, systems: [a], bars: {boundary_mae_ms: 9}}
    """
    monkeypatch.setattr(goal_table, "GOALS", tmp_path / "goals.yaml")
    goal_table.GOALS.write_text(goals)
    rows = [_row("a", 2, 8.06, 98.0), _row("a", 1, 8.04, 97.0), _row("b", 1, 8.06, 99.0)]
    rows.append(_row("a", 1, 1.0, 100.0, "dev"))
    (tmp_path / "tones.jsonl").write_text(results_text(rows))
    page = fill_page("<!-- table: goals x -->\n<!-- end -->\n", tmp_path)
    error, beyond = "Boundary mean ms", "beyond 50 ms %"
    assert _cells(page) == [
        ["tones", "`a`", error, "8", "8.0, 8.1", "1 of 2"],
        ["tones", "`a`", beyond, "2", "3.0, 2.0", "1 of 2"],
        ["tones", "`b`", error, "8", "8.1", "0 of 1"],
        ["tones", "`b`", beyond, "2", "1.0", "1 of 1"],
        ["rivals", "`a`", error, "8.1, `b`", "8.0, 8.1", "2 of 2"],
        ["alone", "`a`", error, "`b`, not measured", "1.0", "–"],
        ["none", "`a`", error, "9", "not measured", "–"],
    ]
    with pytest.raises(ValueError, match="goals must be of x; got y"):
        goal_table.make_goals("y", tmp_path)


def test_kills_are_counted_by_place_stage_and_signal(tmp_path):
    def kill(stage, by, **more):
        return {"stage": stage, "signal": f"SIG{by}", "left": [], "fault": None} | more

    about = {"commit": "0123456789", "dirty": False, "fault": None, "differences": []}
    rounds = [
        {**about, "where": "here", "kills": [kill(2, "KILL"), kill(10, "INT"), kill(2, "KILL")]},
        {**about, "where": "slurm", "kills": [kill(4, "TERM", left=["python x"])], "dirty": True},
        {**about, "where": "here", "kills": [kill(3, "HUP")], "differences": ["text", "row"]},
        {
            **{**about, "where": "slurm", "fault": "error: it is stuck"},
            "kills": [kill(5, "X", signal=None, fault="error")],
        },
    ]
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rounds))
    page = fill_page("<!-- table: kills some -->\n<!-- end -->\n", tmp_path)
    assert _cells(page) == [
        ["here", "0123456", "2", "4", "2: 2, 3: 1, 10: 1", "HUP: 1, INT: 1, KILL: 2", "2", "0"],
        ["slurm", "0123456*, 0123456", "2", "1", "4: 1", "TERM: 1", "2", "1"],
        [
            *("all", "0123456, 0123456*", "4", "5", "2: 2, 3: 1, 4: 1, 10: 1"),
            *("HUP: 1, INT: 1, KILL: 2, TERM: 1", "4", "1"),
        ],
    ]
    path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"some.jsonl: must have a round in each line"):
        fill_page("<!-- table: kills some -->\n<!-- end -->\n", tmp_path)


def test_boundaries_of_every_set_stand_with_each_seed_test_sets_first():
    rows = _rows("narrow", "boundary", (None, None), (9.0, 10.0))
    for row in rows:
        row.fields.update({"start_bias_ms": -2.0, "within_50ms": 98.5, "within_200ms": 99.9})
        row.fields["inside_interval"] = 90.0
    rows.append(Row("ctc", "greedy", "test-clean", 1, {"wer": 3.0}))
    cells = _cells(make_table("boundaries", rows, ()))
    rest = ["–", "–", "–", "-2.0", "–", "–", "1.5", "0.1", "90.0"]
    assert cells == [
        ["test-clean", "`narrow`", "boundary", "9.5 (9.0, 10.0)", *rest],
        ["dev-clean", "`narrow`", "boundary", "10.0 (10.0)", *rest],
    ]
    assert _cells(make_table("boundaries", rows, ("narrow",))) == cells
    with pytest.raises(ValueError, match="ctc has no times"):
        make_table("boundaries", rows, ("ctc",))
    assert _cells(make_table("boundaries_brief", rows, ("narrow",))) == [
        ["`narrow`", "boundary", "9.5 (9.0, 10.0)", "–", "1.5"]
    ]
    for systems in ((), ("narrow", "ctc")):
        with pytest.raises(ValueError, match="must name systems with times on a test set"):
            make_table("boundaries_brief", rows, systems)


def test_an_overview_has_the_means_of_the_systems_that_it_names():
    rows = _rows("ctc", "forced_align", (1.0, 2.0), (90.0, 90.0))
    rows += _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0))
    rows += _rows("cr_ctc", "forced_align", (1.0, 2.0), (95.0, 96.0))
    table = make_table("overview", rows, ("ottc", "ctc"))
    assert _cells(table) == [
        ["`ottc`", "1.50", "95.5", "50.0", "1.0", "2.0"],
        ["`ctc`", "1.50", "90.0", "50.0", "1.0", "2.0"],
    ]
    assert "Set test-clean, means over 2 seeds." in table
    with pytest.raises(ValueError, match="single_path is not among ctc, ottc, cr_ctc"):
        make_table("overview", rows, ("ottc", "single_path"))
    with pytest.raises(ValueError, match="no system is not among"):
        make_table("overview", rows, ())


def test_transfer_stands_beside_what_has_none_and_beside_the_random_teacher_in_the_same_seed():
    rows = _rows("ctc", "forced_align", (10.0, 12.0), (90.0, 91.0))
    rows += _rows("ctc_transfer_random_teacher", "forced_align", (9.0, 12.5), (90.0, 91.0))
    rows += _rows("ctc_transfer", "forced_align", (9.5, 11.0), (80.0, 82.0))
    rows += _rows("ottc_transfer", "viterbi", (1.0, 1.0), (80.0, 82.0))
    # A boundary head's times are its own.
    rows += _rows("ctc_transfer", "boundary", (9.5, 11.0), (8.0, 9.0))
    rows[2].fields["provenance"] = {"dirty": True}
    table = make_table("transfer", rows, ("ctc",))
    assert table.endswith("Trained with changes that were not committed, by seed: `ctc` 2.")
    end = "2.0 (2.0, 2.0)"
    assert _cells(table) == [
        ["`ctc`", "11.00 (10.00, 12.00)", "–", "+0.25 (+1.00, -0.50)",
         "5.50 (5.00, 6.00)", "90.5 (90.0, 91.0)", end],
        ["`ctc_transfer`", "10.25 (9.50, 11.00)", "-0.75 (-0.50, -1.00)", "-0.50 (+0.50, -1.50)",
         "5.12 (4.75, 5.50)", "81.0 (80.0, 82.0)", end],
        ["`ctc_transfer_random_teacher`", "10.75 (9.00, 12.50)", "-0.25 (-1.00, +0.50)", "–",
         "5.38 (4.50, 6.25)", "90.5 (90.0, 91.0)", end],
    ]  # fmt: skip
    assert "Set test-clean, means over 2 seeds." in table
    # Of a system alone, or of one that has no transfer, there is nothing to compare.
    for systems in (("ottc",), ("cr_ctc",)):
        with pytest.raises(ValueError, match="needs results on test-clean of"):
            make_table("transfer", rows, systems)


def test_a_criterions_times_are_without_those_of_its_boundary_head():
    rows = _rows("ottc", "boundary", (1.0, 2.0), (9.0, 9.0))
    rows += _rows("ottc", "viterbi", (1.0, 2.0), (40.0, 42.0))
    assert "| 41.0 (40.0, 42.0) |" in make_table("criterion", rows, ("ottc",))
    assert "| 9.0 |" in make_table("overview", rows, ("ottc",))


def test_phones_get_the_words_of_phones():
    rows = [Row("ottc", "viterbi", "TEST", 1, {"wer": 1.0, "unit": "phone"})]
    table = make_table("summary", rows, ())
    assert "| PER ↓ % |" in table
    assert "Set TEST, one seed." in table


def test_the_papers_measures_of_times_stand_beside_ours():
    rows = _rows("ottc", "viterbi", (1.0, 2.0), (9.0, 9.0), idr=(80.0, 40.0))
    rows += _rows("single_path", "forced_align", (1.0, 2.0), (9.0, 9.0))
    for row in rows:
        row.fields["start_f1"] = 30.0
    (cells,) = _cells(make_table("times", rows, ()))
    assert cells == ["`ottc`", "2.0 / 30.0 / 60.0", *read_paper()["times"]["systems"]["ottc"]]


def test_an_ordering_is_counted_seed_by_seed_in_the_metrics_direction():
    rows = _rows("ottc", "viterbi", (1.0, 2.0), (9.0, 9.0), idr=(80.0, 40.0))
    rows += _rows("ottc_fixed_alpha", "viterbi", (3.0, 3.0), (9.0, 9.0), idr=(70.0, 60.0))
    rows += _rows("soft_dtw", "viterbi", (6.0, 9.0), (9.0, 9.0))
    rows += _rows("ctc", "forced_align", (1.0, 1.0), (9.0, 9.0))
    rows += _rows("ottc_oracle", "viterbi", (1.04, 1.06), (9.0, 9.0))
    held = {cells[0]: cells[2] for cells in _cells(make_table("claims", rows, ()))}
    assert held["a fixed α covers less of the words' time"] == "1 of 2"
    assert held["soft-DTW recognises far worse"] == "1 of 2"  # five times at least
    assert held["oracle β is at least as good as CTC"] == "1 of 2"  # within 5 %
    assert "a free β collapses" not in held  # nothing to compare with


def test_orderings_in_words_are_those_of_greedy_decoding_where_there_is_one():
    rows = _rows("ottc", "viterbi", (1.0, 2.0), (9.0, 9.0))
    rows += _rows("ottc", "greedy", (3.0, 2.0), (None, None))
    rows += _rows("single_path", "forced_align", (2.5, 2.5), (9.0, 9.0))
    (cells,) = (c for c in _cells(make_table("claims", rows, ())) if "single" in c[0])
    assert cells[1:] == ["WER, greedy: `ottc` 2.50, `single_path` 2.50 %", "1 of 2"]


def test_a_winner_beats_every_baseline_of_the_same_seed_in_words_and_in_times():
    rows = _rows("ctc", "forced_align", (3.0, 3.0), (50.0, 50.0))
    rows += _rows("cr_ctc", "forced_align", (2.0, 1.0), (70.0, 70.0))
    rows += _rows("ottc", "viterbi", (1.5, 1.5), (40.0, 40.0))
    rows += _rows("cr_ottc", "viterbi", (2.0, 0.5), (30.0, 60.0))
    page = make_table("baselines", rows, ())
    assert _cells(page) == [
        ["`ottc`", "1 of 2", "2 of 2", "1 of 2"],
        ["`cr_ottc`", "1 of 2", "1 of 2", "0 of 2"],
    ]
    assert "Against `ctc`, `cr_ctc`, in the same seed" in page
    without = [row for row in rows if (row.system, row.seed) != ("cr_ctc", 2)]
    assert "Against `ctc`, `cr_ctc` (seed 1), in" in make_table("baselines", without, ())


def test_a_table_that_does_not_exist_or_has_no_results_is_refused():
    rows = _rows("ottc", "viterbi", (1.0, 2.0), (9.0, 9.0))
    with pytest.raises(ValueError, match=r"must be one of overview, .* got colours"):
        make_table("colours", rows, ())
    with pytest.raises(ValueError, match="takes no systems, got ottc"):
        make_table("claims", rows, ("ottc",))
    with pytest.raises(ValueError, match="need results on a test set"):
        make_table("systems", rows[:1], ())


def _saved(folder, rows):
    fields = [
        {"system": row.system, "decoder": row.decoder, "set": row.set, "seed": row.seed}
        | dict(row.fields)
        | {"provenance": {}}
        for row in rows
    ]
    (folder / "small.jsonl").write_text(results_text(fields))
    return folder


def test_a_page_keeps_its_text_and_gets_the_tables_of_the_experiments_it_names(tmp_path):
    results = _saved(tmp_path, _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0)))
    place = "<!-- table: overview small ottc -->\nold\n<!-- end -->\n"
    page = fill_page(f"before\n{place}between\n{place}after\n", results)
    assert page.startswith("before\n<!-- table: overview small ottc -->\n\n| system |")
    assert page.endswith("\n\n<!-- end -->\nafter\n")
    assert "old" not in page
    assert (
        len(_cells(page)) == 4
    )  # the second table's head, rule and row come after the first's row
    assert fill_page(page, results) == page


def test_a_page_without_places_or_without_experiment_is_refused(tmp_path):
    results = _saved(tmp_path, _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0)))
    with pytest.raises(ValueError, match="got none"):
        fill_page("text", results)
    with pytest.raises(ValueError, match="got <!-- table: systems -->"):
        fill_page("<!-- table: systems -->\n<!-- end -->\n", results)
    with pytest.raises(OSError, match="large"):
        fill_page("<!-- table: systems large -->\n<!-- end -->\n", results)


def test_the_command_fills_pages_and_names_a_fault(tmp_path, capsys):
    results = _saved(tmp_path, _rows("ottc", "viterbi", (1.0, 2.0), (95.0, 96.0)))
    page = tmp_path / "page.md"
    page.write_text("<!-- table: systems small -->\n<!-- end -->\n")
    assert main(["--results", str(results), str(page)]) == 0
    assert "`ottc`" in page.read_text()
    assert main(["--results", str(results), str(page)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"filled: {page}", f"unchanged: {page}"]
    assert main(["--results", str(results), str(tmp_path / "none.md")]) == 1
    assert "none.md" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES)
def test_a_page_holds_the_tables_that_its_results_give(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill_page(text, RESULTS) == text


def test_results_and_their_pages_stay_short():
    paths = [*RESULTS.iterdir(), ROOT / "docs" / "results.md", PAGE]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= 1500


def test_every_system_of_the_small_configurations_is_explained():
    text = PAGE.read_text(encoding="utf-8")
    for name in system_files(MINI):
        assert f"`{name}`" in text, name


def test_every_system_of_the_papers_has_a_configuration():
    names = set(read_paper()["systems"]) | set(read_paper()["times"]["systems"])
    claims = {claim[side] for claim in read_paper()["claims"] for side in ("better", "than")}
    assert names | claims <= system_files(MINI).keys()


def test_the_documented_weights_are_those_of_the_configurations():
    text = PAGE.read_text(encoding="utf-8")
    joint = resolve_system(MINI, "ottc_joint").values["ctc_conf"]
    assert f"L_OTTC + {joint['aux_ctc_weight']:g} · L_CTC" in text
    for name, option, letter in (
        ("ctc_prior", "prior_scale", "s"),
        ("cr_ctc", "consistency_weight", "w"),
        ("cr_ottc", "consistency_weight", "w"),
    ):
        conf = resolve_system(MINI, name).values["ctc_conf"]
        default = getattr(OPTIONS[conf["ctc_type"]](), option)
        assert f"{letter} = {conf.get(option, default)}" in text
