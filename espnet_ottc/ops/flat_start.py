"""Training from a flat start: labels and frame weights learn from a search, not from the weights' own plan.

Early in a training the plan is wrong by several labels, and its gradient, which compares two neighbouring
labels on one frame, sees no further than one.  A sum over all alignments finds each label by what the frames
say of the whole sequence.  docs/mathematics/loss.md has the formulas.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_ottc.ops.precision import device_of_sums
from espnet_ottc.ops.validation import (
    check_device,
    check_floating,
    check_labels,
    check_shape,
    valid_mask,
)
from espnet_ottc.ops.weights import uniform_label_weights

# For `ctc_loss`, whose gradient would be NaN with -inf: a label of probability 0, and what no path may take.
_LOG_ZERO, _LOG_NEVER = -1e5, -1e6


class SearchedPlan(NamedTuple):
    """What a sum over monotone alignments says of a batch, as a coupling of frames and labels.

    Attributes:
        mass: (B, T, U), at least float32: of label u on frame t.  Labels have their weights β, frames what
            that leaves them; all 0 for an utterance without a path.
        found: (B,) bool: whether there is a path, which needs a label and no more labels than frames.
    """

    mass: Tensor
    found: Tensor


@torch.no_grad()
def searched_plan(
    log_probs: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None = None,
) -> SearchedPlan:
    """β_u ξ(t,u) / Σ_t ξ(t,u), where ξ(t,u) is the posterior probability that frame t belongs to label u.

    An alignment gives each label, in order, one frame or more; its probability is the product of its
    frames' p(y_u|t).  No blank is optional: targets have those that are meant.  O(B·T·U) time and memory,
    as CTC.

    Args:
        log_probs: (B, T, V) float, log-probabilities of labels.
        targets: (B, U) integers in [0, V), padded with anything.
        logit_lengths: (B,) integers in [0, T], valid frames; clamped to that.
        target_lengths: (B,) integers in [0, U], valid labels; clamped to that.
        label_weights: (B, U) β > 0 that sums to 1 over the valid labels; None is uniform.

    Returns:
        See `SearchedPlan`.  It has no gradient.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or device.

    Source: Baum-Welch re-estimation (Rabiner, "A tutorial on hidden Markov models", 1989, Eqs. 19-27) for a
        left-to-right model with a state for each label; the weights β are OTTC's.
    """
    check_floating("log_probs", log_probs, 3)
    T = log_probs.shape[1]
    check_labels(log_probs, targets, logit_lengths, target_lengths, label_weights)
    U = targets.shape[1]
    logit_lengths = logit_lengths.to(log_probs.device).clamp(0, T)
    target_lengths = target_lengths.to(log_probs.device).clamp(0, U)
    wide = torch.promote_types(log_probs.dtype, torch.float32)
    inside = valid_mask(target_lengths, U)[:, None] & valid_mask(logit_lengths, T)[..., None]
    scores = log_probs.gather(2, _of_frames(targets, target_lengths, T)).to(wide)
    # A device without float64 (Apple's) has no `ctc_loss` either.
    place = device_of_sums(scores.device)
    search = _posterior(scores.to(place), logit_lengths.to(place), target_lengths.to(place))
    posterior, found = (tensor.to(scores.device) for tensor in search)
    posterior = torch.where(inside & found[:, None, None], posterior, 0.0)
    frames = posterior.sum(1, keepdim=True)
    if label_weights is None:
        beta = uniform_label_weights(target_lengths, U, dtype=wide)
    else:
        beta = label_weights.to(wide)
    share = torch.where(frames > 0, posterior / frames.clamp(min=torch.finfo(wide).tiny), 0.0)
    return SearchedPlan(torch.where(inside, beta[:, None] * share, 0.0), found)


def flat_start_loss(
    logits: Tensor,
    frame_logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    label_weights: Tensor | None = None,
) -> Tensor:
    """−Σ_{t,u} γ(t,u) log p(y_u|t) + KL(Σ_u γ(·,u) ‖ α) with `searched_plan` as γ, which has no gradient.

    Args:
        logits: (B, T, V) unnormalised scores of the labels.
        frame_logits: (B, T) unnormalised scores of the frames, α = softmax over the valid ones.
        targets: (B, U) label ids, as for `searched_plan`.
        logit_lengths: (B,) valid frames.
        target_lengths: (B,) valid labels.
        label_weights: (B, U) or None, as for `searched_plan`.

    Returns:
        (B,) nats per unit of mass, at least float32; 0 without gradient for an utterance without a path.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or device.
    """
    check_floating("logits", logits, 3)
    check_floating("frame_logits", frame_logits, 2)
    check_shape("frame_logits", frame_logits, tuple(logits.shape[:2]), "(B, T)")
    check_device("frame_logits", frame_logits, logits)
    check_labels(logits, targets, logit_lengths, target_lengths, label_weights)
    T = logits.shape[1]
    logit_lengths = logit_lengths.to(logits.device).clamp(0, T)
    target_lengths = target_lengths.to(logits.device).clamp(0, targets.shape[1])
    wide = torch.promote_types(logits.dtype, torch.float32)
    valid = valid_mask(logit_lengths, T)
    # NaN in the padding would reach the gradient.
    log_probs = logits.to(wide).masked_fill(~valid[..., None], 0.0).log_softmax(2)
    mass, _ = searched_plan(
        log_probs.detach(), targets, logit_lengths, target_lengths, label_weights
    )
    scores = log_probs.gather(2, _of_frames(targets, target_lengths, T))
    weighted = torch.where(mass > 0, mass * scores, 0.0).sum((1, 2))
    log_alpha = frame_logits.to(wide).masked_fill(~valid, -torch.inf).log_softmax(1)
    frames = mass.sum(2)
    divergence = torch.where(frames > 0, frames * (frames.log() - log_alpha), 0.0).sum(1)
    return divergence - weighted


def flat_start_share(epoch: int, epochs: int) -> float:
    """How much of the loss `flat_start_loss` makes in an epoch, counted from 1; OTTC makes the rest.

    All of it in the first `epochs`, then less by equal steps over a third as many.
    """
    handover = round(epochs / 3)
    return min(1.0, max(0.0, 1 - (epoch - epochs) / (handover + 1))) if epochs else 0.0


def _of_frames(targets: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """(B, T, U) valid ids to gather by."""
    valid = valid_mask(lengths, targets.shape[1])
    return torch.where(valid, targets.long(), 0)[:, None].expand(-1, frames, -1)


def _posterior(
    scores: Tensor, logit_lengths: Tensor, target_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, T, U) probability of each label's position, given (B, T, U) scores, and (B,) where it is known."""
    found = (target_lengths > 0) & (target_lengths <= logit_lengths)
    if scores.numel() == 0:  # which CTC refuses
        return scores, found
    return _position_posterior(scores, logit_lengths.long(), target_lengths.long()), found


