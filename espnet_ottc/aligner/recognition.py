"""What is said in a recording, by CTC's rule: each frame's best label, repeats joined, no blanks."""

import torch
from torch import Tensor

from espnet_ottc.ops.targets import collapse

DECODERS = ("viterbi", "greedy")
DEFAULT_DECODER = "viterbi"


def check_decoder(decoder: str) -> None:
    """Refuse a decoder that is not in `DECODERS`."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}; got {decoder!r}")


def ctc_labels(log_probs: Tensor, blank: int) -> list[int]:
    """Token ids of the best path of (T, V) log-probabilities."""
    labels, lengths = collapse(log_probs.argmax(1)[None], torch.tensor([len(log_probs)]), blank)
    return [int(label) for label in labels[0, : int(lengths[0])]]
