"""CTC forced alignment by torchaudio, for models trained with CTC."""

import types
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.aligners.ctc import align_by_paths
from espnet_ottc.alignment.aligners.interface import AlignmentBatch, AlignmentResult
from espnet_ottc.ops.precision import LOG_ZERO


@dataclass(frozen=True)
class TorchaudioCTCAligner:
    """The best CTC path (blanks optional, one needed between equal labels) of each utterance.

    A label's span is the run of its frames; frames on blank belong to no label.

    Attributes:
        blank: CTC's blank id.
    """

    blank: int = 0

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align one utterance after the other, on the CPU: `forced_align` takes batches of one.

        Infeasible, and reported: fewer frames than labels and blanks between equal labels; no path
        of non-zero probability.  A label's score is its mean probability over its frames.

        Args:
            batch: log-probabilities of a model with CTC; targets without blanks.

        Returns:
            The alignments, and why others have none.

        Raises:
            ImportError: torchaudio cannot be imported.
            ValueError: targets with a blank among them, a blank outside the vocabulary.
        """
        functional = _torchaudio()

        def find_paths(batch: AlignmentBatch, rows: Sequence[int]) -> list[Tensor]:
            paths = []
            for b in rows:
                T, U = int(batch.lengths[b]), int(batch.target_lengths[b])
                # torchaudio reads outside its tables on the way back through -inf.
                log_probs = batch.log_probs[b, :T].detach().float().clamp(min=LOG_ZERO).cpu()
                targets = batch.targets[b, :U].long().cpu()
                path, _ = functional.forced_align(log_probs[None], targets[None], blank=self.blank)
                paths.append(path[0].long())
            return paths

        return align_by_paths(batch, self.blank, find_paths)


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
