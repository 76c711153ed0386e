"""What the three kernels share: lengths, the labels' ends, and where an utterance's state lies."""

import triton
import triton.language as tl

# Their values change from batch to batch, and nothing is gained by compiling for them.
CHANGING = ["B", "T", "U", "K", "loss_stride", "null_label"]


@triton.jit
def length(lengths, b, longest):
    """Of utterance b, clamped to the tensor."""
    return tl.minimum(tl.maximum(tl.load(lengths + b), 0), longest)


@triton.jit
def label_end(label_ends, u, labels, mask, UNIFORM: tl.constexpr):
    """B at the end of the labels u; 2, behind everything, where the mask is false."""
    if UNIFORM:
        end = tl.where(mask, (u + 1).to(tl.float64) / labels, 2.0)
    else:
        end = tl.load(label_ends + u, mask=mask, other=2.0)
    return end


@triton.jit
def state_parts(state, b, T, U, K, UNIFORM: tl.constexpr, FRAME_SLOPES: tl.constexpr):
    """Where utterance b keeps A, B, the slopes of its frames and those of its labels.

    Behind A, of T columns, lie alpha, the normalizers and each frame's first label, T of each.
    """
    row = state + b * K
    label_ends = row + 4 * T
    frame_slopes = label_ends if UNIFORM else label_ends + U
    label_slopes = frame_slopes + T if FRAME_SLOPES else frame_slopes
    return row, label_ends, frame_slopes, label_slopes


@triton.jit
def unused_capacity(alpha, valid, n, capacity, weight):
    """What the frames with these alpha do not use of their capacity, times its weight; NaN counts as used."""
    unused = capacity / tl.maximum(n, 1) - alpha
    return tl.where(valid & (unused > 0), weight * unused, 0.0)
