"""The loss in plain PyTorch: any device, any floating-point dtype; the reference of the kernels.

Where the device has no float64 the weights are transported on the CPU; the logits stay where they are.

The (B, T, V) logits are read in blocks of frames, so that no second tensor of their size lives in
the forward pass, and half-precision logits are widened a block at a time.
"""

from collections.abc import Iterator

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
from espnet_ottc.ops.kernels.memory import in_dtypes
from espnet_ottc.ops.null_capacity import unused_capacity
from espnet_ottc.ops.precision import brought_back, device_of_sums, dtype_of_sums
from espnet_ottc.ops.transport import cumulative_weights, frame_weights, join_ties, segments
from espnet_ottc.ops.validation import valid_mask

# Elements of a block: small enough for a processor's cache, large enough for a GPU's launches.
_BLOCK = {"cpu": 1 << 16, "cuda": 1 << 24}


def state_columns(inputs: OTTCInputs, slopes: Slopes) -> int:
    """See `Implementation`."""
    return sum(_layout(inputs, slopes))


def forward(
    inputs: OTTCInputs, slopes: Slopes, null: NullCapacity = NO_NULL_CAPACITY
) -> OTTCForward:
    """See `Implementation`."""
    logits = inputs.logits
    device, place = logits.device, device_of_sums(logits.device)
    targets = inputs.targets.to(place)
    wide = torch.promote_types(logits.dtype, torch.float32)
    T, U = logits.shape[1], targets.shape[1]
    frame_lengths = inputs.logit_lengths.to(place).clamp(0, T)
    label_lengths = inputs.target_lengths.to(place).clamp(0, U)
    alpha = frame_weights(inputs.frame_logits.to(place, wide), frame_lengths)
    beta = inputs.label_weights
    if beta is None:
        # Not 1/U: sums of ones are exact, and only their shares count.
        beta = torch.ones(targets.shape, dtype=torch.float64, device=place)
    beta = beta.to(place)
    A, B = cumulative_weights(alpha, frame_lengths), cumulative_weights(beta, label_lengths)
    A = join_ties(A, B)
    pieces = segments(A, B, frame_lengths, label_lengths)
    ids = targets.gather(1, pieces.labels) if U else pieces.labels
    normalizer = _normalizer(logits, wide)
    # Unknown ids stay unknown, and small enough for the state.
    frames, ids = pieces.frames.to(device), ids.clamp(-1, logits.shape[2]).to(device)
    scores = _scores(logits, normalizer, frames, ids, wide).to(place)
    losses = -torch.where(pieces.mass > 0, pieces.mass * scores, 0.0).sum(1)
    if null.used:
        surprise = (normalizer - logits[:, :, null.label].to(wide)).to(place)
        unused = _unused(alpha, inputs, null)
        losses = losses + torch.where(unused > 0, unused * surprise, 0.0).sum(1)
    losses = losses.masked_fill((frame_lengths == 0) & (label_lengths > 0), float("inf"))
    # Frame scores that have no softmax leave no weight to transport: say so rather than 0.
    losses = losses.masked_fill(alpha.isnan().any(1) & (label_lengths > 0), float("nan"))
    steps = _without_dropped(scores, A, pieces.frames).double().diff(dim=1)
    frame_slopes, label_slopes = (alpha.new_empty(len(alpha), 0) for _ in range(2))
    if slopes.frame_logits:
        potentials = _potentials(steps, pieces.frame_rank, pieces.frame_inner, alpha)
        frame_slopes = torch.where(label_lengths[:, None] > 0, alpha * potentials, 0.0)
    if slopes.label_weights:
        weights = torch.where(valid_mask(label_lengths, U), beta, 0.0).double()
        total = weights.sum(1, keepdim=True)
        total = torch.where(total > 0, total, 1.0)
        labels = _potentials(steps, pieces.label_rank, pieces.label_inner, weights / total)
        inside = valid_mask(label_lengths, U)
        label_slopes = torch.where(inside, labels / total, 0.0)
    small = (alpha, pieces.mass, frame_slopes, label_slopes)
    kept = (normalizer, frames, ids, *(brought_back(tensor, device) for tensor in small))
    state = torch.cat([tensor.to(dtype_of_sums(device)) for tensor in kept], 1)
    return OTTCForward(losses.to(wide).to(device), state, normalizer)


def backward(
    inputs: OTTCInputs,
    state: Tensor,
    slopes: Slopes,
    grad_losses: Tensor,
    logits_wanted: bool,
    null: NullCapacity = NO_NULL_CAPACITY,
) -> OTTCGradients:
    """See `Implementation`."""
    logits, wide = inputs.logits, torch.promote_types(inputs.logits.dtype, torch.float32)
    *kept, frame_slopes, label_slopes = state.split(_layout(inputs, slopes), 1)
    grads = OTTCGradients(
        _grad_logits(inputs, kept, grad_losses, null) if logits_wanted else logits.new_empty(0),
        scale_rows(frame_slopes.to(wide), grad_losses)
        if slopes.frame_logits
        else logits.new_empty(0),
        scale_rows(label_slopes.to(wide), grad_losses)
        if slopes.label_weights
        else logits.new_empty(0),
    )
    return in_dtypes(grads, inputs)


def _layout(inputs: OTTCInputs, slopes: Slopes) -> list[int]:
    """Columns of the state: normalizer, the segments' frames and label ids, alpha, masses, slopes."""
    T, U = inputs.logits.shape[1], inputs.targets.shape[1]
    S = T + U - 1 if T and U else 0
    return [T, S, S, T, S, T if slopes.frame_logits else 0, U if slopes.label_weights else 0]


