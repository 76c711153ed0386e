"""From a text to the labels that a model can align, and back to the words of the text."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_ottc.aligner.models import SpeechModel
from espnet_ottc.ops.targets import add_boundary_labels, insert_blanks

# In the labels of a unit: what the model cannot spell.  Its score is the best of all labels on a frame.
WILDCARD = -1
WILDCARD_SYMBOL = "*"
# Of labels that belong to no unit: separators, blanks, boundary labels.
NO_UNIT = -1


@dataclass(frozen=True)
class Unit:
    """A word of the text, with its labels.

    Attributes:
        text: as it was given, letter for letter.
        labels: token ids in the model's spelling, or `WILDCARD`; none for what is not spoken.  Those of
            several spoken words ("25" as "twenty five") have the model's separator between them.
        joined: whether no separator stands between it and the unit before it.
    """

    text: str
    labels: tuple[int, ...]
    joined: bool = False


@dataclass(frozen=True, eq=False)
class LabelSequence:
    """The labels that are sought in the frames, and whose they are.

    Attributes:
        labels: (U,) int64 token ids, with V (one beyond the model's tokens) for the wildcard.
        units: (U,) int64 the unit of each label; `NO_UNIT` for separators, blanks and boundary labels.
    """

    labels: Tensor
    units: Tensor


def spell(text: str, model: SpeechModel) -> list[Unit]:
    """The words of a text in the model's spelling."""
    return [Unit(word, _joined_wildcards(model.spell(word))) for word in text.split()]


def _joined_wildcards(labels: Sequence[int]) -> tuple[int, ...]:
    kept: list[int] = []
    for label in labels:
        if label != WILDCARD or not kept or kept[-1] != WILDCARD:
            kept.append(label)
    return tuple(kept)


def label_sequence(units: Sequence[Unit], model: SpeechModel) -> LabelSequence:
    """All labels of a text in a row, as the model was trained with them.

    Args:
        units: of the text.
        model: whose separator stands between units; a model with OTTC's topology has its boundary label at
            both ends, and blanks between equal neighbours.
    """
    labels: list[int] = []
    owners: list[int] = []
    for place, unit in enumerate(units):
        if not unit.labels:
            continue
        if labels and model.separator is not None and not unit.joined:
            labels.append(model.separator)
            owners.append(NO_UNIT)
        labels += [len(model.tokens) if label == WILDCARD else label for label in unit.labels]
        owners += [place] * len(unit.labels)
    if model.topology == "ctc" or not labels:
        return LabelSequence(torch.tensor(labels).long(), torch.tensor(owners).long())
    sequence, count = torch.tensor([labels]), torch.tensor([len(labels)])
    if model.boundary is not None:
        sequence, count = add_boundary_labels(sequence, count, model.boundary)
    sequence, count = insert_blanks(sequence, count, model.blank)
    complete = sequence[0, : int(count)]
    return LabelSequence(complete, _owners(complete.tolist(), labels, owners))


def _owners(complete: Sequence[int], labels: Sequence[int], owners: Sequence[int]) -> Tensor:
    """Whose the labels of a completed sequence are: those that were added are nobody's."""
    found, place = [], 0
    for label in complete:
        if place < len(labels) and label == labels[place]:
            found.append(owners[place])
            place += 1
        else:
            found.append(NO_UNIT)
    assert place == len(labels)
    return torch.tensor(found)


def with_wildcard(log_probs: Tensor) -> Tensor:
    """(T, V + 1): log-probabilities (T, V), and behind them the best of each frame."""
    return torch.cat([log_probs, log_probs.amax(1, keepdim=True)], 1)
