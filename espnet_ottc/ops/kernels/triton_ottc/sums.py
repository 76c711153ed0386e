"""The second launch: the loss along the plan, and the gradients of the small inputs."""

import triton
import triton.language as tl

from espnet_ottc.ops.kernels.triton_ottc.shared import (
    CHANGING,
    label_end,
    length,
    state_parts,
    unused_capacity,
)


@triton.jit
def _score(logits, normalizer, targets, t, u, V, frame_stride, mask):
    """log p of the labels u on the frames t of an utterance; NaN for an unknown label id."""
    label = tl.load(targets + u, mask=mask, other=-1)
    known = (label >= 0) & (label < V)
    value = tl.load(logits + t * frame_stride + label, mask=known, other=float("nan"))
    return value.to(tl.float32) - tl.load(normalizer + t, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _finite_without_mass(score, mass):
    """Over a frame without mass slopes add up to the same, whatever its score: a finite one then."""
    return tl.where((mass > 0) | (score - score == 0), score, 0.0)


@triton.jit
def _walk(
    logits, normalizer, targets, label_ends, label_slopes, t, u, low, high, score, valid, labels, V,
    frame_stride, UNIFORM: tl.constexpr, LABEL_SLOPES: tl.constexpr,
):  # fmt: skip
    """Losses of the frames t, each along the labels from its u on that [low, high) crosses."""
    part = tl.zeros_like(low)
    end = label_end(label_ends, u, labels, u < labels, UNIFORM)
    going = valid & (u < labels - 1) & (end < high)
    while tl.max(going.to(tl.int32), 0) > 0:
        part -= tl.where(going & (end > low), (end - low) * score, 0.0)
        low = tl.where(going, end, low)
        u = tl.where(going, u + 1, u)
        following = _score(logits, normalizer, targets, t, u, V, frame_stride, going)
        if LABEL_SLOPES:
            tl.store(label_slopes + u - 1, (following - score).to(tl.float64), mask=going)
        score = tl.where(going, following, score)
        end = label_end(label_ends, u, labels, u < labels, UNIFORM)
        going = going & (u < labels - 1) & (end < high)
    return part - tl.where(valid & (high > low), (high - low) * score, 0.0)


@triton.jit
def _slopes_of_frames(
    logits, normalizer, targets, row, t, u, low, score, later, V, frame_stride
):  # fmt: skip
    """dL/dA at the starts `low` of the frames t: their score, less that of the frame before."""
    # The frame before ends with the same label.
    before = _score(logits, normalizer, targets, t - 1, u, V, frame_stride, later)
    bottom = tl.load(row + t - 2, mask=later & (t > 1), other=0.0)
    slope = tl.where(later, score - _finite_without_mass(before, low - bottom), 0.0)
    return slope.to(tl.float64)


@triton.jit
def _fill_with_zeros(values, count, STEP: tl.constexpr):
    """`count` zeros, seen by all threads of this program."""
    for start in range(0, count, STEP):
        i = start + tl.arange(0, STEP)
        tl.store(values + i, tl.zeros((STEP,), tl.float64), mask=i < count)
    tl.debug_barrier()


@triton.jit
def _finish_frames(slopes, alpha, frames, mean, T, STEP: tl.constexpr):
    """The gradient of the frame scores in place of the breakpoints' slopes."""
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        slope = tl.load(slopes + t, mask=t < T, other=0.0)
        a = tl.load(alpha + t, mask=t < frames, other=0.0)
        grad = a * (carry - tl.cumsum(slope, 0) - mean)
        carry -= tl.sum(slope, 0)
        tl.store(slopes + t, tl.where(a > 0, grad, 0.0), mask=t < T)


@triton.jit
def _finish_labels(slopes, label_weights, labels, n, U, STEP: tl.constexpr):
    """Minus the running sum of the breakpoints' slopes, less its weighted mean, in their place."""
    total = tl.full((), 0.0, tl.float64)
    mean = tl.full((), 0.0, tl.float64)
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, U, STEP):
        u = start + tl.arange(0, STEP)
        slope = tl.load(slopes + u, mask=u < labels, other=0.0)
        weight = tl.load(label_weights + u, mask=u < labels, other=0.0).to(tl.float64)
        total += tl.sum(weight, 0)
        mean += tl.sum(weight * (carry + slope - tl.cumsum(slope, 0)), 0)
        carry -= tl.sum(slope, 0)
    total = tl.where(total > 0, total, 1.0)
    mean = mean / total
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, U, STEP):
        u = start + tl.arange(0, STEP)
        slope = tl.load(slopes + u, mask=u < labels, other=0.0)
        weight = tl.load(label_weights + u, mask=u < labels, other=0.0).to(tl.float64)
        potential = carry + slope - tl.cumsum(slope, 0)
        carry -= tl.sum(slope, 0)
        inside = tl.where(n > 0, weight, 0.0) > 0
        tl.store(slopes + u, tl.where(inside, (potential - mean) / total, 0.0), mask=u < U)