@torch.library.custom_op("espnet_ottc::position_posterior", mutates_args=())
def _position_posterior(scores: Tensor, logit_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """CTC over positions instead of labels, with a blank that no path can afford.

    Its gradient by a log-probability is the probability itself less the posterior.  An operator of its own,
    since a compiler cannot look into CTC, whose memory depends on the lengths' values.
    """
    batch, _, positions = scores.shape
    scores = scores.clamp(min=_LOG_ZERO)
    symbols = F.pad(scores, (1, 0), value=_LOG_NEVER).transpose(0, 1)
    names = torch.arange(1, positions + 1, device=scores.device).expand(batch, positions)
    arguments = (symbols, names, logit_lengths, target_lengths)
    losses, sums = torch.ops.aten._ctc_loss.Tensor(*arguments, zero_infinity=True)
    # Not by autograd, which does not reach into an operator.
    grad = torch.ops.aten._ctc_loss_backward.Tensor(
        torch.ones_like(losses), *arguments, losses, sums, 0, True
    )
    posterior: Tensor = (symbols.exp() - grad).transpose(0, 1)[..., 1:]
    return posterior.clamp(min=0.0).contiguous()


@_position_posterior.register_fake
def _(scores: Tensor, _logit_lengths: Tensor, _target_lengths: Tensor) -> Tensor:
    return scores.new_empty(scores.shape)
