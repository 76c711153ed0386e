"""ottc_loss: every implementation against the dense formula, its edge cases, its errors, its memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_plan, tolerance
from torch import Tensor

from espnet_ottc import OTTCLoss, TransportPlan, ottc_loss

# The Triton kernels run in Triton's interpreter where there is no GPU (conftest.py): too slow for much.
GPU = torch.cuda.is_available()
BACKENDS = ["eager", "cpu", "triton"]
QUICK_BACKENDS = BACKENDS if GPU else BACKENDS[:2]
seeded = settings(max_examples=60)


@dataclass
class Case:
    """A padded batch with NaN in every padding."""

    logits: Tensor
    frame_logits: Tensor
    targets: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor
    label_weights: Tensor | None = None

    def arguments(self) -> tuple[Tensor | None, ...]:
        return tuple(vars(self).values())

    def leaves(self) -> list[Tensor]:
        tensors = (self.logits, self.frame_logits, self.label_weights)
        return [tensor.requires_grad_() for tensor in tensors if tensor is not None]

    def changed(self, **tensors: Tensor | None) -> "Case":
        return Case(**{**vars(self), **tensors})


def make_case(
    frames: list[int],
    labels: list[int],
    V: int = 6,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    weighted: bool = False,
) -> Case:
    generator = torch.Generator().manual_seed(seed)
    B, T, U = len(frames), max(frames), max(labels)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logits, frame_logits = draw(B, T, V), draw(B, T)
    targets = torch.randint(0, V, (B, U), generator=generator)
    weights = torch.full((B, U), float("nan"), dtype=torch.float64)
    for b, (t, u) in enumerate(zip(frames, labels, strict=True)):
        logits[b, t:], frame_logits[b, t:], targets[b, u:] = float("nan"), float("nan"), -7
        weights[b, :u] = draw(u).softmax(0)
    lengths = torch.tensor(frames), torch.tensor(labels)
    beta = weights.to(dtype) if weighted else None
    return Case(logits.to(dtype), frame_logits.to(dtype), targets, *lengths, beta)


def dense_losses(case: Case) -> Tensor:
    """-sum of gamma * log p by the definition, one utterance at a time, in float64."""
    losses = []
    for b in range(case.logits.shape[0]):
        t, u = int(case.logit_lengths[b]), int(case.target_lengths[b])
        alpha = case.frame_logits[b, :t].double().softmax(0)
        beta = torch.full((u,), 1.0 / max(u, 1), dtype=torch.float64)
        if case.label_weights is not None:
            beta = case.label_weights[b, :u].double()
            beta = beta / beta.sum()
        A, B = alpha.cumsum(0), beta.cumsum(0)
        overlap = torch.minimum(A[:, None], B) - torch.maximum((A - alpha)[:, None], B - beta)
        log_probs = case.logits[b, :t].double().log_softmax(1)[:, case.targets[b, :u]]
        losses.append(-(overlap.clamp(min=0) * log_probs).sum())
    return torch.stack(losses)


def loss_of(case: Case, *, backend: str, **options: Any) -> Tensor:
    """`ottc_loss` on the device that the implementation serves, brought back to the CPU.

    Values are checked on a GPU as they are on the CPU by default.
    """
    arguments = case.arguments()
    if backend == "triton" and GPU:
        arguments = tuple(None if tensor is None else tensor.cuda() for tensor in arguments)
        options = {"validate": True, **options}
    return ottc_loss(*arguments, backend=backend, **options).cpu()


def gradients(losses: Tensor, case: Case, seed: int = 1) -> list[Tensor]:
    """Gradients under random factors per utterance, so that a forgotten factor shows."""
    factors = torch.rand(losses.shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    return list(torch.autograd.grad((losses * factors).sum(), case.leaves()))


def assert_agrees(case: Case, backend: str, atol: float) -> None:
    case.leaves()
    losses = loss_of(case, reduction="none", backend=backend)
    expected = dense_losses(case)
    torch.testing.assert_close(losses.double(), expected, atol=atol, rtol=atol)
    for b, (t, u) in enumerate(
        zip(case.logit_lengths.tolist(), case.target_lengths.tolist(), strict=True)
    ):
        found, wanted = gradients(losses, case), gradients(dense_losses(case), case)
        torch.testing.assert_close(found[0][b, :t], wanted[0][b, :t], atol=atol, rtol=atol)
        torch.testing.assert_close(found[1][b, :t], wanted[1][b, :t], atol=atol, rtol=atol)
        assert bool((found[0][b, t:] == 0).all() and (found[1][b, t:] == 0).all())
        if case.label_weights is not None:
            torch.testing.assert_close(found[2][b, :u], wanted[2][b, :u], atol=atol, rtol=10 * atol)
            assert bool((found[2][b, u:] == 0).all())
        losses = loss_of(case, reduction="none", backend=backend)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_loss_and_gradients_equal_the_dense_formula(backend: str, weighted: bool) -> None:
    case = make_case([13, 9, 1, 5], [4, 7, 3, 1], V=9, weighted=weighted)
    assert_agrees(case, backend, tolerance(torch.float32))


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=3), st.data()
)
@pytest.mark.parametrize("backend", QUICK_BACKENDS)
@seeded
def test_loss_equals_the_dense_formula_for_any_lengths(
    backend: str, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    frames, labels = zip(*sizes, strict=True)
    seed, weighted = data.draw(st.integers(0, 1000)), data.draw(st.booleans())
    case = make_case(list(frames), list(labels), V=4, seed=seed, weighted=weighted)
    assert_agrees(case, backend, tolerance(torch.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_blocks_and_wide_vocabularies_agree_with_the_dense_formula(backend: str) -> None:
    # Past one step of every loop: more frames than a task has, more labels than a Triton step.
    sizes = ([1030, 70], [30, 5], 67) if backend in QUICK_BACKENDS else ([1030], [3], 3)
    assert_agrees(make_case(*sizes), backend, 1e-4)
    wide = make_case([2], [1], V=70_000 if backend in QUICK_BACKENDS else 4100)
    assert_agrees(wide, backend, 1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_and_uniform_frames_agree_between_implementations(backend: str) -> None:
    case = make_case([12, 6], [4, 3])
    case = case.changed(frame_logits=torch.zeros(2, 12))
    case.leaves()
    losses = loss_of(case, reduction="none", backend=backend)
    expected = ottc_loss(*case.arguments(), reduction="none", backend="eager")
    torch.testing.assert_close(losses, dense_losses(case).float(), atol=1e-5, rtol=1e-5)
    # At a tie the dense formula's gradient is another subgradient; the implementations share one.
    torch.testing.assert_close(gradients(losses, case), gradients(expected, case))


def test_gradcheck_in_double_precision() -> None:
    case = make_case([7, 4], [3, 5], dtype=torch.float64, weighted=True)
    logits, scores, weights = (torch.nan_to_num(leaf.detach()) for leaf in case.leaves())
    raw = torch.where(weights > 0, weights, 1.0).log()
    raw[0, 3:] = float("-inf")

    def value(z: Tensor, w: Tensor, b: Tensor) -> Tensor:
        changed = case.changed(logits=z, frame_logits=w, label_weights=b.softmax(1))
        return ottc_loss(*changed.arguments(), reduction="none")

    inputs = [tensor.requires_grad_() for tensor in (logits, scores, raw.nan_to_num(neginf=-60.0))]
    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["eager", "triton"])
def test_half_precision_logits_are_accumulated_in_float32(backend: str, dtype: torch.dtype) -> None:
    case = make_case([11, 6], [4, 3], V=8, dtype=dtype)
    case.leaves()
    losses = loss_of(case, reduction="none", backend=backend)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), dense_losses(case), atol=1e-5, rtol=1e-5)
    found, wanted = gradients(losses, case), gradients(dense_losses(case), case)
    assert [grad.dtype for grad in found] == [dtype, dtype]
    for b, t in enumerate(case.logit_lengths.tolist()):
        for grad, expected in zip(found, wanted, strict=True):
            torch.testing.assert_close(
                grad[b, :t].double(),
                expected[b, :t].double(),
                atol=tolerance(dtype),
                rtol=tolerance(dtype),
            )


@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_autocast_does_not_narrow_the_loss(backend: str) -> None:
    case = make_case([11, 6], [4, 3])
    expected = loss_of(case, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss_of(case, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_inputs_give_the_same(backend: str) -> None:
    case = make_case([9, 9], [4, 4])
    expected = loss_of(case, backend=backend)
    for axes in ((1, 0, 2), (2, 1, 0)):
        logits = case.logits.permute(*axes).contiguous().permute(*axes)
        other = case.changed(
            logits=logits,
            frame_logits=case.frame_logits.t().contiguous().t(),
            targets=case.targets.t().contiguous().t(),
        )
        assert not logits.is_contiguous()
        assert torch.equal(loss_of(other, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_equals_loop_and_padding_is_ignored(backend: str) -> None:
    case = make_case([13, 9, 5], [4, 7, 2], V=9, weighted=True)
    together = loss_of(case, reduction="none", backend=backend)
    for b, (t, u) in enumerate(
        zip(case.logit_lengths.tolist(), case.target_lengths.tolist(), strict=True)
    ):
        assert case.label_weights is not None
        alone = Case(
            case.logits[b : b + 1, :t],
            case.frame_logits[b : b + 1, :t],
            case.targets[b : b + 1, :u],
            case.logit_lengths[b : b + 1],
            case.target_lengths[b : b + 1],
            case.label_weights[b : b + 1, :u],
        )
        loss = loss_of(alone, reduction="none", backend=backend)
        torch.testing.assert_close(loss[0], together[b], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_constant_added_to_a_frame_or_to_all_frame_scores_changes_nothing(backend: str) -> None:
    case = make_case([8, 5], [3, 2])
    expected = loss_of(case, backend=backend)
    shifted = case.changed(
        logits=case.logits + torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(3)),
        frame_logits=case.frame_logits + 5,
    )
    torch.testing.assert_close(loss_of(shifted, backend=backend), expected)


def test_scales_and_reductions() -> None:
    case = make_case([8, 5], [3, 2])
    unit = ottc_loss(*case.arguments(), reduction="none")
    for scale, counts in (("labels", case.target_lengths), ("frames", case.logit_lengths)):
        scaled = ottc_loss(*case.arguments(), reduction="none", scale=scale)
        torch.testing.assert_close(scaled, unit * counts)
        module = OTTCLoss(reduction="sum", scale=scale)
        torch.testing.assert_close(module(*case.arguments()), scaled.sum())
    torch.testing.assert_close(ottc_loss(*case.arguments()), unit.mean())


def test_the_plan_that_was_used_is_returned() -> None:
    case = make_case([8, 5], [3, 2], weighted=True)
    loss, plan = ottc_loss(*case.arguments(), reduction="none", return_plan=True)
    assert isinstance(plan, TransportPlan)
    assert case.label_weights is not None
    for b, (t, u) in enumerate(((8, 3), (5, 2))):
        alpha = case.frame_logits[b, :t].softmax(0).tolist()
        expected = reference_plan(alpha, case.label_weights[b, :u].tolist())
        np.testing.assert_allclose(plan.dense()[b, :t, :u].numpy(), expected, atol=1e-6)
        n = int(plan.lengths[b])
        picked = case.targets[b][plan.labels[b, :n]]
        scores = case.logits[b].log_softmax(1)[plan.frames[b, :n], picked]
        torch.testing.assert_close(loss[b], -(plan.mass[b, :n] * scores).sum())


def test_frozen_frame_weights_get_no_gradient_and_none_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from espnet_ottc.ops.kernels import eager

    def refuse(*_: Any) -> Tensor:
        raise AssertionError("a gradient nobody asked for")

    monkeypatch.setattr(eager, "_potentials", refuse)
    case = make_case([8, 5], [3, 2])
    case.logits.requires_grad_()
    ottc_loss(*case.arguments(), backend="eager").backward()
    assert case.logits.grad is not None
    assert case.frame_logits.grad is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_input_alone_has_the_gradient_that_it_has_among_all(
    backend: str, weighted: bool
) -> None:
    case = make_case([9, 6], [4, 3], weighted=weighted)
    case.leaves()
    expected = gradients(loss_of(case, reduction="none", backend=backend), case)
    for i, (name, value) in enumerate(
        zip(("logits", "frame_logits", "label_weights"), case.leaves(), strict=False)
    ):
        detached = {k: v.detach() for k, v in vars(case).items() if v is not None}
        alone = Case(**{**detached, name: value})
        losses = loss_of(alone, reduction="none", backend=backend)
        factors = torch.rand(2, generator=torch.Generator().manual_seed(1)) + 0.5
        (found,) = torch.autograd.grad((losses * factors).sum(), value)
        assert torch.equal(found, expected[i])


@pytest.mark.parametrize("backend", BACKENDS)
class TestEdgeCases:
    def test_empty_target_costs_nothing_and_has_no_gradient(self, backend: str) -> None:
        case = make_case([6, 4], [3, 0])
        case.leaves()
        losses = loss_of(case, reduction="none", backend=backend)
        assert losses[1] == 0
        assert losses[0] > 0
        assert all(bool((grad[1] == 0).all()) for grad in gradients(losses, case))

    def test_all_targets_empty(self, backend: str) -> None:
        case = make_case([6], [1]).changed(
            targets=torch.zeros(1, 0, dtype=torch.int64), target_lengths=torch.tensor([0])
        )
        case.leaves()
        losses = loss_of(case, reduction="none", backend=backend)
        assert losses.tolist() == [0.0]
        assert all(bool((grad == 0).all()) for grad in gradients(losses, case))

    def test_utterance_without_frames_and_labels_costs_nothing(self, backend: str) -> None:
        losses = loss_of(make_case([5, 0], [2, 0]), reduction="none", backend=backend)
        assert losses[1] == 0
        assert losses[0] > 0

    def test_labels_without_frames_are_an_error_or_infinite(self, backend: str) -> None:
        case = make_case([5, 0], [2, 1])
        with pytest.raises(ValueError, match="utterance 1: labels need at least one frame"):
            loss_of(case, backend=backend)
        case.leaves()
        losses = loss_of(case, reduction="none", backend=backend, validate=False)
        assert losses[1] == float("inf")
        assert all(bool(grad.isfinite().all()) for grad in gradients(losses, case))

    def test_more_labels_than_frames_share_a_frame(self, backend: str) -> None:
        assert_agrees(make_case([2], [9]), backend, 1e-5)

    def test_all_weight_on_one_frame(self, backend: str) -> None:
        case = make_case([5], [3])
        scores = torch.full((1, 5), float("-inf"))
        scores[0, 2] = 0.0
        case = case.changed(frame_logits=scores)
        case.leaves()
        losses = loss_of(case, reduction="none", backend=backend)
        log_probs = case.logits[0, 2].log_softmax(0)[case.targets[0]]
        torch.testing.assert_close(losses[0], -log_probs.mean())
        grad_logits, grad_frames = gradients(losses, case)
        assert bool((grad_logits[0, [0, 1, 3, 4]] == 0).all())
        assert bool((grad_frames == 0).all())

    @pytest.mark.parametrize("frame", [0, 1, 4])
    def test_a_dropped_frame_may_hold_anything(self, backend: str, frame: int) -> None:
        case = make_case([5], [3])
        case.frame_logits[0, frame] = float("-inf")
        case.logits[0, frame, case.targets[0, :2]] = float("-inf")
        others = [t for t in range(5) if t != frame]
        without = case.changed(
            logits=case.logits[:, others],
            frame_logits=case.frame_logits[:, others],
            logit_lengths=torch.tensor([4]),
        )
        for one in (case, without):
            one.leaves()
        losses = [loss_of(one, reduction="none", backend=backend) for one in (case, without)]
        torch.testing.assert_close(*losses)
        for found, expected in zip(
            gradients(losses[0], case), gradients(losses[1], without), strict=True
        ):
            assert bool((found[:, frame] == 0).all())
            torch.testing.assert_close(found[:, others], expected)

    def test_impossible_label_elsewhere_is_harmless(self, backend: str) -> None:
        case = make_case([5], [3])
        impossible = next(v for v in range(6) if v not in case.targets[0].tolist())
        case.logits[..., impossible] = float("-inf")
        assert_agrees(case, backend, 1e-5)

    def test_impossible_target_costs_infinity(self, backend: str) -> None:
        case = make_case([5, 5], [3, 3])
        case.logits[1, :, case.targets[1, 0]] = float("-inf")
        losses = loss_of(case, reduction="none", backend=backend)
        assert losses[1] == float("inf")
        assert bool(losses[0].isfinite())

    def test_unchecked_faults_stay_in_their_utterance(self, backend: str) -> None:
        case = make_case([6, 6, 6, 6], [3, 3, 3, 3])
        case.logits[1, 2, 0] = float("nan")
        case.targets[2, 1] = 99
        case.frame_logits[3, 0] = float("nan")
        losses = loss_of(case, reduction="none", backend=backend, validate=False)
        assert losses.isnan().tolist() == [False, True, True, True]

    def test_unchecked_lengths_are_clamped(self, backend: str) -> None:
        case = make_case([6], [3])
        far = case.changed(logit_lengths=torch.tensor([60]), target_lengths=torch.tensor([30]))
        torch.testing.assert_close(
            loss_of(far, backend=backend, validate=False),
            loss_of(case, backend=backend),
        )


def bad_values() -> dict[str, tuple[Case, str]]:
    case = make_case([6, 6], [3, 3], weighted=True)
    weights = case.label_weights
    assert weights is not None

    def altered(tensor: Tensor, place: tuple[int, ...], value: float) -> Tensor:
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    nan, inf = float("nan"), float("inf")
    nothing = torch.full((2, 6), -inf)
    return {
        "nan logit": (case.changed(logits=altered(case.logits, (1, 2, 3), nan)), "1: logits must"),
        "inf logit": (case.changed(logits=altered(case.logits, (0, 2, 3), inf)), "0: logits must"),
        "nan score": (
            case.changed(frame_logits=altered(case.frame_logits, (1, 0), nan)),
            "1: frame_logits must not hold NaN",
        ),
        "no score": (case.changed(frame_logits=nothing), "0: frame_logits .* one finite score"),
        "label id": (
            case.changed(targets=altered(case.targets, (1, 2), 6)),
            r"1: targets must be label ids in \[0, V\) with V = 6; got 6 at position 2",
        ),
        "frames": (
            case.changed(logit_lengths=torch.tensor([6, 7])),
            r"1: logit_lengths must lie in \[0, 6\], the padded length; got 7",
        ),
        "labels": (
            case.changed(target_lengths=torch.tensor([-1, 3])),
            r"0: target_lengths must lie in \[0, 3\]",
        ),
        "zero weight": (
            case.changed(label_weights=altered(weights, (1, 1), 0.0)),
            "1: label_weights must be finite and be at least 1e-09; got 0.0 at position 1",
        ),
        "negative weight": (
            case.changed(label_weights=altered(weights, (0, 1), -0.5)),
            "0: label_weights must be finite",
        ),
        "sum": (case.changed(label_weights=weights * 1.1), "0: label_weights must sum to 1"),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", list(bad_values()))
def test_bad_values_are_named_with_their_utterance(fault: str, backend: str) -> None:
    case, message = bad_values()[fault]
    with pytest.raises(ValueError, match="utterance " + message):
        loss_of(case, backend=backend)


BAD_KINDS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "logits' shape": ({"logits": torch.zeros(6, 6)}, ValueError, "logits must have 3 dimensions"),
    "scores' shape": (
        {"frame_logits": torch.zeros(2, 5)},
        ValueError,
        r"frame_logits must have shape \(B, T\) = \(2, 6\), got \(2, 5\)",
    ),
    "targets' dtype": (
        {"targets": torch.zeros(2, 3)},
        TypeError,
        "targets must be of an integer dtype, got torch.float32",
    ),
    "lengths' dtype": ({"logit_lengths": torch.ones(2)}, TypeError, "logit_lengths must be of an"),
    "not a tensor": ({"target_lengths": [3, 3]}, TypeError, "must be a torch.Tensor, got list"),
    "weights' shape": ({"label_weights": torch.ones(2, 2)}, ValueError, "label_weights must have"),
    "no vocabulary": ({"logits": torch.zeros(2, 6, 0)}, ValueError, "must hold an utterance and"),
    "device": (
        {"targets": torch.zeros(2, 3, dtype=torch.int64, device="meta")},
        ValueError,
        "on cpu",
    ),
}


@pytest.mark.parametrize("fault", BAD_KINDS)
def test_bad_kinds_are_errors(fault: str) -> None:
    tensors, kind, message = BAD_KINDS[fault]
    case = make_case([6, 6], [3, 3]).changed(**tensors)
    with pytest.raises(kind, match=message):
        ottc_loss(*case.arguments())


@pytest.mark.parametrize("option", ["reduction", "scale", "backend"])
def test_unknown_options_are_errors(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be one of .*; got 'men'"):
        OTTCLoss(**{option: "men"})
    with pytest.raises(ValueError, match=f"{option} must be one of"):
        ottc_loss(*make_case([6], [3]).arguments(), **{option: "men"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_descent_on_the_frame_scores_recovers_a_planted_alignment(
    dtype: torch.dtype,
) -> None:
    durations, symbols = [2, 7, 1, 4, 6], [3, 1, 4, 1, 5]
    frames = torch.tensor([s for s, n in zip(symbols, durations, strict=True) for _ in range(n)])
    logits = torch.full((1, len(frames), 6), -3.0, dtype=dtype)
    logits[0, torch.arange(len(frames)), frames] = 3.0
    scores = torch.zeros(1, len(frames), dtype=dtype, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.05)
    targets, lengths = torch.tensor([symbols]), torch.tensor([len(frames)])
    for _ in range(400):
        optimiser.zero_grad()
        ottc_loss(logits, scores, targets, lengths, torch.tensor([len(symbols)])).backward()
        optimiser.step()
    _, plan = ottc_loss(
        logits, scores, targets, lengths, torch.tensor([len(symbols)]), return_plan=True
    )
    owner = plan.dense()[0].argmax(1)
    planted = torch.tensor([u for u, n in enumerate(durations) for _ in range(n)])
    assert torch.equal(owner, planted)