@triton.jit(do_not_specialize=CHANGING)
def sum_up(
    logits,  # (B, T, V), strides given; the vocabulary's is 1
    targets,  # (B, U) int64
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    label_weights,  # (B, U) floating point; not read where UNIFORM
    state,  # (B, K) float64; `state_columns` says what it holds
    losses,  # (B,) float32
    T,
    U,
    V,
    K,
    batch_stride,
    frame_stride,
    null_capacity,  # this and the next two are not read unless NULL
    null_weight,
    null_label,
    UNIFORM: tl.constexpr,
    FRAME_SLOPES: tl.constexpr,
    LABEL_SLOPES: tl.constexpr,
    NULL: tl.constexpr,
    STEP: tl.constexpr,
):
    """The second launch: the loss and the small gradients, for the utterance of this program."""
    b = tl.program_id(0).to(tl.int64)
    n, labels = length(frame_lengths, b, T), length(label_lengths, b, U)
    # Not `(t < n) & (labels > 0)`: Triton's newer interpreters refuse a mask of a vector and a scalar.
    frames = tl.where(labels > 0, n, 0)
    row, label_ends, frame_slopes, label_slopes = state_parts(
        state, b, T, U, K, UNIFORM, FRAME_SLOPES
    )
    logits += b * batch_stride
    targets += b * U
    normalizer = row + 2 * T
    if LABEL_SLOPES:
        _fill_with_zeros(label_slopes, U, STEP)
    loss = tl.full((), 0.0, tl.float64)
    mean = tl.full((), 0.0, tl.float64)
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = (start + tl.arange(0, STEP)).to(tl.int64)
        valid = t < frames
        later = valid & (t > 0)
        low = tl.load(row + t - 1, mask=later, other=0.0)
        high = tl.load(row + t, mask=valid, other=0.0)
        u = tl.load(row + 3 * T + t, mask=valid, other=0.0).to(tl.int64)
        score = _score(logits, normalizer, targets, t, u, V, frame_stride, valid)
        score = _finite_without_mass(score, high - low)
        if FRAME_SLOPES:
            slope = _slopes_of_frames(
                logits, normalizer, targets, row, t, u, low, score, later, V, frame_stride
            )
            a = tl.load(row + T + t, mask=valid, other=0.0)
            mean += tl.sum(a * (carry - tl.cumsum(slope, 0)), 0)
            carry -= tl.sum(slope, 0)
            tl.store(frame_slopes + t, slope, mask=t < T)
        part = _walk(
            logits, normalizer, targets, label_ends, label_slopes, t, u, low, high, score, valid,
            labels, V, frame_stride, UNIFORM, LABEL_SLOPES,
        )  # fmt: skip
        loss += tl.sum(part, 0)
        if NULL:
            a = tl.load(row + T + t, mask=valid, other=0.0)
            unused = unused_capacity(a, valid, n, null_capacity, null_weight)
            z = tl.load(logits + t * frame_stride + null_label, mask=valid, other=0.0)
            surprise = tl.load(normalizer + t, mask=valid, other=0.0) - z.to(tl.float32)
            loss += tl.sum(tl.where(unused > 0, unused * surprise, 0.0), 0)
    # Frame scores that have no softmax leave no weight to transport: say so rather than 0.
    weight = tl.load(row + T, mask=frames > 0, other=0.0)
    loss = tl.where(weight != weight, float("nan"), loss)
    loss = tl.where((labels > 0) & (n == 0), float("inf"), loss)
    tl.store(losses + b, loss.to(tl.float32))
    if FRAME_SLOPES:
        tl.debug_barrier()
        _finish_frames(frame_slopes, row + T, frames, mean, T, STEP)
    if LABEL_SLOPES:
        tl.debug_barrier()
        _finish_labels(label_slopes, label_weights + b * U, labels, n, U, STEP)
