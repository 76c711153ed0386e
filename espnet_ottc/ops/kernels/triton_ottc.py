"""The loss as Triton kernels: three launches forward, one backward, no synchronisation.

Forward: one program per utterance accumulates the frame weights, one program per frame reads its
logits once and walks along its labels, one program per utterance sums up.  Backward: one program per
frame reads its logits once and writes their gradient once.  docs/mathematics/loss.md has the arithmetic.
The same kernels run on the CPU in Triton's interpreter (TRITON_INTERPRET=1), which is how they are
tested where there is no GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from espnet_ottc.ops.kernels import GradientsWanted, OTTCForward, OTTCGradients, OTTCInputs
from espnet_ottc.ops.kernels.eager import scale_rows
from espnet_ottc.ops.kernels.memory import packed
from espnet_ottc.ops.transport import TIE, cumulative_weights
from espnet_ottc.ops.validation import valid_mask

_FRAMES_PER_STEP = 1024
_LARGEST_STEP = 1024


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _label_end(label_ends, b, u, labels, U, mask, UNIFORM: tl.constexpr):
    """B at the end of label u, of (B, U) `label_ends`; 2, behind everything, where the mask is false."""
    if UNIFORM:
        end = tl.where(mask, (u + 1).to(tl.float64) / labels, 2.0)
    else:
        end = tl.load(label_ends + b * U + u, mask=mask, other=2.0)
    return end


@triton.jit
def _accumulate(
    frame_logits,  # (B, T)
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    label_ends,  # (B, U) float64 B; not read where UNIFORM
    alpha,  # (B, T) float32
    frame_ends,  # (B, T) float64 A
    first,  # (B, T) int32
    T,
    U,
    UNIFORM: tl.constexpr,
    LABEL_STEPS: tl.constexpr,
    TIE_WIDTH: tl.constexpr,
    STEP: tl.constexpr,
):
    """alpha, A and each frame's first label, for the utterance of this program."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.maximum(tl.load(frame_lengths + b), 0), T)
    labels = tl.minimum(tl.maximum(tl.load(label_lengths + b), 0), U)
    largest = tl.full((), float("-inf"), tl.float32)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + b * T + t, mask=t < n, other=float("-inf")).to(tl.float32)
        largest = tl.maximum(largest, tl.max(w, 0))
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + b * T + t, mask=t < n, other=float("-inf")).to(tl.float32)
        e = tl.where(t < n, tl.exp(w - largest), 0.0)
        total += tl.sum(e.to(tl.float64), 0)
    carry = tl.full((), 0.0, tl.float64)
    highest = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + b * T + t, mask=t < n, other=float("-inf")).to(tl.float32)
        e = tl.where(t < n, tl.exp(w - largest), 0.0).to(tl.float64)
        tl.store(alpha + b * T + t, tl.where(t < n, e / total, 0.0).to(tl.float32), mask=t < T)
        # A parallel scan adds in another order at every position: its sums can step back by a
        # rounding, so the largest sum so far is taken.
        A = tl.associative_scan(carry + tl.cumsum(e, 0), 0, _larger)
        A = tl.maximum(A, highest)
        carry += tl.sum(e, 0)
        highest = tl.max(A, 0)
        A = tl.where(t < n - 1, tl.minimum(A / total, 1.0), 1.0)
        # The first label that ends at or behind A, by bisection.
        low = tl.zeros((STEP,), tl.int64)
        high = tl.zeros((STEP,), tl.int64) + tl.maximum(labels - 1, 0)
        for _ in range(LABEL_STEPS):
            middle = (low + high) // 2
            end = _label_end(label_ends, b, middle, labels, U, middle < labels - 1, UNIFORM)
            before = (end < A - TIE_WIDTH) & (low < high)
            low = tl.where(before, middle + 1, low)
            high = tl.where(before, high, middle)
        end = _label_end(label_ends, b, low, labels, U, low < labels, UNIFORM)
        A = tl.where(tl.abs(end - A) <= TIE_WIDTH, end, A)
        tl.store(frame_ends + b * T + t, A, mask=t < T)
        tl.store(first + b * T + t + 1, low.to(tl.int32), mask=t < T - 1)
    if T > 0:
        tl.store(first + b * T, 0)


@triton.jit
def _score(logits, row, targets, b, u, U, V, normalizer):
    """log p of label u on the frame whose logits begin at `row`; NaN for an unknown label id."""
    label = tl.load(targets + b * U + u)
    known = (label >= 0) & (label < V)
    value = tl.load(logits + row + label, mask=known, other=float("nan"))
    return value.to(tl.float32) - normalizer


