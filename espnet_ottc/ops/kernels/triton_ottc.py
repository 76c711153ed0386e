"""The loss as Triton kernels: two launches forward, one backward, nothing between them, no synchronisation.

First launch: one program per utterance accumulates the frame weights and finds each frame's first label,
while others read the logits of several frames each for their log-sum-exp.  Second launch: one program per
utterance walks along its labels and sums up.  Backward: a program reads the logits of several frames once and
writes their gradient once.  docs/mathematics/loss.md has the arithmetic.

The same kernels run on the CPU in Triton's interpreter (TRITON_INTERPRET=1), which is how they are tested
where there is no GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from espnet_ottc.ops.kernels import OTTCForward, OTTCGradients, OTTCInputs, Slopes
from espnet_ottc.ops.kernels.memory import packed
from espnet_ottc.ops.transport import TIE

# Frames or labels of an utterance that one program works on at a time.
_LARGEST_STEP = 1024
# Logits that one program reads at a time: of one frame, or of several where the vocabulary is small.
_TILE = 1024
# Their values change from batch to batch, and nothing is gained by compiling for them.
_CHANGING = ["B", "T", "U", "K", "loss_stride"]


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _length(lengths, b, longest):
    """Of utterance b, clamped to the tensor."""
    return tl.minimum(tl.maximum(tl.load(lengths + b), 0), longest)


@triton.jit
def _label_end(label_ends, u, labels, mask, UNIFORM: tl.constexpr):
    """B at the end of the labels u; 2, behind everything, where the mask is false."""
    if UNIFORM:
        end = tl.where(mask, (u + 1).to(tl.float64) / labels, 2.0)
    else:
        end = tl.load(label_ends + u, mask=mask, other=2.0)
    return end


@triton.jit
def _accumulate_labels(label_weights, row, labels, U, STEP: tl.constexpr):
    """B of the utterance whose label weights begin at `label_weights`, into its `row` of the state."""
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, U, STEP):
        u = start + tl.arange(0, STEP)
        weight = tl.load(label_weights + u, mask=u < labels, other=0.0)
        total += tl.sum(weight.to(tl.float64), 0)
    carry = tl.full((), 0.0, tl.float64)
    for start in range(0, U, STEP):
        u = start + tl.arange(0, STEP)
        weight = tl.load(label_weights + u, mask=u < labels, other=0.0).to(tl.float64)
        ends = tl.associative_scan(carry + tl.cumsum(weight, 0), 0, _larger)
        carry += tl.sum(weight, 0)
        tl.store(row + u, tl.where(u < labels - 1, ends / total, 1.0), mask=u < U)
    # The other threads of this program read them next.
    tl.debug_barrier()


@triton.jit
def _accumulate_frames(
    frame_logits,  # of this utterance
    row,  # of the state: A (T,), alpha (T,), normalizer (T,), first label (T,)
    label_ends,  # of this utterance; not read where UNIFORM
    n,
    labels,
    T,
    UNIFORM: tl.constexpr,
    LABEL_STEPS: tl.constexpr,
    TIE_WIDTH: tl.constexpr,
    STEP: tl.constexpr,
):
    """alpha, A and each frame's first label."""
    largest = tl.full((), float("-inf"), tl.float32)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + t, mask=t < n, other=float("-inf")).to(tl.float32)
        largest = tl.maximum(largest, tl.max(w, 0))
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + t, mask=t < n, other=float("-inf")).to(tl.float32)
        e = tl.where(t < n, tl.exp(w - largest), 0.0)
        total += tl.sum(e.to(tl.float64), 0)
    carry = tl.full((), 0.0, tl.float64)
    highest = tl.full((), 0.0, tl.float64)
    for start in range(0, T, STEP):
        t = start + tl.arange(0, STEP)
        w = tl.load(frame_logits + t, mask=t < n, other=float("-inf")).to(tl.float32)
        e = tl.where(t < n, tl.exp(w - largest), 0.0).to(tl.float64)
        tl.store(row + T + t, tl.where(t < n, e / total, 0.0), mask=t < T)
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
            end = _label_end(label_ends, middle, labels, middle < labels - 1, UNIFORM)
            before = (end < A - TIE_WIDTH) & (low < high)
            low = tl.where(before, middle + 1, low)
            high = tl.where(before, high, middle)
        end = _label_end(label_ends, low, labels, low < labels, UNIFORM)
        A = tl.where(tl.abs(end - A) <= TIE_WIDTH, end, A)
        tl.store(row + t, A, mask=t < T)
        tl.store(row + 3 * T + t + 1, low.to(tl.float64), mask=t < T - 1)
    if T > 0:
        tl.store(row + 3 * T, 0.0)


