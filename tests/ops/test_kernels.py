"""The choice between implementations, what happens where one is missing, and what only a build shows."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_ottc import ottc_loss
from espnet_ottc.ops import kernels
from espnet_ottc.ops.kernels import fallback
from espnet_ottc.ops.kernels.library import compiled, load_library

PACKAGE = Path(kernels.__file__).parents[2]
BATCH = (
    torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)),
    torch.zeros(2, 6),
    torch.ones(2, 3, dtype=torch.int64),
    torch.tensor([6, 4]),
    torch.tensor([3, 2]),
)

# Compiles every kernel for a GPU that need not be there: types, loops and masks as the hardware has
# them, which the interpreter does not show.
COMPILE = """
import inspect
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from espnet_ottc.ops.kernels.triton_ottc.gradients import write_gradients
from espnet_ottc.ops.kernels.triton_ottc.inputs import read_inputs
from espnet_ottc.ops.kernels.triton_ottc.sums import sum_up
from espnet_ottc.ops.transport import TIE

def describe(kernel, types, constants):
    names = kernel.arg_names
    if "constexprs" in inspect.signature(ASTSource).parameters:
        signature = {name: types.get(name, "constexpr") for name in names}
        constants = {(names.index(name),): value for name, value in constants.items()}
        return ASTSource(fn=kernel, signature=signature, constexprs=constants)
    # Triton 3.2
    signature = {name: types[name] for name in names if name in types}
    return ASTSource(fn=kernel, signature=signature, constants=constants)


FLOATS = ("losses", "grad_losses")
SCALARS = ("null_capacity", "null_weight")
INTEGERS = ("frame_lengths", "label_lengths", "targets")
SIZES = ("B", "T", "U", "V", "K", "batch_stride", "frame_stride", "loss_stride", "null_label")
SMALL, LARGE = {"ROWS": 32, "COLUMNS": 32}, {"ROWS": 1, "COLUMNS": 1024}
READING = {"LABEL_STEPS": 7, "TIE_WIDTH": TIE, "STEP": 1024}
NO_SLOPES = {"FRAME_SLOPES": False, "LABEL_SLOPES": False, "NULL": False}
SLOPES = {"FRAME_SLOPES": True, "LABEL_SLOPES": True, "NULL": True}
KERNELS = [
    (read_inputs, {"UNIFORM": True, **READING, **SMALL}),
    (read_inputs, {"UNIFORM": False, **READING, **LARGE}),
    (sum_up, {"UNIFORM": True, "STEP": 1024, **NO_SLOPES}),
    (sum_up, {"UNIFORM": False, "STEP": 1024, **SLOPES}),
    (write_gradients, {"UNIFORM": True, "LOGITS": True, **NO_SLOPES, **SMALL}),
    (write_gradients, {"UNIFORM": False, "LOGITS": True, **SLOPES, **LARGE}),
    (write_gradients, {"UNIFORM": False, "LOGITS": False, **SLOPES, **SMALL}),
]
for dtype in ("fp32", "bf16", "fp16"):
    types = dict.fromkeys(INTEGERS, "*i64") | dict.fromkeys(FLOATS, "*fp32") | {"state": "*fp64"}
    types |= dict.fromkeys(SIZES, "i32") | dict.fromkeys(SCALARS, "fp32")
    types |= {"label_weights": "*fp32", "grad_label_weights": "*fp32"}
    scores = ("logits", "frame_logits", "grad_logits", "grad_frame_logits")
    types |= dict.fromkeys(scores, "*" + dtype)
    for kernel, constants in KERNELS:
        source = describe(kernel, types, constants)
        binary = compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
        print(kernel.__name__, dtype, len(binary.asm["cubin"]))