@triton.jit
def _forward_frame(
    logits,  # (B, T, V), strides given; the vocabulary's is 1
    targets,  # (B, U) int64
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    label_ends,  # (B, U) float64 B; not read where UNIFORM
    frame_ends,  # (B, T) float64 A
    first,  # (B, T) int32
    normalizer,  # (B, T) float32
    frame_losses,  # (B, T) float64
    edge_scores,  # (B, T, 2) float32; first and last label's log p
    label_slopes,  # (B, U) float32; not written unless SLOPES
    T,
    U,
    V,
    batch_stride,
    frame_stride,
    UNIFORM: tl.constexpr,
    SLOPES: tl.constexpr,
    STEP: tl.constexpr,
):
    """Log-sum-exp, loss, and scores at both ends, for the frame of this program."""
    t = tl.program_id(0).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    n = tl.load(frame_lengths + b)
    labels = tl.minimum(tl.load(label_lengths + b), U)
    if t < n:
        row = b * batch_stride + t * frame_stride
        largest = tl.full((), float("-inf"), tl.float32)
        total = tl.full((), 0.0, tl.float32)
        for start in range(0, V, STEP):
            v = start + tl.arange(0, STEP)
            z = tl.load(logits + row + v, mask=v < V, other=float("-inf")).to(tl.float32)
            larger = tl.maximum(largest, tl.max(z, 0))
            # While there are only -inf so far, any finite shift will do.
            shift = tl.where(larger == float("-inf"), 0.0, larger)
            total = total * tl.exp(largest - shift) + tl.sum(tl.exp(z - shift), 0)
            largest = larger
        log_total = largest + tl.log(total)
        tl.store(normalizer + b * T + t, log_total)
        if labels > 0:
            low = tl.load(frame_ends + b * T + t - 1, mask=t > 0, other=0.0)
            high = tl.load(frame_ends + b * T + t)
            u = tl.load(first + b * T + t).to(tl.int64)
            score = _score(logits, row, targets, b, u, U, V, log_total)
            # Over a frame without mass slopes add up to the same, whatever its score: a finite one then.
            score = tl.where((high > low) | (score - score == 0), score, 0.0)
            tl.store(edge_scores + 2 * (b * T + t), score)
            loss = tl.full((), 0.0, tl.float64)
            end = _label_end(label_ends, b, u, labels, U, u < labels, UNIFORM)
            while (u < labels - 1) & (end < high):
                loss -= tl.where(end > low, (end - low) * score, 0.0)
                low = end
                u += 1
                following = _score(logits, row, targets, b, u, U, V, log_total)
                if SLOPES:
                    tl.store(label_slopes + b * U + u - 1, following - score)
                score = following
                end = _label_end(label_ends, b, u, labels, U, u < labels, UNIFORM)
            loss -= tl.where(high > low, (high - low) * score, 0.0)
            tl.store(frame_losses + b * T + t, loss)
            tl.store(edge_scores + 2 * (b * T + t) + 1, score)