@triton.jit
def _normalize(
    logits, normalizer, first_frame, n, T, V, frame_stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """Log-sum-exp over the vocabulary of ROWS frames of an utterance; 0 in the padding."""
    t = first_frame + tl.arange(0, ROWS)
    valid = t < n
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.full((ROWS,), 0.0, tl.float32)
    for start in range(0, tl.where(first_frame < n, V, 0), COLUMNS):
        v = start + tl.arange(0, COLUMNS)
        mask = valid[:, None] & (v < V)[None, :]
        place = logits + t[:, None] * frame_stride + v[None, :]
        z = tl.load(place, mask=mask, other=float("-inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(z, 1))
        # While there are only -inf so far, any finite shift will do.
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(z - shift[:, None]), 1)
        largest = larger
    result = tl.where(valid, largest + tl.log(total), 0.0)
    tl.store(normalizer + t, result.to(tl.float64), mask=t < T)


@triton.jit(do_not_specialize=_CHANGING)
def _read_inputs(
    logits,  # (B, T, V), strides given; the vocabulary's is 1
    frame_logits,  # (B, T)
    frame_lengths,  # (B,) int64
    label_lengths,  # (B,) int64
    label_weights,  # (B, U) floating point; not read where UNIFORM
    state,  # (B, K) float64; `state_columns` says what it holds
    B,
    T,
    U,
    V,
    K,
    batch_stride,
    frame_stride,
    UNIFORM: tl.constexpr,
    LABEL_STEPS: tl.constexpr,
    TIE_WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The first launch: B programs accumulate an utterance each, the others normalize ROWS frames each."""
    program = tl.program_id(0).to(tl.int64)
    if program < B:
        n, labels = _length(frame_lengths, program, T), _length(label_lengths, program, U)
        row = state + program * K
        if not UNIFORM:
            _accumulate_labels(label_weights + program * U, row + 4 * T, labels, U, STEP)
        _accumulate_frames(
            frame_logits + program * T, row, row + 4 * T, n, labels, T,
            UNIFORM, LABEL_STEPS, TIE_WIDTH, STEP,
        )  # fmt: skip
    else:
        tiles = tl.cdiv(T, ROWS)
        b = (program - B) // tiles
        first_frame = (program - B) % tiles * ROWS
        n = _length(frame_lengths, b, T)
        _normalize(
            logits + b * batch_stride, state + b * K + 2 * T, first_frame, n, T, V, frame_stride,
            ROWS, COLUMNS,
        )  # fmt: skip


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
    end = _label_end(label_ends, u, labels, u < labels, UNIFORM)
    going = valid & (u < labels - 1) & (end < high)
    while tl.max(going.to(tl.int32), 0) > 0:
        part -= tl.where(going & (end > low), (end - low) * score, 0.0)
        low = tl.where(going, end, low)
        u = tl.where(going, u + 1, u)
        following = _score(logits, normalizer, targets, t, u, V, frame_stride, going)
        if LABEL_SLOPES:
            tl.store(label_slopes + u - 1, (following - score).to(tl.float64), mask=going)
        score = tl.where(going, following, score)
        end = _label_end(label_ends, u, labels, u < labels, UNIFORM)
        going = going & (u < labels - 1) & (end < high)
    return part - tl.where(valid & (high > low), (high - low) * score, 0.0)


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


@triton.jit(do_not_specialize=_CHANGING)
def _sum_up(
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
    UNIFORM: tl.constexpr,
    FRAME_SLOPES: tl.constexpr,
    LABEL_SLOPES: tl.constexpr,
    STEP: tl.constexpr,
):
    """The second launch: the loss and the small gradients, for the utterance of this program."""
    b = tl.program_id(0).to(tl.int64)
    n, labels = _length(frame_lengths, b, T), _length(label_lengths, b, U)
    # Not `(t < n) & (labels > 0)`: Triton's newer interpreters refuse a mask of a vector and a scalar.
    frames = tl.where(labels > 0, n, 0)
    row = state + b * K
    logits += b * batch_stride
    targets += b * U
    normalizer = row + 2 * T
    label_ends = row + 4 * T
    frame_slopes = label_ends if UNIFORM else label_ends + U
    label_slopes = frame_slopes + T if FRAME_SLOPES else frame_slopes
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
            # The frame before ends with the same label.
            before = _score(logits, normalizer, targets, t - 1, u, V, frame_stride, later)
            bottom = tl.load(row + t - 2, mask=valid & (t > 1), other=0.0)
            slope = tl.where(later, score - _finite_without_mass(before, low - bottom), 0.0)
            slope = slope.to(tl.float64)
            a = tl.load(row + T + t, mask=valid, other=0.0)
            mean += tl.sum(a * (carry - tl.cumsum(slope, 0)), 0)
            carry -= tl.sum(slope, 0)
            tl.store(frame_slopes + t, slope, mask=t < T)
        part = _walk(
            logits, normalizer, targets, label_ends, label_slopes, t, u, low, high, score, valid,
            labels, V, frame_stride, UNIFORM, LABEL_SLOPES,
        )  # fmt: skip
        loss += tl.sum(part, 0)
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


@triton.jit
def _scale(source, target, factor, start, count, STEP: tl.constexpr):
    """STEP numbers times a factor; one of 0 passes nothing on, infinite slopes included."""
    i = start + tl.arange(0, STEP)
    slope = tl.load(source + i, mask=i < count, other=0.0).to(tl.float32)
    tl.store(target + i, tl.where(factor != 0, slope * factor, 0.0), mask=i < count)


@triton.jit(do_not_specialize=_CHANGING)
def _write_gradients(
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
    UNIFORM: tl.constexpr,
    LOGITS: tl.constexpr,
    FRAME_SLOPES: tl.constexpr,
    LABEL_SLOPES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The backward launch, ROWS frames a program: softmax times weight, less the plan; the slopes, scaled."""
    tiles = tl.maximum(tl.cdiv(T, ROWS), 1)
    program = tl.program_id(0).to(tl.int64)
    b = program // tiles
    first_frame = program % tiles * ROWS
    grad_loss = tl.load(grad_losses + b * loss_stride).to(tl.float32)
    row = state + b * K
    label_ends = row + 4 * T
    frame_slopes = label_ends if UNIFORM else label_ends + U
    label_slopes = frame_slopes + T if FRAME_SLOPES else frame_slopes
    if FRAME_SLOPES:
        _scale(frame_slopes, grad_frame_logits + b * T, grad_loss, first_frame, T, ROWS)
    if LABEL_SLOPES:
        for start in range(0, tl.where(first_frame == 0, U, 0), COLUMNS):
            _scale(label_slopes, grad_label_weights + b * U, grad_loss, start, U, COLUMNS)
    if LOGITS:
        n, labels = _length(frame_lengths, b, T), _length(label_lengths, b, U)
        frames = tl.where(labels > 0, n, 0)
        t = first_frame + tl.arange(0, ROWS)
        weight = grad_loss * tl.load(row + T + t, mask=t < frames, other=0.0).to(tl.float32)
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
            u = first
            low = bottom
            going = active & (u < labels) & (low < high)
            while tl.max(going.to(tl.int32), 0) > 0:
                end = _label_end(label_ends, u, labels, going, UNIFORM)
                end = tl.where((u < labels - 1) & (end < high), end, high)
                label = tl.load(targets + b * U + u, mask=going, other=-1)
                mass = tl.where(going & (end > low), end - low, 0.0)
                taken = (grad_loss * mass).to(tl.float32)
                grad -= tl.where(v[None, :] == label[:, None], taken[:, None], 0.0)
                low = tl.where(going, tl.maximum(low, end), low)
                u = tl.where(going, u + 1, u)
                going = going & (u < labels) & (low < high)
            place = grad_logits + (b * T + t[:, None]) * V + v[None, :]
            tl.store(place, grad, mask=(t < T)[:, None] & inside)


def state_columns(inputs: OTTCInputs, slopes: Slopes) -> int:
    """See `Implementation`.

    An utterance's row holds A, alpha, the normalizers and each frame's first label, T of each; then U of B,
    unless label weights are uniform; then as many slopes as are asked for.
    """
    T, U = inputs.logits.shape[1], inputs.targets.shape[1]
    columns = (4 + slopes.frame_logits) * T
    return columns + ((inputs.label_weights is not None) + slopes.label_weights) * U


def forward(inputs: OTTCInputs, slopes: Slopes) -> OTTCForward:
    """See `Implementation`."""
    inputs = packed(inputs)
    logits, frame_logits, targets, frame_lengths, label_lengths, label_weights = inputs
    B, T, V = logits.shape
    U, K = targets.shape[1], state_columns(inputs, slopes)
    state = logits.new_empty(B, K, dtype=torch.float64)
    losses = logits.new_empty(B, dtype=torch.float32)
    uniform = label_weights is None
    # Any tensor will do where it is not read.
    weights = state if label_weights is None else label_weights
    strides = logits.stride(0), logits.stride(1)
    step = min(_LARGEST_STEP, triton.next_power_of_2(max(T, 2)))
    rows, columns, warps = _tile(V)
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(logits):
        _read_inputs[(B + B * triton.cdiv(T, rows),)](
            logits, frame_logits, frame_lengths, label_lengths, weights, state, B, T, U, V, K, *strides,
            UNIFORM=uniform, LABEL_STEPS=max(U, 1).bit_length(), TIE_WIDTH=TIE, STEP=step,
            ROWS=rows, COLUMNS=columns, num_warps=max(warps, step // 256),
        )  # fmt: skip
        _sum_up[(B,)](
            logits, targets, frame_lengths, label_lengths, weights, state, losses, T, U, V, K, *strides,
            UNIFORM=uniform, FRAME_SLOPES=slopes.frame_logits, LABEL_SLOPES=slopes.label_weights,
            STEP=step, num_warps=max(1, step // 256),
        )  # fmt: skip
    return OTTCForward(losses, state, state[:, 2 * T : 3 * T])


def backward(
    inputs: OTTCInputs, state: Tensor, slopes: Slopes, grad_losses: Tensor, logits_wanted: bool
) -> OTTCGradients:
    """See `Implementation`."""
    logits, frame_logits, targets, frame_lengths, label_lengths, label_weights = packed(inputs)
    B, T, V = logits.shape
    state = state.contiguous()
    grad = logits.new_empty(logits.shape if logits_wanted else 0)
    frame_grad = frame_logits.new_empty(frame_logits.shape if slopes.frame_logits else 0)
    like = logits if label_weights is None else label_weights
    label_grad = like.new_empty(targets.shape if slopes.label_weights else 0)
    rows, columns, warps = _tile(V)
    with torch.cuda.device_of(logits):
        _write_gradients[(B * max(triton.cdiv(T, rows), 1),)](
            logits, targets, frame_lengths, label_lengths, state, grad_losses,
            grad, frame_grad, label_grad, T, targets.shape[1], V, state.shape[1],
            logits.stride(0), logits.stride(1), grad_losses.stride(0),
            UNIFORM=label_weights is None, LOGITS=logits_wanted and T > 0,
            FRAME_SLOPES=slopes.frame_logits, LABEL_SLOPES=slopes.label_weights,
            ROWS=rows, COLUMNS=columns, num_warps=warps,
        )  # fmt: skip
    return OTTCGradients(grad, frame_grad, label_grad)


def _tile(V: int) -> tuple[int, int, int]:
    """Frames and labels that a program reads at a time, and its warps."""
    columns = min(triton.next_power_of_2(V), _TILE)
    return _TILE // columns, columns, 4
