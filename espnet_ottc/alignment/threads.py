"""Several things at once in this process, where PyTorch does most of the work."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_threads(
    function: Callable[[Given], Made], items: Sequence[Given], at_once: int | None = None
) -> Iterator[Made]:
    """What a function makes of each item, in their order; several at a time.

    PyTorch's threads are shared out among them: a small tensor has too little work for many.

    Args:
        function: may run beside itself.
        items: each is given to it.
        at_once: how many at most; None: as many as PyTorch has threads.
    """
    threads = torch.get_num_threads()
    pool = min(threads, len(items), at_once or threads)
    if pool < 2:
        yield from map(function, items)
        return
    try:
        with ThreadPoolExecutor(pool, "pool", torch.set_num_threads, (threads // pool,)) as some:
            yield from some.map(function, items)
    finally:
        # It is each thread's own, but also that of threads which begin.
        torch.set_num_threads(threads)
