"""The first launch: frame weights, label weights, and the log-sum-exp of the logits."""

import triton
import triton.language as tl

from espnet_ottc.ops.kernels.triton_ottc.shared import CHANGING, label_end, length


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


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
            end = label_end(label_ends, middle, labels, middle < labels - 1, UNIFORM)
            before = (end < A - TIE_WIDTH) & (low < high)
            low = tl.where(before, middle + 1, low)
            high = tl.where(before, high, middle)
        end = label_end(label_ends, low, labels, low < labels, UNIFORM)
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


@triton.jit(do_not_specialize=CHANGING)
def read_inputs(
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
        n, labels = length(frame_lengths, program, T), length(label_lengths, program, U)
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
        n = length(frame_lengths, b, T)
        _normalize(
            logits + b * batch_stride, state + b * K + 2 * T, first_frame, n, T, V, frame_stride,
            ROWS, COLUMNS,
        )  # fmt: skip
