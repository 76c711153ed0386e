"""What a training run should show of its transport: sums over batches, and how far boundaries move."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_ottc.espnet.criteria.base import BLANK
from espnet_ottc.espnet.criteria.options.boundary_label import SPACE
from espnet_ottc.espnet.criteria.ottc import OTTC, ObservedBatch
from espnet_ottc.espnet.criteria.sequence import Labels
from espnet_ottc.ops.boundaries import boundaries
from espnet_ottc.ops.distributed import sum_over_processes
from espnet_ottc.ops.greedy_decoding import kept_frames
from espnet_ottc.ops.validation import valid_mask
from espnet_ottc.ops.weights import uniform_label_weights
from espnet_ottc.utils.files import written_aside

# Enough to see a drift, little enough to keep for every epoch.
FOLLOWED_UTTERANCES = 8

# Name in the log: the mean share of an utterance's label weight on one token, the heaviest.
HEAVIEST_TOKEN = "label_weight_on_one_token"

# Of the weight of all labels, on a single token: texts have none that is so frequent.
_COLLAPSED = 0.9

Alignments = dict[str, dict[str, Any]]


class TransportDiagnostics:
    """Observes the criterion over one pass through the validation data.

    Args:
        criterion: whose batches these are.
        silence: ids of the tokens that stand for silence, for the share of frames that they take.
    """

    def __init__(self, criterion: OTTC, silence: Sequence[int]) -> None:
        self.criterion = criterion
        self.silence = tuple(silence)
        self.utterances: list[str] = []
        self.alignments: Alignments = {}
        self._pending = False
        self._sums = dict.fromkeys(
            ("utterances", "frames", "entropy", "effective", "share", "dropped", "silent"), 0.0
        ) | {"heaviest": 0.0, "weighted": 0.0}

    def watch(
        self, iterator: Iterable[tuple[list[str], dict[str, Tensor]]]
    ) -> Iterator[tuple[list[str], dict[str, Tensor]]]:
        """Pass batches through, noting whose utterances are on their way to the criterion."""
        for utterances, batch in iterator:
            self.utterances = utterances
            self._pending = True
            yield utterances, batch

    def see(self, batch: ObservedBatch) -> None:
        """Add a batch; the first one's first utterances are the ones whose alignment is followed.

        Of a batch that comes several times, for the encoder's last layer and then for intermediate ones,
        only the first is looked at.
        """
        if not self._pending:
            return
        self._pending = False
        alpha, lengths = batch.alpha.double(), batch.lengths
        labels = batch.logits.argmax(2)
        valid = valid_mask(lengths, alpha.shape[1])
        entropy = -torch.special.xlogy(alpha, alpha).sum(1)
        effective = entropy.exp()
        kept = kept_frames(labels, alpha, lengths, self.criterion.options.drop_threshold)
        silent = valid & torch.isin(labels, labels.new_tensor(self.silence))
        nonempty = lengths > 0
        sums = {
            "utterances": nonempty.sum(),
            "frames": lengths.sum(),
            "entropy": entropy[nonempty].sum(),
            "effective": effective[nonempty].sum(),
            "share": (effective / lengths.clamp(min=1))[nonempty].sum(),
            "dropped": (valid & ~kept).sum(),
            "silent": silent.sum(),
            **_heaviest_token(batch.labels),
        }
        for name, value in sums.items():
            self._sums[name] += float(value)
        if not self.alignments:
            self.alignments = _alignments(batch, self.utterances)

    def averages(self) -> dict[str, float]:
        """The measures over everything seen, as fractions, frames and nats; empty if nothing was seen."""
        utterances, frames = self._sums["utterances"], self._sums["frames"]
        if not utterances or not frames:
            return {}
        weighted = self._sums["weighted"]
        heaviest = {HEAVIEST_TOKEN: self._sums["heaviest"] / weighted} if weighted else {}
        return {
            **heaviest,
            "alpha_entropy": self._sums["entropy"] / utterances,
            "alpha_effective_frames": self._sums["effective"] / utterances,
            "alpha_effective_share": self._sums["share"] / utterances,
            "dropped_frames": self._sums["dropped"] / frames,
            "peaky_frames": self._sums["silent"] / frames,
        }

    def sum_over_processes(self, device: torch.device) -> None:
        """Add what the other processes of a distributed training saw; every process has to call this."""
        sums = torch.tensor(list(self._sums.values()), dtype=torch.float64, device=device)
        self._sums = dict(zip(self._sums, sum_over_processes(sums).tolist(), strict=True))


def silence_tokens(criterion: OTTC, token_list: Sequence[str]) -> tuple[int, ...]:
    """Ids that stand for silence: the blank, and the boundary label or, where there is none, `<space>`."""
    if criterion.boundary is not None:
        return BLANK, criterion.boundary
    return (BLANK, list(token_list).index(SPACE)) if SPACE in token_list else (BLANK,)


def collapse_warning(averages: Mapping[str, float | None]) -> str | None:
    """What to tell a user whose label weights lie on one token; None where they do not.

    Args:
        averages: of a validation, by name.
    """
    share = averages.get(HEAVIEST_TOKEN)
    if share is None or share <= _COLLAPSED:
        return None
    return (
        f"the label weights have collapsed: {100 * share:.0f} % of an utterance's weight lies on one of its "
        "tokens, which the model then predicts everywhere; give ctc_conf a (larger) label_weight_floor"
    )


def boundary_movement(before: Alignments, after: Alignments) -> float | None:
    """Mean absolute movement of label starts in frames; None where no utterance can be compared.

    The first label's start is left out: it is always 0.
    """
    moved: list[float] = []
    for utterance, alignment in after.items():
        earlier = before.get(utterance)
        if earlier is not None and earlier["labels"] == alignment["labels"]:
            pairs = zip(earlier["starts"][1:], alignment["starts"][1:], strict=True)
            moved += [abs(new - old) for old, new in pairs]
    return math.fsum(moved) / len(moved) if moved else None


def write_alignments(path: Path, alignments: Alignments) -> None:
    """Write alignments as JSON: {utterance: {frames, labels, starts (in frames), alpha}}."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(alignments), encoding="utf-8")


