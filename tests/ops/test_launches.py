"""What a step asks of a GPU: launches, and operations of PyTorch, none of which waits for it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import espnet_ottc
from espnet_ottc import ottc_loss

triton = pytest.importorskip("triton")


class Operations(TorchDispatchMode):
    """Counts the operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.ops.prim.device.default:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that are launched."""
    from triton.runtime.interpreter import GridExecutor

    names: list[str] = []
    run = GridExecutor.__call__

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        names.append(self.fn.__name__)
        with _disable_current_modes():  # the interpreter's own operations do not count
            return run(self, *args, **options)

    monkeypatch.setattr(GridExecutor, "__call__", counted)
    return names


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts in Triton's interpreter")
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_launches_two_kernels_forward_and_one_backward(
    launches: list[str], weighted: bool
) -> None:
    from espnet_ottc.ops.kernels import OTTCInputs, Slopes, triton_ottc

    inputs = OTTCInputs(
        torch.randn(2, 70, 5),
        torch.randn(2, 70),
        torch.ones(2, 3, dtype=torch.int64),
        torch.tensor([70, 40]),
        torch.tensor([3, 2]),
        torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0]]) if weighted else None,
    )
    slopes = Slopes(frame_logits=True, label_weights=weighted)
    with Operations() as forward:
        _, state, _ = triton_ottc.forward(inputs, slopes)
        launched = list(launches)
    # Two tensors are made; the normalizers are a view of one of them.
    made = [name for name in forward.names if "empty" in name]
    assert len(made) == 2
    assert not {name.split(".")[1] for name in forward.names} & {"_local_scalar_dense", "_to_copy"}
    assert launched == ["read_inputs", "sum_up"]
    launches.clear()
    with Operations() as backward:
        triton_ottc.backward(inputs, state, slopes, torch.ones(2), True)
        launched = list(launches)
    assert len([name for name in backward.names if "empty" in name]) == 3
    assert not {name.split(".")[1] for name in backward.names} & {"_local_scalar_dense", "_to_copy"}
    assert launched == ["write_gradients"]


def test_lengths_of_a_gpu_are_not_read_by_the_host() -> None:
    """On fake tensors reading a value is an error."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        logits = torch.empty(2, 9, 5, device="cuda")
        frame_logits = torch.empty(2, 9, device="cuda")  # no view: PyTorch 2.6 asks the GPU for one
        targets = torch.empty(2, 3, dtype=torch.int64, device="cuda")
        lengths = [torch.empty(2, dtype=torch.int64, device="cuda") for _ in range(2)]
        with Operations() as step:
            loss = ottc_loss(logits, frame_logits, targets, *lengths)
    assert loss.device.type == "cuda"
    assert step.names[-2:] == ["espnet_ottc.ottc_forward.default", "aten.mean.default"]
    assert set(step.names[:-2]) <= {"aten._to_copy.default"}, step.names


def test_a_kind_of_arguments_is_asked_of_triton_once_and_launched_as_it_would() -> None:
    """By a driver that notes launches; Triton compiles for a GPU that need not be there."""
    found = json.loads(run_program("recorded_launches.py"))
    kernels = ["read_inputs", "sum_up", "write_gradients"]
    assert found["first"]["asked"] == kernels
    assert [launch[0] for launch in found["first"]["launches"]] == kernels
    # The same addresses, numbers, constants, grids and stream as from Triton itself.
    assert found["again"] == {"launches": found["first"]["launches"], "asked": []}
    # Other lengths that need no other program.
    assert found["longer"]["asked"] == []
    assert found["longer"]["launches"] != found["first"]["launches"]
    # What Triton compiles for: divisible numbers, aligned addresses, dtypes.
    for other in ("padded", "shifted", "half"):
        assert found[other]["asked"] == kernels, other


def run_program(name: str) -> str:
    """The output of a file of this folder, where Triton does not interpret."""
    variables = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name))],
        env={**variables, "PYTHONPATH": str(Path(espnet_ottc.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