def scale_rows(grad: Tensor, grad_losses: Tensor) -> Tensor:
    """grad (B, N) times grad_losses (B,); a factor of 0 passes nothing on, infinite slopes included."""
    return torch.where(grad_losses[:, None] != 0, grad * grad_losses[:, None], 0.0)


def _unused(alpha: Tensor, inputs: OTTCInputs, null: NullCapacity) -> Tensor:
    """ω r_t of (B, T) frame weights."""
    # A length beyond the targets' width is no label where that width is 0.
    labels = inputs.target_lengths.clamp(max=inputs.targets.shape[1])
    return null.weight * unused_capacity(alpha, inputs.logit_lengths, labels, null.capacity)


def _grad_logits(
    inputs: OTTCInputs, kept: list[Tensor], grad_losses: Tensor, null: NullCapacity
) -> Tensor:
    logits = inputs.logits
    wide = torch.promote_types(logits.dtype, torch.float32)
    normalizers, alpha, mass = (kept[i].to(wide) for i in (0, 3, 4))
    frames, ids = kept[1].long(), kept[2].long()
    V = logits.shape[2]
    # A length beyond the targets' width is no label where that width is 0.
    labels = inputs.target_lengths.clamp(max=inputs.targets.shape[1])
    active = (labels > 0) & (grad_losses != 0)
    unused = _unused(alpha, inputs, null) if null.used else None
    taught = alpha if unused is None else alpha + unused
    weights = torch.where(active[:, None], taught * grad_losses[:, None], 0.0)
    # Where a frame has no weight, padding above all, nothing is passed on, NaN included.
    normalizer = torch.where(weights != 0, normalizers, float("inf"))
    grad = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    for b, block in _blocks(logits):
        values = logits[b, block].to(alpha.dtype)
        part = grad[b, block] if grad.dtype == alpha.dtype else torch.empty_like(values)
        torch.sub(values, normalizer[b, block, None], out=part).exp_().mul_(weights[b, block, None])
        if part.dtype != grad.dtype:
            grad[b, block] = part
    grad.masked_fill_((weights == 0)[:, :, None], 0.0)
    known = (ids >= 0) & (ids < V)
    taken = torch.where(known & active[:, None], mass * grad_losses[:, None], 0.0)
    rows = torch.arange(logits.shape[0], device=logits.device)[:, None] * logits.shape[1] + frames
    place = rows * V + ids.clamp(0, max(V - 1, 0))
    grad.view(-1).scatter_add_(0, place.view(-1), -taken.view(-1).to(grad.dtype))
    if unused is not None:
        grad[:, :, null.label] -= scale_rows(unused, grad_losses).to(grad.dtype)
    return grad


def _blocks(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices over utterances and frames that cover (B, T, V) logits in blocks of bounded size."""
    B, T, V = logits.shape
    size = _BLOCK.get(logits.device.type, _BLOCK["cuda"])
    frames = max(1, min(T, size // max(V, 1)))
    utterances = max(1, size // max(frames * V, 1)) if frames == T else 1
    for b in range(0, B, utterances):
        for t in range(0, T, frames):
            yield slice(b, b + utterances), slice(t, t + frames)


def _normalizer(logits: Tensor, wide: torch.dtype) -> Tensor:
    """(B, T) log-sum-exp over the vocabulary, accumulated in `wide`; NaN where a logit is +inf."""
    result = torch.empty(logits.shape[:2], dtype=wide, device=logits.device)
    for b, block in _blocks(logits):
        result[b, block] = logits[b, block].to(wide).logsumexp(2)
    # No softmax: the sum of +inf would make every other label merely impossible.
    return result.masked_fill_(result == torch.inf, torch.nan)


def _scores(
    logits: Tensor, normalizer: Tensor, frames: Tensor, ids: Tensor, wide: torch.dtype
) -> Tensor:
    """(B, S) log-probability of each segment's label on its frame; NaN for an unknown label id."""
    V = logits.shape[2]
    batch = torch.arange(logits.shape[0], device=logits.device)[:, None]
    picked = logits[batch, frames, ids.clamp(0, V - 1)].to(wide)
    scores = picked - normalizer.gather(1, frames)
    return torch.where((ids >= 0) & (ids < V), scores, float("nan"))


def _without_dropped(scores: Tensor, A: Tensor, frames: Tensor) -> Tensor:
    """The scores with a finite one where there is none on a frame without a share of the mass.

    Slopes over such a frame add up to the difference between its neighbours, whatever its score.
    """
    dropped = (A.diff(dim=1, prepend=A.new_zeros(A.shape[0], 1)) <= 0).gather(1, frames)
    return torch.where(dropped & ~scores.isfinite(), 0.0, scores)


def _potentials(slopes: Tensor, rank: Tensor, inner: Tensor, weights: Tensor) -> Tensor:
    """dL/dweight for weights on the simplex, less their weighted mean.

    Args:
        slopes: (B, S-1) dL/dbreakpoint: the score after it less the score before it.
        rank: (B, N-1) piece that ends at each of the weights' breakpoints.
        inner: (B, N-1) bool, which of those lie inside the utterance.
        weights: (B, N), sum 1.
    """
    if not slopes.shape[1]:
        return torch.zeros_like(weights, dtype=torch.float64)
    at_breakpoints = torch.where(inner, slopes.gather(1, rank.clamp(max=slopes.shape[1] - 1)), 0.0)
    start = at_breakpoints.new_zeros(weights.shape[0], 1)
    potentials = -torch.cat([start, at_breakpoints.cumsum(1)], 1)
    weights = weights.double()
    # Where a weight is 0 the potential may be infinite, and does not matter.
    mean = torch.where(weights > 0, weights * potentials, 0.0).sum(1, keepdim=True)
    return torch.where(weights > 0, potentials - mean, 0.0)