def read_alignments(path: Path) -> Alignments:
    """Read what `write_alignments` wrote; nothing where there is no such file."""
    if not path.exists():
        return {}
    alignments: Alignments = json.loads(path.read_text(encoding="utf-8"))
    return alignments


def _heaviest_token(labels: Labels) -> dict[str, Tensor | float]:
    """Sum over utterances of the weight on the token that has most of it, and their number.

    Utterances of one or two different tokens are left out: their weight is on few tokens anyway.
    """
    targets, lengths, weights = labels
    if weights is None or not targets.shape[1]:
        return {}
    valid = valid_mask(lengths, targets.shape[1])
    tokens = torch.where(valid, targets, 0)
    same = (tokens[:, :, None] == tokens[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    of_token = (same * weights.detach().double()[:, None, :]).sum(2)
    # Each label counts as its token's share, so that the sum is the number of tokens.
    different = (valid / same.sum(2).clamp(min=1)).sum(1)
    several = different > 2.5
    return {"heaviest": of_token.amax(1)[several].sum(), "weighted": several.sum()}


def _alignments(batch: ObservedBatch, utterances: list[str]) -> Alignments:
    count = min(len(utterances), FOLLOWED_UTTERANCES)
    alpha, frames = batch.alpha[:count], batch.lengths[:count]
    targets, lengths, weights = batch.labels
    targets, lengths = targets[:count], lengths[:count]
    if weights is None:
        beta = uniform_label_weights(lengths, targets.shape[1], dtype=torch.float64)
    else:
        beta = weights[:count].detach()
    starts, _ = boundaries(alpha, beta, frames, lengths)
    return {
        utterances[b]: {
            "frames": T,
            "labels": targets[b, :U].tolist(),
            "starts": [round(start, 3) for start in starts[b, :U].tolist()],
            "alpha": [float(f"{weight:.4g}") for weight in alpha[b, :T].tolist()],
        }
        for b, (T, U) in enumerate(zip(frames.tolist(), lengths.tolist(), strict=True))
        if T and U
    }