@triton.jit
def _sum_up(
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    alpha,  # (B, T) float32
    frame_losses,  # (B, T) float64
    edge_scores,  # (B, T, 2) float32; first and last label's log p
    losses,  # (B,) float32
    grad_frame_logits,  # (B, T) float32
    T,
    U,
    GRAD: tl.constexpr,
    STEP: tl.constexpr,
):
    """The loss and the gradient of the frame scores, for the utterance of this program."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.maximum(tl.load(frame_lengths + b), 0), T)
    labels = tl.minimum(tl.maximum(tl.load(label_lengths + b), 0), U)
    active = labels > 0
    # Not `(t < n) & active`: Triton's newer interpreters refuse a mask of a vector and a scalar.
    frames = tl.where(active, n, 0)
    loss = tl.full((), 0.0, tl.float64)
    mean = tl.full((), 0.0, tl.float64)
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        valid = t < frames
        loss += tl.sum(tl.load(frame_losses + b * T + t, mask=valid, other=0.0), 0)
        if GRAD:
            edge = edge_scores + 2 * (b * T + t)
            after = tl.load(edge, mask=valid & (t > 0), other=0.0).to(tl.float64)
            before = tl.load(edge - 1, mask=valid & (t > 0), other=0.0).to(tl.float64)
            slope = after - before
            a = tl.load(alpha + b * T + t, mask=valid, other=0.0)
            mean += tl.sum(a.to(tl.float64) * (carry - tl.cumsum(slope, 0)), 0)
            carry -= tl.sum(slope, 0)
    # Frame scores that have no softmax leave no weight to transport: say so rather than 0.
    weight = tl.load(alpha + b * T, mask=n > 0, other=0.0)
    loss = tl.where(active & (weight != weight), float("nan"), loss)
    tl.store(losses + b, tl.where(active & (n == 0), float("inf"), loss).to(tl.float32))
    if GRAD:
        carry = tl.full((), 0.0, tl.float64)
        for start in range(0, T, STEP):
            t = start + tl.arange(0, STEP)
            valid = t < frames
            edge = edge_scores + 2 * (b * T + t)
            after = tl.load(edge, mask=valid & (t > 0), other=0.0).to(tl.float64)
            before = tl.load(edge - 1, mask=valid & (t > 0), other=0.0).to(tl.float64)
            slope = after - before
            a = tl.load(alpha + b * T + t, mask=valid, other=0.0)
            grad = a * (carry - tl.cumsum(slope, 0) - mean)
            carry -= tl.sum(slope, 0)
            grad = tl.where(a > 0, grad, 0.0).to(tl.float32)
            tl.store(grad_frame_logits + b * T + t, grad, mask=t < T)


@triton.jit
def _backward_frame(
    logits,  # (B, T, V), strides given; the vocabulary's is 1
    targets,  # (B, U) int64
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    label_ends,  # (B, U) float64 B; not read where UNIFORM
    frame_ends,  # (B, T) float64 A
    first,  # (B, T) int32
    alpha,  # (B, T) float32
    normalizer,  # (B, T) float32
    frame_slopes,  # (B, T) float32 dlosses/dframe_logits; not read unless FRAMES
    grad_losses,  # (B,) float, stride given
    grad_logits,  # (B, T, V) contiguous, the logits' dtype
    grad_frame_logits,  # (B, T) float32
    T,
    U,
    V,
    batch_stride,
    frame_stride,
    loss_stride,
    UNIFORM: tl.constexpr,
    FRAMES: tl.constexpr,
    STEP: tl.constexpr,
):
    """Gradients of the frame of this program: softmax times weight, less the plan; and its score's."""
    t = tl.program_id(0).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    labels = tl.minimum(tl.load(label_lengths + b), U)
    grad_loss = tl.load(grad_losses + b * loss_stride).to(tl.float32)
    if FRAMES:
        # A factor of 0 passes nothing on, infinite slopes included.
        slope = tl.load(frame_slopes + b * T + t)
        tl.store(grad_frame_logits + b * T + t, tl.where(grad_loss != 0, slope * grad_loss, 0.0))
    weight = grad_loss * tl.load(alpha + b * T + t)
    active = (t < tl.load(frame_lengths + b)) & (labels > 0) & (weight != 0)
    log_total = tl.load(normalizer + b * T + t, mask=active, other=0.0)
    bottom = tl.load(frame_ends + b * T + t - 1, mask=active & (t > 0), other=0.0)
    high = tl.load(frame_ends + b * T + t, mask=active, other=0.0)
    start_label = tl.load(first + b * T + t, mask=active, other=0).to(tl.int64)
    row = b * batch_stride + t * frame_stride
    read = tl.where(active, V, 0)
    for start in range(0, V, STEP):
        v = start + tl.arange(0, STEP)
        z = tl.load(logits + row + v, mask=v < read, other=float("-inf")).to(tl.float32)
        grad = tl.where(active, weight * tl.exp(z - log_total), 0.0)
        u = start_label
        low = bottom
        while (u < labels) & (low < high):
            end = _label_end(label_ends, b, u, labels, U, u < labels, UNIFORM)
            end = tl.where((u < labels - 1) & (end < high), end, high)
            label = tl.load(targets + b * U + u)
            mass = tl.where(end > low, end - low, 0.0)
            grad -= tl.where(v == label, (grad_loss * mass).to(tl.float32), 0.0)
            low = tl.maximum(low, end)
            u += 1
        tl.store(grad_logits + (b * T + t) * V + v, grad, mask=v < V)


