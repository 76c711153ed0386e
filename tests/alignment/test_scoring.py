"""Scoring by functions: reports of words and times that are in memory or in files."""

import json
from pathlib import Path

import pytest

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.scoring import (
    Folding,
    TimesScoringOptions,
    WordScoringOptions,
    score_time_files,
    score_times,
    score_word_files,
    score_words,
)
from espnet_ottc.alignment.scoring.tables import table
from espnet_ottc.alignment.spans import Span

REFERENCE = {"u1": ["HELLO", "WORLD"], "u2": ["GOOD", "DAY"]}
HYPOTHESIS = {"u1": ["HELLO", "world"], "u2": ["GOOD", "<sil>", "DAY", "TO"]}
SPANS = {"u1": [Span("A", 0.1, 0.5), Span("B", 0.5, 0.9)]}
LATE = {"u1": [Span("A", 0.2, 0.6), Span("B", 0.6, 1.0)]}
PHONES = Folding("vowels", {"AH0": "ah", "AH1": "ah", "SIL": ""})


def test_words_are_scored_without_files() -> None:
    report = score_words(REFERENCE, HYPOTHESIS)
    assert report.words.counts.words == 4
    assert (report.words.counts.substitutions, report.words.counts.insertions) == (1, 1)
    assert report.words.percent == 50
    assert report.characters is not None
    assert report.characters.unit == "char"
    assert (report.reference, report.hypothesis) == ("", "")


def test_the_table_of_words_has_sclites_columns() -> None:
    header, words, letters = score_words(REFERENCE, HYPOTHESIS).as_text().splitlines()
    assert header.split() == [
        *("unit", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "rate", "%"),
        *("95", "%", "interval"),
    ]
    assert words.split()[:10] == ["word", "2", "4", "3", "1", "0", "1", "2", "2", "50.00"]
    assert letters.split()[0] == "char"


def test_json_of_words_has_rates_counts_and_settings() -> None:
    options = WordScoringOptions(ignore_case=True, skip=("TO", "<sil>"), sclite_costs=True)
    report = score_words(REFERENCE, HYPOTHESIS, options, names=("ref.txt", "hyp.txt"))
    found = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert list(found) == [
        *("ref", "hyp", "unit", "wer", "wer_interval", "wer_counts"),
        *("cer", "cer_interval", "cer_counts", "settings"),
    ]
    assert (found["ref"], found["hyp"], found["unit"]) == ("ref.txt", "hyp.txt", "word")
    assert (found["wer"], found["wer_interval"], found["cer"]) == (0, [0, 0], 0)
    assert found["settings"] == {
        "level": 0.95,
        "resamples": 1000,
        "seed": 0,
        "sclite_costs": True,
        "ignore_case": True,
        "skip": ["TO", "<sil>"],
        "normalize": "nfc",
        "fold": None,
    }


def test_phones_are_scored_in_the_classes_of_a_folding() -> None:
    options = WordScoringOptions(folding=PHONES)
    report = score_words({"u": ["AH0", "SIL", "B"]}, {"u": ["AH1", "B", "SIL"]}, options)
    assert (report.words.unit, report.words.percent, report.characters) == ("phone", 0, None)
    assert report.as_json()["settings"]["fold"] == "vowels"


def test_an_utterance_on_one_side_only_is_refused_or_allowed() -> None:
    with pytest.raises(ValueError, match="u2: 1 of 2 have no hypothesis"):
        score_words(REFERENCE, {"u1": []})
    allowed = WordScoringOptions(missing_is_empty=True, ignore_extra=True)
    report = score_words(REFERENCE, {"u1": REFERENCE["u1"], "u3": ["X"]}, allowed)
    assert (report.words.counts.deletions, report.words.counts.insertions) == (2, 0)


def test_times_are_scored_without_files() -> None:
    report = score_times(SPANS, LATE)
    assert report.scores.as_row()["boundary_mae_ms"] == pytest.approx(100)
    assert report.scores.start_f1 == 1
    assert report.peakiness is None
    assert score_times(SPANS, LATE, TimesScoringOptions(collar=0.05)).scores.start_f1 == 0


def test_json_of_times_has_metrics_intervals_and_settings() -> None:
    found = json.loads(json.dumps(score_times(SPANS, LATE).as_json(), allow_nan=False))
    assert list(found)[:3] == ["ref", "hyp", "unit"]
    assert list(found)[-2:] == ["intervals", "settings"]
    assert found["coverage"] == 100
    assert found["intervals"]["coverage"] == [100, 100]
    assert "peaky" not in found
    assert found["settings"] == {
        "collar": 0.2,
        "level": 0.95,
        "resamples": 1000,
        "seed": 0,
        "ignore_case": False,
        "skip": ["<eps>", "<sil>"],
        "tier": "words",
        "fold": None,
    }


def test_peakiness_is_scored_where_labels_of_frames_are_given() -> None:
    labels = {"u1": ["<blank>", "A", "B", "<space>"]}
    report = score_times(SPANS, LATE, frame_labels=labels, durations={"u1": 1.0})
    assert report.peakiness is not None
    assert report.peakiness.raw == 0.5
    assert report.peakiness.silence == pytest.approx(0.2)
    assert report.as_text().endswith("frames: 2 special of 4")
    assert report.as_json()["peaky"] == pytest.approx(30)
    with pytest.raises(ValueError, match="u1: an utterance's duration is needed"):
        score_times(SPANS, LATE, frame_labels=labels, durations={})


def test_files_give_the_reports_of_what_is_in_them(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("ref.ctm", "hyp.ctm")]
    for path, spans in zip(paths, (SPANS, LATE), strict=True):
        formats.write_ctm(path, spans)
    names = (str(paths[0]), str(paths[1]))
    assert score_time_files(*paths).as_json() == score_times(SPANS, LATE, names=names).as_json()
    words = {name: [span.symbol for span in spans] for name, spans in SPANS.items()}
    assert score_word_files(*paths) == score_words(words, words, names=names)


def test_scores_leave_what_they_are_given_as_it_is() -> None:
    references, hypotheses = dict(SPANS), {"u1": [*LATE["u1"], Span("<sil>", 1.0, 1.1)]}
    score_times(references, hypotheses, TimesScoringOptions(ignore_case=True))
    assert references == SPANS
    assert [span.symbol for span in hypotheses["u1"]] == ["A", "B", "<sil>"]


def test_a_table_aligns_its_first_column_to_the_left_and_the_rest_to_the_right() -> None:
    assert table([["name", "n"], ["a", "10"]]) == "name   n\na     10"
