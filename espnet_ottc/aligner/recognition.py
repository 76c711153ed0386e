"""What is said in a recording, by CTC's rule: each frame's best label, repeats joined, no blanks."""

import torch
from torch import Tensor

from espnet_ottc.ops.targets import collapse

DEFAULT_DECODER = "viterbi"


def ctc_labels(log_probs: Tensor, blank: int) -> list[int]:
    """Token ids of the best path of (T, V) log-probabilities."""
    labels, lengths = collapse(log_probs.argmax(1)[None], torch.tensor([len(log_probs)]), blank)
    return [int(label) for label in labels[0, : int(lengths[0])]]