def forward(inputs: OTTCInputs, grads: GradientsWanted) -> OTTCForward:
    """See `espnet_ottc.ops.kernels`; `kept` is alpha, the frames' cumulative sums and first labels, and the
    labels' cumulative sums unless uniform."""
    inputs = packed(inputs)
    logits, frame_logits, targets, frame_lengths, label_lengths, label_weights = inputs
    B, T, V = logits.shape
    U = targets.shape[1]
    uniform = label_weights is None

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=logits.device)

    alpha, normalizer, losses = empty(B, T), empty(B, T), empty(B)
    frame_ends, frame_losses = empty(B, T, dtype=torch.float64), empty(B, T, dtype=torch.float64)
    first, edges = empty(B, T, dtype=torch.int32), empty(B, T, 2)
    # Of uniform label weights the kernels read no cumulative sums: any tensor will do.
    label_ends = frame_ends
    if label_weights is not None:
        label_ends = cumulative_weights(label_weights, label_lengths.clamp(0, U))
    slopes = torch.zeros(B, U, device=logits.device) if grads.label_weights else edges
    grad_frames = empty(B, T) if grads.frame_logits else None
    lengths = (frame_lengths, label_lengths)
    step = min(_FRAMES_PER_STEP, triton.next_power_of_2(max(T, 2)))
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(logits):
        _accumulate[(B,)](
            frame_logits, *lengths, label_ends, alpha, frame_ends, first, T, U,
            UNIFORM=uniform, LABEL_STEPS=max(U, 1).bit_length(), TIE_WIDTH=TIE, STEP=step,
        )  # fmt: skip
        if T:
            _forward_frame[(T, B)](
                logits, targets, *lengths, label_ends, frame_ends, first, normalizer, frame_losses,
                edges, slopes, T, U, V, logits.stride(0), logits.stride(1),
                UNIFORM=uniform, SLOPES=grads.label_weights, **_shape_of_programs(V),
            )  # fmt: skip
        _sum_up[(B,)](
            *lengths, alpha, frame_losses, edges, losses, edges if grad_frames is None else grad_frames,
            T, U, GRAD=grads.frame_logits, STEP=step,
        )  # fmt: skip
    grad_weights = _grad_label_weights(slopes, inputs) if grads.label_weights else None
    kept = (alpha, frame_ends, first) + (() if uniform else (label_ends,))
    return OTTCForward(losses, normalizer, grad_frames, grad_weights, kept, sound=False)


def backward(
    inputs: OTTCInputs, result: OTTCForward, grad_losses: Tensor, grad_logits: bool
) -> OTTCGradients:
    """See `espnet_ottc.ops.kernels`."""
    weights = scale_rows(result.grad_label_weights, grad_losses)
    if not (grad_logits and inputs.logits.shape[1]):
        frames = scale_rows(result.grad_frame_logits, grad_losses)
        return OTTCGradients(
            torch.zeros_like(inputs.logits) if grad_logits else None, frames, weights
        )
    logits, _, targets, frame_lengths, label_lengths, _ = packed(inputs)
    B, T, V = logits.shape
    alpha, frame_ends, first, *label_ends = result.kept
    grad = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    slopes = result.grad_frame_logits
    frames = None if slopes is None else torch.empty_like(slopes)
    with torch.cuda.device_of(logits):
        _backward_frame[(T, B)](
            logits, targets, frame_lengths, label_lengths, *(label_ends or [frame_ends]),
            frame_ends, first, alpha, result.normalizer, alpha if slopes is None else slopes, grad_losses,
            grad, alpha if frames is None else frames, T, targets.shape[1], V,
            logits.stride(0), logits.stride(1), grad_losses.stride(0),
            UNIFORM=not label_ends, FRAMES=frames is not None, **_shape_of_programs(V),
        )  # fmt: skip
    return OTTCGradients(grad, frames, weights)


def _grad_label_weights(slopes: Tensor, inputs: OTTCInputs) -> Tensor:
    """Minus the running sum of the slopes, less its weighted mean: the simplex's projection."""
    assert inputs.label_weights is not None
    inside = valid_mask(inputs.target_lengths, inputs.targets.shape[1])
    weights = torch.where(inside, inputs.label_weights, 0.0).double()
    potentials = slopes.double() - slopes.double().cumsum(1)
    total = weights.sum(1, keepdim=True)
    total = torch.where(total > 0, total, 1.0)
    mean = (weights * potentials).sum(1, keepdim=True) / total
    inside = (weights > 0) & (inputs.logit_lengths[:, None] > 0)
    return torch.where(inside, (potentials - mean) / total, 0.0).float()


def _shape_of_programs(V: int) -> dict[str, int]:
    step = min(triton.next_power_of_2(V), _LARGEST_STEP)
    return {"STEP": step, "num_warps": max(1, min(4, step // 256))}
