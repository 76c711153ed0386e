"""CTC forced alignment by this package's own search, for recordings of any length."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from espnet_ottc.alignment.aligners.ctc import align_by_paths
from espnet_ottc.alignment.aligners.interface import AlignmentBatch, AlignmentResult
from espnet_ottc.ops.label_paths import ctc_path


@dataclass(frozen=True)
class CTCAligner:
    """The best CTC path of each utterance, in memory that grows with its length alone.

    A label's span is the run of its frames; frames on blank belong to no label.

    Attributes:
        blank: CTC's blank id.
    """

    blank: int = 0

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align one utterance after the other, on the CPU.

        Infeasible, and reported: fewer frames than labels and blanks between equal labels; no path of
        non-zero probability.  A label's score is its mean probability over its frames.

        Args:
            batch: log-probabilities of a model with CTC; targets without blanks.

        Returns:
            The alignments, and why others have none.

        Raises:
            ValueError: targets with a blank among them, a blank outside the vocabulary.
        """

        def find_paths(batch: AlignmentBatch, rows: Sequence[int]) -> list[Tensor | None]:
            paths: list[Tensor | None] = []
            for b in rows:
                T, U = int(batch.lengths[b]), int(batch.target_lengths[b])
                found = ctc_path(
                    batch.log_probs[b, :T].cpu(), batch.targets[b, :U].long().cpu(), self.blank
                )
                paths.append(None if found is None else found[0])
            return paths

        return align_by_paths(batch, self.blank, find_paths)
