"""Which hypothesis belongs to which reference."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_NAMED = 5


def pair_by_id(
    references: Mapping[str, Sequence[Item]],
    hypotheses: Mapping[str, Sequence[Item]],
    *,
    missing_is_empty: bool = False,
    ignore_extra: bool = False,
) -> dict[str, tuple[Sequence[Item], Sequence[Item]]]:
    """Pairs of reference and hypothesis by utterance id, in the references' order.

    Args:
        references: words or spans by id.
        hypotheses: words or spans by id.
        missing_is_empty: an utterance without hypothesis counts as an empty one (all words
            deleted).
        ignore_extra: hypotheses without reference are left out.

    Returns:
        Reference and hypothesis by id; the hypothesis is empty where it is missing.

    Raises:
        ValueError: no reference at all; a missing or extra hypothesis that no option allows.  It
            names ids.
    """
    if not references:
        raise ValueError("there must be at least one reference utterance, got none")
    missing = [name for name in references if name not in hypotheses]
    if missing and not missing_is_empty:
        raise ValueError(
            f"{_some(missing)}: {len(missing)} of {len(references)} have no hypothesis"
        )
    extra = [name for name in hypotheses if name not in references]
    if extra and not ignore_extra:
        raise ValueError(f"{_some(extra)}: {len(extra)} of {len(hypotheses)} have no reference")
    return {name: (items, hypotheses.get(name, ())) for name, items in references.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
