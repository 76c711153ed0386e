"""Label sequences of spelled words: which label belongs to which word, wildcards and gaps among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espnet_ottc.alignment.text.spelling import WILDCARD, SpelledWord

if TYPE_CHECKING:
    from torch import Tensor

# Owners of labels that are no word's.
NOBODY = -1
GAP = -2
# A wildcard's score is the best label's, less this on each frame (nats): of two equal ways the one that
# spells is taken, so that the neighbours of a wildcard keep their frames.
WILDCARD_COST = 0.2


@dataclass(frozen=True)
class LabelledText:
    """The labels of a text for an aligner.

    Attributes:
        tokens: ids; the wildcard's is V, the first after the model's own.
        owners: for each label the index of its word, `NOBODY` for a separator, `GAP` for a wildcard between
            sentences or at the ends.
    """

    tokens: tuple[int, ...]
    owners: tuple[int, ...]


def label_text(
    words: Sequence[SpelledWord],
    encode: Callable[[str], Sequence[int]],
    wildcard: int,
    *,
    separator: int | None = None,
    unknown: int | None = None,
    gaps: bool = False,
) -> LabelledText:
    """The labels of spelled words.

    Args:
        words: of a text.
        encode: gives the ids of one spoken word without wildcards.
        wildcard: the id of the wildcard, V.
        separator: the id between words; None where tokens themselves say where words begin.
        unknown: an id that `encode` gives for what it does not know; a wildcard takes its place.
        gaps: put a wildcard of nobody's at both ends and between sentences.
    """
    tokens: list[int] = []
    owners: list[int] = []
    # A long text says the same words again and again, and tokenizers are slow.
    known: dict[str, list[int]] = {}

    def add(ids: Sequence[int], owner: int) -> None:
        if separator is not None and tokens:
            tokens.append(separator)
            owners.append(NOBODY)
        tokens.extend(ids)
        owners.extend([owner] * len(ids))

    if gaps:
        add([wildcard], GAP)
    for index, word in enumerate(words):
        if gaps and index and words[index - 1].sentence != word.sentence:
            add([wildcard], GAP)
        for spoken in word.spoken:
            if spoken not in known:
                known[spoken] = _ids(spoken, encode, wildcard, unknown)
            add(known[spoken], index)
    if gaps and words:
        add([wildcard], GAP)
    return LabelledText(tuple(tokens), tuple(owners))


def _ids(
    spoken: str, encode: Callable[[str], Sequence[int]], wildcard: int, unknown: int | None
) -> list[int]:
    """The ids of a spoken word, with one wildcard for each run of what cannot be spelled."""
    ids: list[int] = []
    for number, part in enumerate(spoken.split(WILDCARD)):
        found = [wildcard] * (number > 0)
        if part:
            found += [wildcard if one == unknown else one for one in encode(part)]
        for one in found:
            if one != wildcard or ids[-1:] != [wildcard]:
                ids.append(one)
    return ids or [wildcard]


def with_wildcard(log_probs: "Tensor", cost: float = WILDCARD_COST) -> "Tensor":
    """Log-probabilities with one label more, the wildcard: on each frame the best of all labels.

    Args:
        log_probs: (..., V).
        cost: taken from the wildcard on each frame, nats, ≥ 0: ties go to the labels that spell.

    Returns:
        (..., V + 1); the wildcard's id is V.  They do not sum to 1.
    """
    import torch  # late: the scorers use this package's normal forms without PyTorch

    best = log_probs.amax(-1, keepdim=True) - cost
    return torch.cat([log_probs, best], -1)


def owners_of(targets: Sequence[int], text: LabelledText) -> list[int]:
    """The owners of the labels that were aligned, where a model has put blanks and boundary labels between.

    Args:
        targets: ids of the aligned labels: those of the text in order, others between them.
        text: what was labelled.

    Raises:
        ValueError: targets that do not hold the text's labels in order.
    """
    owners = []
    place = 0
    for target in targets:
        if place < len(text.tokens) and target == text.tokens[place]:
            owners.append(text.owners[place])
            place += 1
        else:
            owners.append(NOBODY)
    if place < len(text.tokens):
        raise ValueError(
            f"the aligned labels must hold those of the text in order; {place} of {len(text.tokens)} do"
        )
    return owners
