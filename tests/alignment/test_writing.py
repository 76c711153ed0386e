"""The files of an alignment: every format, and the utterances without times."""

from pathlib import Path

import pytest

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.writing import Times, write_times

WORDS = {"u1": [Span("A", 0.1, 0.4), Span("B", 0.4, 0.9)], "u2": []}
TOKENS = {"u1": [Span("a", 0.1, 0.4), Span("b", 0.4, 0.4), Span("c", 0.4, 0.9)], "u2": []}
TIMES = Times(WORDS, TOKENS, {"u3": "17 labels in 3 frames"})
DURATIONS = {"u1": 1.0, "u2": 0.5, "u3": 0.1}


def test_times_are_the_same_in_every_format(tmp_path: Path) -> None:
    words, tokens, supervisions, grids, infeasible = write_times(tmp_path, TIMES, DURATIONS)
    assert formats.read_ctm(words) == {"u1": WORDS["u1"]}
    assert formats.read_ctm(tokens) == {"u1": TOKENS["u1"]}
    assert formats.read_supervisions(supervisions) == WORDS
    assert formats.read_supervisions(supervisions, "token") == TOKENS
    assert formats.read_spans(grids) == WORDS
    # A token without length has no interval in a TextGrid; it gets the shortest there is.
    assert [span.symbol for span in formats.read_textgrid(grids / "u1.TextGrid", "tokens")] == [
        *("a", "b", "c")
    ]
    assert infeasible.read_text() == "u3 17 labels in 3 frames\n"


def test_what_was_written_before_is_replaced(tmp_path: Path) -> None:
    write_times(tmp_path, TIMES, DURATIONS)
    paths = write_times(tmp_path, Times({"u2": []}, {"u2": []}), DURATIONS)
    assert [path.name for path in paths[3].iterdir()] == ["u2.TextGrid"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert not paths[4].read_text()


def test_an_utterance_without_duration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="u1: no duration"):
        write_times(tmp_path, TIMES, {"u2": 0.5})
