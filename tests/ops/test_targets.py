"""targets: blanks between repeats, boundary labels, collapsing, against plain lists."""

from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_ottc.ops.targets import add_boundary_labels, collapse, insert_blanks

BLANK = 0
BOUNDARY = 3
JUNK = -1

seeded = settings(max_examples=150)
label_lists = st.lists(st.lists(st.integers(1, 4), max_size=7), min_size=1, max_size=4)
frame_lists = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4)


def padded(sequences: list[list[int]], extra: int = 0) -> tuple[Tensor, Tensor]:
    """Pad with an id that no vocabulary has, so that reading the padding shows."""
    width = max(map(len, sequences)) + extra
    rows = [sequence + [JUNK] * (width - len(sequence)) for sequence in sequences]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width), lengths


def as_lists(labels: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(labels.tolist(), lengths.tolist(), strict=True)]


def with_blanks(sequence: list[int]) -> list[int]:
    result: list[int] = []
    for label in sequence:
        if result and result[-1] == label:
            result.append(BLANK)
        result.append(label)
    return result


def with_boundaries(sequence: list[int]) -> list[int]:
    if not sequence:
        return [BOUNDARY]
    start = [] if sequence[0] == BOUNDARY else [BOUNDARY]
    end = [] if sequence[-1] == BOUNDARY else [BOUNDARY]
    return start + sequence + end


def collapsed(path: list[int]) -> list[int]:
    return [label for label, _ in groupby(path) if label != BLANK]


@seeded
@given(label_lists, st.integers(0, 3))
def test_insert_blanks_equals_the_loop_over_lists(sequences: list[list[int]], extra: int) -> None:
    targets, lengths = padded(sequences, extra)
    got, got_lengths = insert_blanks(targets, lengths)
    assert as_lists(got, got_lengths) == [with_blanks(sequence) for sequence in sequences]
    assert got.shape[1] == max(2 * targets.shape[1] - 1, 0)
    padding = torch.arange(got.shape[1]) >= got_lengths[:, None]
    assert (got[padding] == BLANK).all()


@seeded
@given(label_lists, st.integers(0, 3))
def test_boundary_labels_equal_the_loop_over_lists(sequences: list[list[int]], extra: int) -> None:
    targets, lengths = padded(sequences, extra)
    got, got_lengths = add_boundary_labels(targets, lengths, BOUNDARY)
    assert as_lists(got, got_lengths) == [with_boundaries(sequence) for sequence in sequences]
    assert got.shape[1] == targets.shape[1] + 2
    padding = torch.arange(got.shape[1]) >= got_lengths[:, None]
    assert (got[padding] == BOUNDARY).all()


@seeded
@given(frame_lists, st.integers(0, 3))
def test_collapse_equals_groupby_without_blanks(paths: list[list[int]], extra: int) -> None:
    labels, lengths = padded(paths, extra)
    got, got_lengths = collapse(labels, lengths)
    assert as_lists(got, got_lengths) == [collapsed(path) for path in paths]
    assert got.shape == labels.shape
    padding = torch.arange(got.shape[1]) >= got_lengths[:, None]
    assert (got[padding] == BLANK).all()


@seeded
@given(label_lists, st.data())
def test_collapsing_repeats_of_separated_labels_gives_the_labels_back(
    sequences: list[list[int]], data: st.DataObject
) -> None:
    separated = as_lists(*insert_blanks(*padded(sequences)))
    paths = [
        [label for label in sequence for _ in range(data.draw(st.integers(1, 3)))]
        for sequence in separated
    ]
    assert as_lists(*collapse(*padded(paths))) == sequences


@seeded
@given(label_lists)
def test_inserting_twice_changes_nothing(sequences: list[list[int]]) -> None:
    separated, lengths = insert_blanks(*padded(sequences))
    assert as_lists(*insert_blanks(separated, lengths)) == as_lists(separated, lengths)
    bounded, lengths = add_boundary_labels(*padded(sequences), BOUNDARY)
    assert as_lists(*add_boundary_labels(bounded, lengths, BOUNDARY)) == as_lists(bounded, lengths)


