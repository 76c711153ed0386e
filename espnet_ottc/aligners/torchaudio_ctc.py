"""CTC forced alignment by torchaudio, for models trained with CTC."""

import types
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.aligners.interface import (
    NO_LABEL,
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    mean_probabilities,
)
from espnet_ottc.aligners.viterbi import path_boundaries


@dataclass(frozen=True)
class TorchaudioCTCAligner:
    """The best CTC path (blanks optional, one needed between equal labels) of each utterance.

    A label's span is the run of its frames; frames on blank belong to no label.

    Attributes:
        blank: CTC's blank id.
    """

    blank: int = 0

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align one utterance after the other: `forced_align` takes batches of one.

        Infeasible, and reported: fewer frames than labels and blanks between equal labels; no path
        of non-zero probability.  A label's score is its mean probability over its frames.

        Raises:
            ImportError: torchaudio cannot be imported.
            ValueError: targets with a blank among them.
        """
        functional = _torchaudio()
        result = AlignmentResult()
        for b, name in enumerate(batch.utterance_ids):
            T, U = int(batch.lengths[b]), int(batch.target_lengths[b])
            targets = batch.targets[b, :U].long().cpu()
            if bool((targets == self.blank).any()):
                raise ValueError(
                    f"{name}: CTC targets must not hold the blank {self.blank}; got {targets}"
                )
            repeats = int((targets[1:] == targets[:-1]).sum())
            if U + repeats > T:
                result.infeasible[name] = (
                    f"{U} labels and {repeats} blanks between equal ones need as many frames, "
                    f"got {T}"
                )
                continue
            log_probs = batch.log_probs[b, :T].detach().float().cpu()
            if U:
                path, scores = functional.forced_align(
                    log_probs[None], targets[None], blank=self.blank
                )
                if bool(scores.isneginf().any()):
                    result.infeasible[name] = "every path has probability 0"
                    continue
                frame_labels = label_indices(path[0].long(), self.blank)
            else:
                frame_labels = torch.full((T,), NO_LABEL)
            result.alignments[name] = _alignment(name, log_probs, targets, frame_labels)
        return result


def label_indices(path: Tensor, blank: int) -> Tensor:
    """(T,) int64 index u of each frame's label in a CTC path of token ids; −1 on blank."""
    voiced = path != blank
    opens = voiced.clone()
    opens[1:] &= path[1:] != path[:-1]
    return torch.where(voiced, opens.long().cumsum(0) - 1, NO_LABEL)


def _alignment(
    name: str, log_probs: Tensor, targets: Tensor, frame_labels: Tensor
) -> TokenAlignment:
    frames = (frame_labels != NO_LABEL).nonzero()[:, 0]
    labels = frame_labels[frames]
    starts, ends = path_boundaries(frames, labels, len(targets))
    scores = mean_probabilities(log_probs, frames, labels, torch.ones_like(frames), targets)
    return TokenAlignment(name, targets, frame_labels, starts, ends, scores)


def _torchaudio() -> types.ModuleType:
    # Late: torchaudio loads only beside the torch release it was built for.
    try:
        import torchaudio.functional
    except (ImportError, OSError) as error:
        raise ImportError(
            "CTC forced alignment needs torchaudio of torch's own release: "
            f"pip install torchaudio=={torch.__version__.split('+')[0]}"
        ) from error
    module: types.ModuleType = torchaudio.functional
    return module
