"""The alignment of one utterance over epochs."""

import json
from itertools import pairwise
from typing import Any

import pytest

from espnet_ottc.report.evolution import chosen_epochs, followed_utterance, read_evolution


def test_snapshots_become_spans_of_tokens_and_words_in_seconds(experiment: Any) -> None:
    evolution = read_evolution(experiment.folder("ottc", 1), "utt-a", duration=1.0)
    assert [snapshot.epoch for snapshot in evolution.snapshots] == [1, 2, 3]
    last = evolution.snapshots[-1]
    assert [token.symbol for token in last.tokens] == ["<space>", "H", "I", "<space>"]
    assert [token.start for token in last.tokens] == pytest.approx([0.0, 0.13, 0.4, 0.8])
    (word,) = last.words
    assert (word.symbol, word.start, word.end) == ("HI", pytest.approx(0.13), pytest.approx(0.8))
    assert not evolution.grid_known


def test_the_frame_grid_of_the_model_is_used_where_it_is_known(experiment: Any) -> None:
    folder = experiment.folder("ottc", 1)
    (folder / "frame_grid.json").write_text('{"shift": 0.05, "offset": 0.01}')
    evolution = read_evolution(folder, "utt-a", duration=1.0)
    assert evolution.grid_known
    assert evolution.snapshots[0].tokens[2].start == pytest.approx(0.21)


def test_the_utterance_of_most_epochs_is_followed(experiment: Any) -> None:
    folder = experiment.folder("ottc", 1)
    path = folder / "alignments" / "3epoch.json"
    entry = json.loads(path.read_text())["utt-a"]
    path.write_text(json.dumps({"utt-new": entry, "utt-a": entry}))
    assert followed_utterance(folder) == "utt-a"


@pytest.mark.parametrize("last", [1, 2, 5, 6, 7, 12, 20, 40, 300])
def test_epochs_go_from_first_to_last_with_growing_distances(last: int) -> None:
    epochs = chosen_epochs(range(1, last + 1), 6)
    assert len(epochs) == min(last, 6)
    assert epochs[0] == 1
    assert epochs[-1] == last
    assert epochs == sorted(set(epochs))
    steps = [after - before for before, after in pairwise(epochs)]
    if last >= 20:
        assert steps[0] <= 2 < steps[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": [0.0]}, "as many starts"),
        ({"alpha": []}, "as many starts"),
        ({"labels": [1, 2, 3, 4]}, "labels must be ids below 4"),
        ({"alpha": [0.5, "x"]}, "finite numbers"),
        ({"starts": None}, "must hold alpha, labels"),
    ],
)
def test_a_malformed_snapshot_is_refused_with_utterance_and_file(
    experiment: Any, change: dict[str, Any], message: str
) -> None:
    path = experiment.folder("ottc", 1) / "alignments" / "2epoch.json"
    content = json.loads(path.read_text())
    content["utt-a"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"utt-a: .*2epoch\.json .*{message}"):
        read_evolution(experiment.folder("ottc", 1), "utt-a", 1.0)


def test_a_file_that_is_no_snapshot_is_refused(experiment: Any) -> None:
    path = experiment.folder("ottc", 1) / "alignments" / "2epoch.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"2epoch\.json: must be JSON"):
        followed_utterance(experiment.folder("ottc", 1))
