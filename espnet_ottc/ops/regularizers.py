"""Penalties, per utterance: on the frame weights, and on two views of an utterance that disagree.

Those on the frame weights are in nats per unit of mass like the loss itself.  The transport alone does not
care how α spreads a label's mass over its frames: a few heavy frames and many light ones cost no more than
equal ones, and where silence is easy the encoder makes the separator's frames light and wide.  Both penalties
pull α towards the uniform weights, under which every label lasts as long as its β says.
docs/mathematics/loss.md has the formulas.
"""

import torch
from torch import Tensor

from espnet_ottc.ops.validation import check_floating, check_integer, check_shape, valid_mask


def kl_to_uniform(frame_logits: Tensor, lengths: Tensor) -> Tensor:
    """KL(α ‖ uniform) = Σ_t α_t log(T_b α_t), 0 where all valid frames weigh the same.

    Args:
        frame_logits: (B, T) unnormalised scores, α = softmax over the valid frames; −inf drops a frame.
        lengths: (B,) integers in [0, T], clamped to that, valid frames; what stands beyond them is ignored.

    Returns:
        (B,) nats, at least float32, between 0 and log T_b; 0 for an utterance without frames.

    Raises:
        TypeError, ValueError: a wrong dtype or shape.
    """
    wide, lengths, valid = _checked(frame_logits, lengths)
    log_alpha = wide.masked_fill(~valid, -torch.inf).log_softmax(1)
    # A weight of 0 counts 0, in the gradient too.
    weighs = valid & (log_alpha > -torch.inf)
    log_alpha = torch.where(weighs, log_alpha, 0.0)
    entropy = -torch.where(weighs, log_alpha.exp() * log_alpha, 0.0).sum(1)
    return torch.where(lengths > 0, lengths.clamp(min=1).to(wide.dtype).log() - entropy, 0.0)


def roughness(frame_logits: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared step between neighbouring frame scores: (1/T_b) Σ_{t≥1} (w_t − w_{t−1})².

    Args:
        frame_logits: (B, T) finite scores.
        lengths: (B,) integers in [0, T], clamped to that, valid frames; what stands beyond them is ignored.

    Returns:
        (B,), at least float32; 0 for an utterance with fewer than two frames.

    Raises:
        TypeError, ValueError: a wrong dtype or shape.
    """
    wide, lengths, valid = _checked(frame_logits, lengths)
    steps = torch.where(valid, wide, 0.0).diff(dim=1)
    total = torch.where(valid[:, 1:], steps.square(), 0.0).sum(1)
    return total / lengths.clamp(min=1)


def consistency(logits: Tensor, lengths: Tensor) -> Tensor:
    """KL(sg p' ‖ p), summed over frames, between each utterance's posteriors p and those of its other view.

    The mean over the batch is ½ Σ_t [KL(sg p_b ‖ p_a) + KL(sg p_a ‖ p_b)] of the utterances, where sg stops
    the gradient.

    Args:
        logits: (2B, T, V) scores of tokens; rows b and B + b are two views of one utterance.
        lengths: (2B,) integers in [0, T], valid frames, the same for both views.

    Returns:
        (2B,) nats, at least float32, ≥ 0.  A token of probability 0 in both views adds nothing; in one
        view alone, it is infinite.

    Raises:
        TypeError, ValueError: a wrong dtype or shape, an odd batch, views of different lengths.

    Source: CR-CTC (arXiv 2410.05101), section 3.2.
    """
    check_floating("logits", logits, 3)
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (logits.shape[0],), "(2B,)")
    half = len(lengths) // 2
    if len(lengths) % 2 or not torch.equal(lengths[:half], lengths[half:]):
        raise ValueError(
            "consistency needs two views of every utterance, as long as each other, one half of the batch "
            f"each; got lengths {lengths.tolist()}"
        )
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(2)
    other = log_probs.detach().roll(half, dims=0)
    # 0 log 0 = 0, where the difference of two infinities would be NaN.
    least = torch.finfo(log_probs.dtype).min
    log_probs = torch.where((log_probs == -torch.inf) & (other == -torch.inf), least, log_probs)
    other = other.clamp(min=least)
    divergence = torch.nn.functional.kl_div(log_probs, other, reduction="none", log_target=True)
    return torch.where(valid_mask(lengths, logits.shape[1]), divergence.sum(2), 0.0).sum(1)


def _checked(frame_logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scores in float32 or wider, the lengths clamped to them, and where they are valid."""
    check_floating("frame_logits", frame_logits, 2)
    check_integer("lengths", lengths, 1)
    check_shape("lengths", lengths, (frame_logits.shape[0],), "(B,)")
    wide = frame_logits.to(torch.promote_types(frame_logits.dtype, torch.float32))
    lengths = lengths.clamp(0, frame_logits.shape[1])
    return wide, lengths, valid_mask(lengths, frame_logits.shape[1])
