"""Records of a training, whole lines only."""

import pytest

from espnet_ottc.utils.training_records import (
    EpochRecord,
    Position,
    append_epoch,
    append_position,
    finite,
    read_epochs,
    read_position,
    replace_epochs,
    start_positions,
)

RECORD = EpochRecord(1, 3, {"loss": 2.5}, {"loss": 3.5, "cer_ctc": None}, 12.5, ("look",), "now")


def test_records_come_back_as_they_were_written(tmp_path):
    assert read_epochs(tmp_path) == []
    other = EpochRecord(2, 3, {}, {})
    append_epoch(tmp_path, RECORD)
    append_epoch(tmp_path, other)
    assert read_epochs(tmp_path) == [RECORD, other]
    assert len((tmp_path / "epochs.jsonl").read_text().splitlines()) == 2
    replace_epochs(tmp_path, [other])
    assert read_epochs(tmp_path) == [other]


def test_a_line_that_is_still_written_does_not_count(tmp_path):
    append_epoch(tmp_path, RECORD)
    with (tmp_path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 2, "max_')
    assert read_epochs(tmp_path) == [RECORD]


_WORD = '{"epoch": "1", "max_epoch": 2, "train": {}, "valid": {}}'


@pytest.mark.parametrize("line", ["{}", "[1]", "{", '{"epoch": 1, "loss": 2}', _WORD])
def test_a_whole_line_that_is_no_record_is_named(tmp_path, line):
    append_epoch(tmp_path, RECORD)
    with (tmp_path / "epochs.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"epochs\.jsonl, line 2: must be"):
        read_epochs(tmp_path)


def test_the_last_position_counts_until_a_run_starts(tmp_path):
    assert read_position(tmp_path) is None
    for batch in (0, 40):
        append_position(tmp_path, Position(2, 3, batch))
    assert read_position(tmp_path) == Position(2, 3, 40)
    start_positions(tmp_path)
    assert read_position(tmp_path) is None


def test_values_have_seven_digits_and_are_finite_or_none():
    assert finite(1 / 3) == 0.3333333
    assert finite(float("nan")) is finite(float("inf")) is None


@pytest.mark.parametrize("line", ["{}", '{"epoch": "", "max_epoch": 2, "batch": 1}'])
def test_what_is_no_position_is_named(tmp_path, line):
    (tmp_path / "batches.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"batches\.jsonl, line 1: must be a position"):
        read_position(tmp_path)
