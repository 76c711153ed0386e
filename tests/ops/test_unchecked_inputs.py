"""Views, and values that nobody checks: the answer of plain tensors, clamped or NaN, never a crash."""

import pytest
import torch
from kernel_fuzzer import check, corpus, random_case, run_sanitized, sanitizer_library
from public_functions import FUNCTIONS, LOGITS, UNCHECKED, B, T, U

from espnet_ottc import ottc_loss
from espnet_ottc.ops.kernels.memory import address


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lengths_may_be_views(name: str) -> None:
    frames, labels = torch.tensor([T, T - 2]), torch.tensor([U, U - 1])
    expected = FUNCTIONS[name](frames, labels)
    pair = torch.stack([frames, labels], 1)
    assert not pair[:, 0].is_contiguous()
    torch.testing.assert_close(FUNCTIONS[name](pair[:, 0], pair[:, 1]), expected, rtol=0, atol=0)
    narrow = pair.to(torch.int32)
    torch.testing.assert_close(
        FUNCTIONS[name](narrow[:, 0], narrow[:, 1]), expected, rtol=0, atol=0, check_dtype=False
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lengths_may_be_expanded(name: str) -> None:
    expected = FUNCTIONS[name](torch.full((B,), T - 1), torch.full((B,), U - 1))
    found = FUNCTIONS[name](torch.tensor(T - 1).expand(B), torch.tensor(U - 1).expand(B))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", UNCHECKED)
def test_lengths_that_are_not_checked_are_clamped(name: str) -> None:
    far = torch.tensor([T + 50, -3]), torch.tensor([U + 1000, -1])
    expected = UNCHECKED[name](torch.tensor([T, 0]), torch.tensor([U, 0]))
    torch.testing.assert_close(UNCHECKED[name](*far), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", ["eager", "cpu", "triton"])
def test_every_tensor_may_be_a_view_or_have_its_sign_noted_only(backend: str) -> None:
    logits = LOGITS[:, :4, :].clone()
    scores, weights = torch.randn(B, 4), torch.rand(B, 3).softmax(1)
    targets = torch.tensor([[1, 2, 3], [3, 2, 1]])
    lengths = torch.tensor([4, 4]), torch.tensor([3, 3])

    def value(*floats: torch.Tensor, ids: torch.Tensor = targets) -> torch.Tensor:
        logits, scores, weights = floats
        return ottc_loss(logits, scores, ids, *lengths, weights, backend=backend)

    expected = value(logits, scores, weights)
    floats = logits, scores, weights
    noted = [torch.complex(torch.zeros_like(t), -t).conj().imag for t in floats]
    assert all(tensor.is_neg() for tensor in noted)
    torch.testing.assert_close(value(*noted), expected, rtol=0, atol=0)
    apart = [torch.stack([t, t + 1], -1)[..., 0] for t in floats]
    ids = torch.stack([targets, targets + 9], -1)[..., 0].to(torch.int32)
    torch.testing.assert_close(value(*apart, ids=ids), expected, rtol=0, atol=0)


def test_an_address_is_given_of_a_fitting_tensor_only() -> None:
    with pytest.raises(
        RuntimeError, match=r"reads contiguous torch\.int64 on the CPU; got torch\.int64"
    ):
        address(torch.zeros(2, 2, dtype=torch.int64)[:, 0], torch.int64)
    with pytest.raises(RuntimeError, match=r"got torch\.int32"):
        address(torch.zeros(2, dtype=torch.int32), torch.int64)


@pytest.mark.parametrize("name", corpus())
def test_what_once_failed_is_right(name: str) -> None:
    check(corpus()[name])


def test_random_unchecked_inputs_agree_with_plain_pytorch() -> None:
    for seed in range(3000, 3040):
        check(random_case(seed))


@pytest.mark.skipif(sanitizer_library() is None, reason="needs gcc with AddressSanitizer")
def test_the_c_kernel_passes_the_sanitizers_on_what_once_failed() -> None:
    result = run_sanitized(["--cases", "30"])
    assert result.returncode == 0, result.stderr
    assert "cases passed" in result.stdout