@seeded
@given(label_lists)
def test_boundary_labels_and_blanks_can_be_put_in_either_order(sequences: list[list[int]]) -> None:
    targets, lengths = padded(sequences)
    boundary_first = insert_blanks(*add_boundary_labels(targets, lengths, BOUNDARY))
    blanks_first = add_boundary_labels(*insert_blanks(targets, lengths), BOUNDARY)
    assert as_lists(*boundary_first) == as_lists(*blanks_first)


def test_a_boundary_label_in_the_padding_is_no_boundary() -> None:
    targets = torch.tensor([[BOUNDARY, BOUNDARY], [1, BOUNDARY]])
    got = add_boundary_labels(targets, torch.tensor([0, 1]), BOUNDARY)
    assert as_lists(*got) == [[BOUNDARY], [BOUNDARY, 1, BOUNDARY]]


def test_a_pair_of_blanks_is_left_alone() -> None:
    got, lengths = insert_blanks(torch.tensor([[BLANK, BLANK, 1, 1]]), torch.tensor([4]))
    assert as_lists(got, lengths) == [[BLANK, BLANK, 1, BLANK, 1]]


def test_another_blank_id_is_used() -> None:
    got, lengths = insert_blanks(torch.tensor([[0, 0]]), torch.tensor([2]), blank=9)
    assert as_lists(got, lengths) == [[0, 9, 0]]
    assert as_lists(*collapse(got, lengths, blank=9)) == [[0, 0]]


def test_a_batch_without_labels_gives_empty_sequences_and_single_boundaries() -> None:
    empty, lengths = torch.zeros((2, 0), dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    assert as_lists(*insert_blanks(empty, lengths)) == [[], []]
    assert as_lists(*collapse(empty, lengths)) == [[], []]
    assert as_lists(*add_boundary_labels(empty, lengths, BOUNDARY)) == [[BOUNDARY], [BOUNDARY]]
    nobody = torch.zeros((0, 5), dtype=torch.int64)
    assert insert_blanks(nobody, lengths[:0])[0].shape == (0, 9)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_label_dtype_is_kept_and_the_argument_is_not_written_into(dtype: torch.dtype) -> None:
    targets = torch.tensor([[1, 1, 2]], dtype=dtype)
    lengths = torch.tensor([3], dtype=torch.int32)
    results = (
        insert_blanks(targets, lengths),
        add_boundary_labels(targets, lengths, BOUNDARY),
        collapse(targets, lengths),
    )
    for labels, new_lengths in results:
        assert labels.dtype == dtype
        assert new_lengths.dtype == torch.int64
    assert targets.tolist() == [[1, 1, 2]]
    assert lengths.tolist() == [3]


def test_no_value_is_read_outside_the_cpu() -> None:
    # Tensors on the meta device have shapes but no values: reading one raises.
    targets = torch.zeros((2, 5), dtype=torch.int64, device="meta")
    lengths = torch.zeros(2, dtype=torch.int64, device="meta")
    assert insert_blanks(targets, lengths)[0].shape == (2, 9)
    assert add_boundary_labels(targets, lengths, BOUNDARY)[0].shape == (2, 7)
    assert collapse(targets, lengths)[0].shape == (2, 5)


def test_non_contiguous_targets_are_accepted() -> None:
    targets = torch.tensor([[1, 2], [1, 2], [3, 3]]).T
    got = insert_blanks(targets, torch.tensor([3, 3]))
    assert as_lists(*got) == [[1, 0, 1, 3], [2, 0, 2, 3]]


@pytest.mark.parametrize("function", [insert_blanks, collapse])
def test_errors_name_what_was_wrong(function: object) -> None:
    assert callable(function)
    labels = torch.ones((2, 3), dtype=torch.int64)
    with pytest.raises(ValueError, match=r"utterance 1: lengths must lie in \[0, 3\].*got 4"):
        function(labels, torch.tensor([3, 4]))
    with pytest.raises(TypeError, match="must be of an integer dtype"):
        function(labels.float(), torch.tensor([3, 3]))
    with pytest.raises(ValueError, match="lengths must have shape"):
        function(labels, torch.tensor([3, 3, 3]))
