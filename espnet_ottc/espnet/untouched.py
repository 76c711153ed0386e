"""Parameters that a part of a training leaves as they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer


@contextmanager
def untouched(
    parameters: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]
) -> Iterator[None]:
    """Keep parameters from weight decay and momentum while this lasts, and their moments from zeros.

    An optimizer leaves out parameters without a gradient.  These may have zeros: with several processes they
    have to take part in the backward pass, and `requires_grad` cannot change under DistributedDataParallel.

    Args:
        parameters: that stay as they are.
        optimizers: whose steps leave them out.
    """
    if not parameters:
        yield
        return

    def drop_gradients(*_: Any) -> None:
        for parameter in parameters:
            parameter.grad = None

    hooks: list[Callable[[], None]] = [
        optimizer.register_step_pre_hook(drop_gradients).remove for optimizer in optimizers
    ]
    try:
        yield
    finally:
        for remove in hooks:
            remove()