"""


def run_python(source: str, *arguments: str, **environment: str) -> str:
    variables = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env={**variables, "PYTHONPATH": str(PACKAGE), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "capability",
    [pytest.param("80", marks=pytest.mark.slow), "90", pytest.param("100", marks=pytest.mark.slow)],
)
def test_triton_kernels_compile_for_a_gpu(capability: str) -> None:
    triton = pytest.importorskip("triton")
    if capability == "100" and tuple(map(int, triton.__version__.split(".")[:2])) < (3, 3):
        pytest.skip(f"Triton {triton.__version__} knows no Blackwell GPU")
    lines = run_python(COMPILE, capability).splitlines()
    assert len(lines) == 21
    assert all(int(line.split()[-1]) > 0 for line in lines)


def test_the_core_imports_neither_espnet_nor_triton() -> None:
    loaded = run_python(
        "import sys; from espnet_ottc import *; print(*(name.split('.')[0] for name in sys.modules))"
    ).split()
    assert {"espnet_ottc", "torch"} <= set(loaded)
    assert not {"espnet", "espnet2", "lhotse", "triton", "scipy"} & set(loaded)


def test_auto_takes_the_c_kernel_for_float32_and_plain_pytorch_for_the_rest() -> None:
    chosen = [
        kernels.choose("auto", BATCH[0].to(dtype)).__name__.rsplit(".", 1)[1]  # type: ignore[attr-defined]
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ]
    assert chosen == ["cpu", "eager", "eager"]


def test_a_missing_kernel_falls_back_with_one_warning_and_the_same_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = ottc_loss(*BATCH)
    monkeypatch.setitem(sys.modules, "espnet_ottc.ops.kernels.cpu", None)
    monkeypatch.setattr(fallback, "_warned", set())
    with pytest.warns(RuntimeWarning, match="cpu kernel .* using plain PyTorch: ") as caught:
        losses = [ottc_loss(*BATCH) for _ in range(3)]
    assert len(caught) == 1
    for loss in losses:
        torch.testing.assert_close(loss, expected)


def test_a_missing_kernel_asked_for_by_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espnet_ottc.ops.kernels.cpu", None)
    with pytest.raises(ImportError):
        ottc_loss(*BATCH, backend="cpu")


def test_a_kernel_refuses_what_it_does_not_serve() -> None:
    logits, *rest = BATCH
    with pytest.raises(ValueError, match=r"needs float32 logits on the CPU, got torch\.float64"):
        ottc_loss(logits.double(), *rest, backend="cpu")
    with pytest.raises(ValueError, match="does not serve float64"):
        ottc_loss(logits.double(), *rest, backend="triton")


def test_one_thread_and_several_give_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 400, 100, generator=generator, requires_grad=True)
    arguments = (
        logits,
        torch.randn(3, 400, generator=generator),
        torch.randint(0, 100, (3, 50), generator=generator),
        torch.tensor([400, 250, 31]),
        torch.tensor([50, 20, 3]),
    )
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            loss = ottc_loss(*arguments, backend="cpu")
            results.append((loss, *torch.autograd.grad(loss, logits)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, many) for one, many in zip(*results, strict=True))


def test_forward_and_backward_hold_the_gradient_and_little_else() -> None:
    """The peak of PyTorch's allocations over a training step, from its own profiler."""
    generator = torch.Generator().manual_seed(2)
    B, T, V, U = 4, 500, 500, 60
    logits = torch.randn(B, T, V, generator=generator, requires_grad=True)
    arguments = (
        logits,
        torch.randn(B, T, generator=generator, requires_grad=True),
        torch.randint(0, V, (B, U), generator=generator),
        torch.full((B,), T),
        torch.full((B,), U),
    )
    size = logits.numel() * logits.element_size()
    for backend, limit in (("cpu", 1.1), ("eager", 1.3)):
        with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
            ottc_loss(*arguments, backend=backend).backward()
        held = peak = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        assert size <= peak <= limit * size, backend
        logits.grad = None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_the_cpu_without_synchronising() -> None:
    inputs = [tensor.cuda() for tensor in BATCH]
    inputs[0].requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = ottc_loss(*inputs)
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected_logits = BATCH[0].clone().requires_grad_()
    expected = ottc_loss(expected_logits, *BATCH[1:])
    expected.backward()
    torch.testing.assert_close(loss.cpu(), expected)
    assert inputs[0].grad is not None
    assert expected_logits.grad is not None
    torch.testing.assert_close(inputs[0].grad.cpu(), expected_logits.grad)


class Longer(ctypes.Structure):
    _fields_ = tuple((f"field{number}", ctypes.c_int64) for number in range(100))


@pytest.mark.parametrize("stem", ["_ottc_cpu", "_chains_cpu", "_band_cpu"])
def test_a_kernel_of_another_version_is_refused_before_it_reads_beyond_a_structure(stem):
    try:
        path = compiled(stem)
    except ImportError as missing:
        pytest.skip(str(missing))
    with pytest.raises(ImportError, match=rf"{stem}\.so was compiled for another version; run"):
        load_library(path, Longer, [])


def test_a_kernel_that_does_not_say_what_it_takes_is_refused():
    with pytest.raises(ImportError, match="was compiled for another version; run"):
        load_library(Path(torch._C.__file__), Longer, [])
