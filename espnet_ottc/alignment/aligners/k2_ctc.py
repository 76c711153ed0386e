"""CTC forced alignment by k2: many utterances at once, on the device where the posteriors lie.

The CTC graph of each label sequence (k2's standard topology: a blank must stand between equal labels)
is intersected with the utterance's posteriors; the best path of what remains has a label per frame.
"""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.alignment.aligners.ctc import align_by_paths
from espnet_ottc.alignment.aligners.interface import AlignmentBatch, AlignmentResult
from espnet_ottc.ops.precision import LOG_ZERO
from espnet_ottc.ops.validation import valid_mask

# Graph states times frames in one intersection.  From here on k2 narrows its beam, and its memory for
# forward and backward scores comes to some 300 MB.
_LARGEST_LATTICE = 15_000_000
# k2 leaves out what lies further than this (nats) below the best path, which it knows from exact
# forward and backward scores: whatever exceeds their rounding is enough.
_OUTPUT_BEAM = 10.0


@dataclass(frozen=True)
class K2CTCAligner:
    """The best CTC path (blanks optional, one needed between equal labels) of each utterance.

    A label's span is the run of its frames; frames on blank belong to no label.

    Attributes:
        blank: CTC's blank id.
    """

    blank: int = 0

    def align(self, batch: AlignmentBatch) -> AlignmentResult:
        """Align all utterances together, in float32, on the batch's device.

        Infeasible, and reported: fewer frames than labels and blanks between equal labels; no path
        of non-zero probability.  A label's score is its mean probability over its frames.

        Args:
            batch: log-probabilities of a model with CTC; targets without blanks.

        Returns:
            The alignments, and why others have none.

        Raises:
            ImportError: k2 cannot be imported.
            ValueError: targets with a blank among them, a blank outside the vocabulary.
        """
        k2 = import_k2()

        def find_paths(batch: AlignmentBatch, rows: Sequence[int]) -> list[Tensor | None]:
            found: dict[int, Tensor | None] = {}
            for part in _parts(batch, rows):
                found |= zip(part, _viterbi_paths(k2, batch, part, self.blank), strict=True)
            return [found[b] for b in rows]

        return align_by_paths(batch, self.blank, find_paths)


def import_k2() -> types.ModuleType:
    """The module k2.

    Raises:
        ImportError: it is not installed, or was built for another torch; it says how to get it.
    """
    try:
        import k2
    except (ImportError, OSError) as error:
        release = torch.__version__.split("+")[0]
        raise ImportError(
            f"k2 cannot be imported ({error}). It needs a build for torch {release}: "
            "pip install k2==VERSION -f https://k2-fsa.github.io/k2/cpu.html (cuda.html for GPUs) "
            f"with a VERSION of that page that ends in torch{release}, or build it from source"
        ) from error
    module: types.ModuleType = k2
    return module


def _parts(batch: AlignmentBatch, rows: Sequence[int]) -> Iterator[list[int]]:
    """The rows in parts for one intersection each; long utterances first, as k2 requires."""
    lengths, label_lengths = batch.lengths.tolist(), batch.target_lengths.tolist()
    part: list[int] = []
    size = 0
    for b in sorted(rows, key=lambda b: -lengths[b]):
        states = lengths[b] * (2 * label_lengths[b] + 1)
        if part and size + states > _LARGEST_LATTICE:
            yield part
            part, size = [], 0
        part.append(b)
        size += states
    yield part


def _viterbi_paths(
    k2: types.ModuleType, batch: AlignmentBatch, rows: Sequence[int], blank: int
) -> Iterator[Tensor | None]:
    """The best path of each row, (T_b,) token ids on the CPU; None where k2 finds none."""
    device = batch.log_probs.device
    lengths = batch.lengths.cpu()[rows]
    symbols, columns = _own_vocabularies(batch, rows, blank)
    emissions, rounding = _emissions(batch, rows, columns)
    segments = torch.stack([torch.arange(len(rows)), torch.zeros(len(rows)), lengths], 1).int()
    graphs = k2.ctc_graph(symbols, modified=False, device=device)
    states = sum(
        T * (2 * len(labels) + 1) for T, labels in zip(lengths.tolist(), symbols, strict=True)
    )
    lattice = k2.intersect_dense(
        graphs,
        k2.DenseFsaVec(emissions, segments),
        output_beam=_OUTPUT_BEAM + rounding,
        max_states=max(_LARGEST_LATTICE, states),
    )
    best = k2.shortest_path(lattice, use_double_scores=True)
    arcs = best.arcs.shape().remove_axis(1).row_splits(1).cpu().diff().tolist()
    for row, path in enumerate(best.labels.cpu().split(arcs)):
        # One arc per frame, and the one into the final state.
        yield columns[row][path[:-1].long()] if len(path) else None


def _own_vocabularies(
    batch: AlignmentBatch, rows: Sequence[int], blank: int
) -> tuple[list[list[int]], Tensor]:
    """Each utterance's labels in a vocabulary of its own, where the blank is 0 as k2 has it.

    Only what an utterance uses is copied for it; whole vocabularies are large.

    Returns:
        symbols: label sequences.
        columns: (N, K) int64 token id of each symbol, on the CPU; blank in the padding.
    """
    symbols, columns = [], []
    targets = batch.targets.long().cpu()
    for b in rows:
        tokens, labels = targets[b, : int(batch.target_lengths[b])].unique(return_inverse=True)
        symbols.append((labels + 1).tolist())
        columns.append(torch.cat([torch.tensor([blank]), tokens]))
    return symbols, torch.nn.utils.rnn.pad_sequence(columns, True, blank)


def _emissions(batch: AlignmentBatch, rows: Sequence[int], columns: Tensor) -> tuple[Tensor, float]:
    """(N, T, K) float32 log-probabilities of the utterances' own symbols, 0 in the padding.

    Besides a bound (nats) on what a path's float32 score loses to rounding: T times the relative
    error, times the largest score.
    """
    device = batch.log_probs.device
    lengths = batch.lengths[rows]
    T = int(lengths.max())
    index = (
        torch.tensor(rows, device=device)[:, None, None],
        torch.arange(T, device=device)[None, :, None],
        columns.to(device)[:, None],
    )
    emissions = batch.log_probs.detach()[index].float()
    emissions = torch.where(valid_mask(lengths, T)[:, :, None], emissions, 0.0)
    largest = torch.where(emissions.isneginf(), 0.0, emissions).abs().amax(2).sum(1).max()
    rounding = T * torch.finfo(torch.float32).eps * float(largest)
    # k2 does not prune lattices of score -inf.
    return emissions.clamp(min=LOG_ZERO), rounding
