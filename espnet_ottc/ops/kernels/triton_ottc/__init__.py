"""The loss as Triton kernels: two launches forward, one backward, nothing between them, no synchronisation.

First launch: one program per utterance accumulates the frame weights and finds each frame's first label,
while others read the logits of several frames each for their log-sum-exp.  Second launch: one program per
utterance walks along its labels and sums up.  Backward: a program reads the logits of several frames once and
writes their gradient once.  docs/mathematics/loss.md has the arithmetic.

The same kernels run on the CPU in Triton's interpreter (TRITON_INTERPRET=1), which is how they are tested
where there is no GPU.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.kernels import (
    NO_NULL_CAPACITY,
    NullCapacity,
    OTTCForward,
    OTTCGradients,
    OTTCInputs,
    Slopes,
)
from espnet_ottc.ops.kernels.memory import packed
from espnet_ottc.ops.kernels.triton_ottc.gradients import write_gradients
from espnet_ottc.ops.kernels.triton_ottc.inputs import read_inputs
from espnet_ottc.ops.kernels.triton_ottc.launching import PlannedKernel
from espnet_ottc.ops.kernels.triton_ottc.sums import sum_up
from espnet_ottc.ops.transport import TIE

_READ_INPUTS = PlannedKernel(read_inputs)
_SUM_UP = PlannedKernel(sum_up)
_WRITE_GRADIENTS = PlannedKernel(write_gradients)
# Frames or labels of an utterance that one program works on at a time.
_LARGEST_STEP = 1024
# Logits that one program reads at a time: of one frame, or of several where the vocabulary is small.
_TILE = 1024


def state_columns(inputs: OTTCInputs, slopes: Slopes) -> int:
    """See `Implementation`.

    An utterance's row holds A, alpha, the normalizers and each frame's first label, T of each; then U of B,
    unless label weights are uniform; then as many slopes as are asked for.
    """
    T, U = inputs.logits.shape[1], inputs.targets.shape[1]
    columns = (4 + slopes.frame_logits) * T
    return columns + ((inputs.label_weights is not None) + slopes.label_weights) * U


def forward(
    inputs: OTTCInputs, slopes: Slopes, null: NullCapacity = NO_NULL_CAPACITY
) -> OTTCForward:
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
    step = min(_LARGEST_STEP, _power_of_2(max(T, 2)))
    rows, columns, warps = _tile(V)
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(logits):
        _READ_INPUTS.launch(
            B + B * -(-T // rows),
            (logits, frame_logits, frame_lengths, label_lengths, weights, state),
            (B, T, U, V, K, *strides),
            {
                "UNIFORM": uniform, "LABEL_STEPS": max(U, 1).bit_length(), "TIE_WIDTH": TIE,
                "STEP": step, "ROWS": rows, "COLUMNS": columns,
            },
            max(warps, step // 256),
        )  # fmt: skip
        _SUM_UP.launch(
            B,
            (logits, targets, frame_lengths, label_lengths, weights, state, losses),
            (T, U, V, K, *strides, *null),
            {
                "UNIFORM": uniform, "FRAME_SLOPES": slopes.frame_logits,
                "LABEL_SLOPES": slopes.label_weights, "NULL": null.used, "STEP": step,
            },
            max(1, step // 256),
        )  # fmt: skip
    return OTTCForward(losses, state, state[:, 2 * T : 3 * T])


def backward(
    inputs: OTTCInputs,
    state: Tensor,
    slopes: Slopes,
    grad_losses: Tensor,
    logits_wanted: bool,
    null: NullCapacity = NO_NULL_CAPACITY,
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
        _WRITE_GRADIENTS.launch(
            B * max(-(-T // rows), 1),
            (
                logits, targets, frame_lengths, label_lengths, state, grad_losses,
                grad, frame_grad, label_grad,
            ),
            (
                T, targets.shape[1], V, state.shape[1],
                logits.stride(0), logits.stride(1), grad_losses.stride(0), *null,
            ),
            {
                "UNIFORM": label_weights is None, "LOGITS": logits_wanted and T > 0,
                "FRAME_SLOPES": slopes.frame_logits, "LABEL_SLOPES": slopes.label_weights,
                "NULL": null.used, "ROWS": rows, "COLUMNS": columns,
            },
            warps,
        )  # fmt: skip
    return OTTCGradients(grad, frame_grad, label_grad)


def _tile(V: int) -> tuple[int, int, int]:
    """Frames and labels that a program reads at a time, and its warps."""
    columns = min(_power_of_2(V), _TILE)
    return _TILE // columns, columns, 4


def _power_of_2(n: int) -> int:
    """The smallest that is not below n >= 1."""
    return 1 << (n - 1).bit_length()
