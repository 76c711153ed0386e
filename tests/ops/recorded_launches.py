"""Run as a program: launches of the Triton kernels for a GPU that need not be there, on one line of JSON.

A driver that only notes them takes the place of CUDA's.  The kernels are really compiled, for compute
capability 9.0, and Triton is asked as on a GPU.
"""

import json
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from espnet_ottc.ops.kernels import OTTCInputs, Slopes, triton_ottc

TRITON = tuple(map(int, triton.__version__.split(".")[:2]))
LAUNCHES: list[Any] = []
ASKED: list[str] = []


class Utils:
    """What a compiled kernel asks of the device."""

    def load_binary(self, name: str, *_: Any) -> tuple[Any, ...]:
        """Module, function, registers, spills, and threads, for which Triton asks from 3.4 on."""
        return (None, name, 32, 0, 1024)[: 5 if TRITON >= (3, 4) else 4]

    def get_device_properties(self, _: int) -> dict[str, int]:
        """Of an H100."""
        return {"max_shared_mem": 232448}


class Launcher:
    """Notes a launch instead of making it."""

    def __init__(self, *_: Any) -> None:
        pass

    def __call__(self, x: int, y: int, z: int, stream: int, function: str, *rest: Any) -> None:
        """`rest` is of Triton's own at first: its data on the kernel and two hooks."""
        arguments = [getattr(value, "data_ptr", lambda value=value: value)() for value in rest[4:]]
        LAUNCHES.append([function, x, y, z, stream, arguments])


class Driver:
    """One GPU."""

    utils = Utils()
    launcher_cls = Launcher

    def get_current_device(self) -> int:
        """Its number."""
        return 0

    def get_current_stream(self, _: int) -> int:
        """Some address."""
        return 7

    def get_current_target(self) -> GPUTarget:
        """Compute capability 9.0."""
        return GPUTarget("cuda", 90, 32)


class Step:
    """Forward and backward of one batch, and what they write, always at the same addresses."""

    def __init__(
        self, frames: int, *, V: int = 32, first: int = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        B, U = 2, 3
        logits = torch.zeros(first + B * frames * V, dtype=dtype)[first:].view(B, frames, V)
        self.inputs = OTTCInputs(
            logits,
            torch.zeros(B, frames),
            torch.ones(B, U, dtype=torch.int64),
            torch.full((B,), frames),
            torch.full((B,), U),
            None,
        )
        self.grad_losses = torch.ones(B)
        self.made: dict[Any, torch.Tensor] = {}

    def __call__(self) -> dict[str, Any]:
        """The launches, and the kernels for which Triton was asked."""
        LAUNCHES.clear()
        ASKED.clear()
        slopes = Slopes(frame_logits=True, label_weights=False)
        new_empty = torch.Tensor.new_empty

        def kept(like: Any, *shape: Any, **options: Any) -> torch.Tensor:
            return self.made.setdefault(
                (shape, *options.values()), new_empty(like, *shape, **options)
            )

        torch.Tensor.new_empty = kept  # type: ignore[method-assign, assignment]
        try:
            _, state, _ = triton_ottc.forward(self.inputs, slopes)
            triton_ottc.backward(self.inputs, state, slopes, self.grad_losses, True)
        finally:
            torch.Tensor.new_empty = new_empty  # type: ignore[method-assign]
        return {"launches": list(LAUNCHES), "asked": list(ASKED)}


def main() -> None:
    driver.set_active(Driver())
    run = JITFunction.run

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        ASKED.append(self.fn.__name__)
        return run(self, *arguments, **options)

    JITFunction.run = counted
    step = Step(70)
    found = {"first": step(), "again": step(), "longer": Step(100)(), "padded": Step(70, V=33)()}
    found["shifted"] = Step(70, first=1)()
    found["half"] = Step(70, dtype=torch.bfloat16)()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
