"""Several things at once, on PyTorch's threads."""

import threading
from collections.abc import Iterator

import pytest
import torch

from espnet_ottc.alignment.threads import in_threads


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """PyTorch with four threads, as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_they_run_at_once_and_share_the_threads_out() -> None:
    # Nobody passes before both are there.
    both = threading.Barrier(2, timeout=60)

    def threads_of(item: int) -> tuple[int, int]:
        both.wait()
        return item, torch.get_num_threads()

    assert list(in_threads(threads_of, range(4), at_once=2)) == [(item, 2) for item in range(4)]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("items", "at_once"), [(1, None), (3, 1), (0, None)])
def test_one_at_a_time_has_all_threads(items: int, at_once: int | None) -> None:
    here = threading.current_thread()

    def threads_of(_: int) -> tuple[bool, int]:
        return threading.current_thread() is here, torch.get_num_threads()

    assert list(in_threads(threads_of, range(items), at_once)) == [(True, 4)] * items


def test_a_fault_of_one_is_raised_and_costs_no_threads() -> None:
    def halves(item: int) -> int:
        return 2 // item

    made = in_threads(halves, (1, 2, 0, 1))
    assert [next(made), next(made)] == [2, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert torch.get_num_threads() == 4
