"""Launches that ask Triton once for each kind of arguments, not in every step."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from torch import Tensor

# What a launch of Triton's assumes of an address or a number that is a multiple of it.
_ALIGNED = 16
_INT32 = 2**31


class _Plan(NamedTuple):
    """A compiled kernel, and the arguments that it takes behind those of the call."""

    compiled: Any
    constants: tuple[Any, ...]


class PlannedKernel:
    """A kernel of Triton's with a plan for each kind of its arguments.

    Triton derives from the arguments of every launch for what to compile, which takes longer than a small
    kernel runs.  Here that happens once for each device, dtypes, alignment of addresses, kind of numbers and
    constants; a later launch of the same kind hands addresses to the compiled kernel.

    Args:
        kernel: decorated by `triton.jit`, with its constants behind the other arguments.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._plans: dict[Hashable, _Plan] = {}

    def launch(
        self,
        programs: int,
        tensors: tuple[Tensor, ...],
        numbers: tuple[int | float, ...],
        constants: dict[str, int | float | bool],
        warps: int,
    ) -> None:
        """Run the kernel on the current device.

        Args:
            programs: size of the grid, of one dimension.
            tensors: the kernel's first arguments, on that device.
            numbers: those that follow.
            constants: the last ones by name, in the kernel's order.
            warps: of a program.
        """
        addresses = [tensor.data_ptr() for tensor in tensors]
        kind = (
            tensors[0].get_device(),
            warps,
            *constants.values(),
            *map(_kind, numbers),
            *[tensor.dtype for tensor in tensors],
            *[address % _ALIGNED for address in addresses],
        )
        plan = self._plans.get(kind)
        if plan is not None:
            plan.compiled[programs, 1, 1](*addresses, *numbers, *plan.constants)
            return
        compiled = self._kernel[programs, 1, 1](*tensors, *numbers, **constants, num_warps=warps)
        # The interpreter compiles nothing.
        if compiled is not None:
            given = len(tensors) + len(numbers)
            # Triton 3.2 leaves constants out of a launch.
            takes_constants = len(compiled.src.signature) > given
            rest = tuple(constants.values()) if takes_constants else ()
            self._plans[kind] = _Plan(compiled, rest)


def _kind(number: int | float) -> int:
    """What Triton compiles for: 1, a multiple of 16, another number; of 32 bits or more."""
    if isinstance(number, float):
        return -1
    special = 2 if number == 1 else int(number % _ALIGNED == 0)
    return special + 3 * (number >= _INT32)
