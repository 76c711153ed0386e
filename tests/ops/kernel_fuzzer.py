"""A fuzzer of the C kernel: unchecked inputs of every kind, against plain PyTorch and under sanitizers.

    make fuzz                                     # a fixed number of cases, kernel built with ASan and UBSan
    python tests/ops/kernel_fuzzer.py --cases 500 --first_seed 1000

A case is a few numbers, from which `tensors` makes the batch; fuzz_corpus has those that once failed.
The parent process compiles the kernel and starts itself again with the sanitizer's library loaded first.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc import ottc_loss
from espnet_ottc.ops import kernels

CORPUS = Path(__file__).parent / "fuzz_corpus"
SOURCE = Path(kernels.__file__).with_name("ottc_cpu.c")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]
_FAR = (-1, -(2**63), 2**63 - 1, 2**40)
_VALUES = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, 0.0)


@dataclass
class FuzzCase:
    """One batch: its sizes, its lengths, and values written over random ones.

    Attributes:
        seed: of all other values.
        sizes: B, T, U, V.
        frame_lengths: B of them, anything.
        label_lengths: B of them, anything.
        weighted: whether label weights are given.
        threads: threads of the kernel.
        values: tensor's name, index and value, in that order.
        null_capacity: of the loss.
        null: the label that it teaches.
    """

    seed: int
    sizes: list[int]
    frame_lengths: list[int]
    label_lengths: list[int]
    weighted: bool = False
    threads: int = 1
    values: list[tuple[str, list[int], float]] = field(default_factory=list)
    null_capacity: float = 0.0
    null: int = 0


def random_case(seed: int) -> FuzzCase:
    """The case of a seed."""
    draw = random.Random(seed)
    B, T = draw.randint(1, 4), draw.choice([0, 1, 2, 7, 63, 64, 65, 130])
    U, V = draw.choice([0, 1, 2, 5, 80]), draw.choice([1, 2, 5, 8, 17, 33, 600])

    def lengths(longest: int) -> list[int]:
        choices = [longest, longest, max(longest - 1, 0), 0, longest + 1, *_FAR]
        return [draw.choice(choices) for _ in range(B)]

    case = FuzzCase(
        seed, [B, T, U, V], lengths(T), lengths(U), draw.random() < 0.4, draw.choice([1, 1, 3])
    )
    for _ in range(draw.choice([0, 0, 1, 3])):
        name, shape, values = draw.choice(
            [
                ("logits", (B, T, V), _VALUES),
                ("frame_logits", (B, T), _VALUES),
                ("targets", (B, U), (*_FAR, V)),
                ("label_weights", (B, U), (*_VALUES, -0.5)),
            ]
        )
        if all(shape):
            place = [draw.randrange(size) for size in shape]
            case.values.append((name, place, draw.choice(values)))
    case.null_capacity, case.null = draw.choice([0.0, 0.3, 1.0]), draw.randrange(V)
    return case


def tensors(case: FuzzCase) -> list[Tensor | None]:
    """The arguments of `ottc_loss`."""
    generator = torch.Generator().manual_seed(case.seed)
    B, T, U, V = case.sizes
    named: dict[str, Tensor] = {
        "logits": torch.randn(B, T, V, generator=generator),
        "frame_logits": torch.randn(B, T, generator=generator),
        "targets": torch.randint(0, V, (B, U), generator=generator),
        "label_weights": torch.rand(B, U, generator=generator).softmax(1),
    }
    for name, place, value in case.values:
        named[name][tuple(place)] = value
    weights = named.pop("label_weights")
    return [
        *named.values(),
        torch.tensor(case.frame_lengths),
        torch.tensor(case.label_lengths),
        weights if case.weighted else None,
    ]


def run(case: FuzzCase, backend: str) -> list[Tensor]:
    """(B,) losses and the gradients of their sum, nothing checked."""
    arguments = tensors(case)
    leaves = [
        tensor.requires_grad_()
        for tensor in arguments
        if tensor is not None and tensor.is_floating_point()
    ]
    torch.set_num_threads(case.threads)
    try:
        losses = ottc_loss(
            *arguments,
            reduction="none",
            validate=False,
            backend=backend,
            null_capacity=case.null_capacity,
            null=case.null,
        )
        return [losses.detach(), *torch.autograd.grad(losses.sum(), leaves)]
    finally:
        torch.set_num_threads(1)


def check(case: FuzzCase) -> None:
    """Raise AssertionError unless the kernel agrees with plain PyTorch on utterances with a finite loss."""
    found, expected = run(case, "cpu"), run(case, "eager")
    # Label weights that break the rules have no defined loss.
    if case.weighted and any(name == "label_weights" for name, *_ in case.values):
        return
    U = case.sizes[2]
    # Weights cut short sum to less than 1: each implementation normalises them, but not their gradient alike.
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4, equal_nan=True)
    finite = expected[0].isfinite()
    for grad, wanted in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(
            grad[finite], wanted[finite], atol=2e-4, rtol=2e-3, equal_nan=True
        )
    empty = torch.tensor([min(length, U) <= 0 for length in case.label_lengths])
    for grad in found[1:]:
        assert bool((grad[empty] == 0).all()), "an utterance without labels has a gradient"


def corpus() -> dict[str, FuzzCase]:
    """The cases that once failed, by name."""
    return {
        path.stem: FuzzCase(**json.loads(path.read_text()))
        for path in sorted(CORPUS.glob("*.json"))
    }


def sanitizer_library() -> str | None:
    """The file of AddressSanitizer that gcc links, or None where there is none."""
    try:
        answer = subprocess.run(
            ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    path = answer.stdout.strip()
    return path if Path(path).is_absolute() else None


def run_sanitized(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run this file with `arguments` and a kernel that is built with sanitizers.

    Raises:
        RuntimeError: gcc has no sanitizers.
    """
    library = sanitizer_library()
    if library is None:
        raise RuntimeError(
            "the fuzzer needs gcc with AddressSanitizer (Debian: apt-get install gcc)"
        )
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernel.so"
        build = [
            "gcc",
            *SANITIZERS,
            "-fopenmp",
            "-shared",
            "-fPIC",
            "-o",
            str(kernel),
            str(SOURCE),
            "-lm",
        ]
        subprocess.run(build, check=True)
        # Python never frees some of what it allocates.
        environment = {
            **os.environ,
            "LD_PRELOAD": library,
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        command = [sys.executable, __file__, "--kernel", str(kernel), *arguments]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            result.stderr += f"\nfailed: {kernel.with_name('last.json').read_text()}"
        return result


def main() -> None:
    """Fuzz as the command line says; ends with status 1 and the failed case's JSON on the standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000, help="random cases after the corpus")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--kernel", type=Path, help="a compiled kernel to run in this process")
    options = parser.parse_args()
    if options.kernel is None:
        result = run_sanitized(
            ["--cases", str(options.cases), "--first_seed", str(options.first_seed)]
        )
        sys.stdout.write(result.stdout)
        sys.stderr.write(result.stderr)
        sys.exit(result.returncode)
    from espnet_ottc.ops.kernels import cpu

    cpu._LIBRARY = cpu.load(options.kernel)
    seeds = range(options.first_seed, options.first_seed + options.cases)
    last = options.kernel.with_name("last.json")
    cases = [*corpus().values(), *map(random_case, seeds)]
    for case in cases:
        # Written first: a crash leaves it.
        last.write_text(json.dumps(asdict(case)) + "\n")
        check(case)
    sys.stdout.write(f"{len(cases)} cases passed\n")


if __name__ == "__main__":
    main()
