"""The backward launch: softmax times weight, less the plan; the slopes, scaled."""

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
def _scale(source, target, factor, start, count, STEP: tl.constexpr):
    """STEP numbers times a factor; one of 0 passes nothing on, infinite slopes included."""
    i = start + tl.arange(0, STEP)
    slope = tl.load(source + i, mask=i < count, other=0.0).to(tl.float32)
    tl.store(target + i, tl.where(factor != 0, slope * factor, 0.0), mask=i < count)


@triton.jit
def _take_plan(
    grad, factor, v, targets, label_ends, u, low, high, active, labels, UNIFORM: tl.constexpr
):  # fmt: skip
    """grad (frames, label ids v) less `factor` times the plan of the frames [low, high) from label u on."""
    going = active & (u < labels) & (low < high)
    while tl.max(going.to(tl.int32), 0) > 0:
        end = label_end(label_ends, u, labels, going, UNIFORM)
        end = tl.where((u < labels - 1) & (end < high), end, high)
        label = tl.load(targets + u, mask=going, other=-1)
        mass = tl.where(going & (end > low), end - low, 0.0)
        taken = (factor * mass).to(tl.float32)
        grad -= tl.where(v[None, :] == label[:, None], taken[:, None], 0.0)
        low = tl.where(going, tl.maximum(low, end), low)
        u = tl.where(going, u + 1, u)
        going = going & (u < labels) & (low < high)
    return grad


@triton.jit(do_not_specialize=CHANGING)
def write_gradients(
    logits,  # (B, T, V), strides given; the vocabulary's is 1
    targets,  # (B, U) int64
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    state,  # (B, K) float64; `state_columns` says what it holds
    grad_losses,  # (B,) floating point, stride given
    grad_logits,  # (B, T, V) contiguous; not written unless LOGITS
    grad_frame_logits,  # (B, T); not written unless FRAME_SLOPES
    grad_label_weights,  # (B, U); not written unless LABEL_SLOPES
    T,
    U,
    V,
    K,
    batch_stride,
    frame_stride,
    loss_stride,
    null_capacity,  # this and the next two are not read unless NULL
    null_weight,
    null_label,
    UNIFORM: tl.constexpr,
    LOGITS: tl.constexpr,
    FRAME_SLOPES: tl.constexpr,
    LABEL_SLOPES: tl.constexpr,
    NULL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The backward launch, ROWS frames a program: softmax times weight, less the plan; the slopes, scaled."""
    tiles = tl.maximum(tl.cdiv(T, ROWS), 1)
    program = tl.program_id(0).to(tl.int64)
    b = program // tiles
    first_frame = program % tiles * ROWS
    grad_loss = tl.load(grad_losses + b * loss_stride).to(tl.float32)
    row, label_ends, frame_slopes, label_slopes = state_parts(
        state, b, T, U, K, UNIFORM, FRAME_SLOPES
    )
    if FRAME_SLOPES:
        _scale(frame_slopes, grad_frame_logits + b * T, grad_loss, first_frame, T, ROWS)
    if LABEL_SLOPES:
        for start in range(0, tl.where(first_frame == 0, U, 0), COLUMNS):
            _scale(label_slopes, grad_label_weights + b * U, grad_loss, start, U, COLUMNS)
    if LOGITS:
        n, labels = length(frame_lengths, b, T), length(label_lengths, b, U)
        frames = tl.where(labels > 0, n, 0)
        t = first_frame + tl.arange(0, ROWS)
        taught = tl.load(row + T + t, mask=t < frames, other=0.0)
        if NULL:
            unused = unused_capacity(taught, t < frames, n, null_capacity, null_weight)
            taught += unused
        weight = grad_loss * taught.to(tl.float32)
        active = (t < frames) & (weight != 0)
        log_total = tl.load(row + 2 * T + t, mask=active, other=0.0).to(tl.float32)
        bottom = tl.load(row + t - 1, mask=active & (t > 0), other=0.0)
        high = tl.load(row + t, mask=active, other=0.0)
        first = tl.load(row + 3 * T + t, mask=active, other=0.0).to(tl.int64)
        for start in range(0, V, COLUMNS):
            v = start + tl.arange(0, COLUMNS)
            inside = (v < V)[None, :]
            place = logits + b * batch_stride + t[:, None] * frame_stride + v[None, :]
            z = tl.load(place, mask=active[:, None] & inside, other=float("-inf")).to(tl.float32)
            softmax = tl.exp(z - log_total[:, None])
            grad = tl.where(active[:, None], weight[:, None] * softmax, 0.0)
            grad = _take_plan(
                grad,
                grad_loss,
                v,
                targets + b * U,
                label_ends,
                first,
                bottom,
                high,
                active,
                labels,
                UNIFORM,
            )
            if NULL:
                taken = (grad_loss * unused).to(tl.float32)
                grad -= tl.where((v == null_label)[None, :], taken[:, None], 0.0)
            place = grad_logits + (b * T + t[:, None]) * V + v[None, :]
            tl.store(place, grad, mask=(t < T)[:, None] & inside)
