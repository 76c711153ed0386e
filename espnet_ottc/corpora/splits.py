"""Training, development and test sets of data that come without a division."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from lhotse import SupervisionSegment

PARTS = ("train", "dev", "test")
# Of the seconds of speech: the least that development and test get, each.
_HELD_OUT = 0.1


def split_by_speaker(
    utterances: Sequence[SupervisionSegment],
) -> tuple[dict[str, list[SupervisionSegment]], str]:
    """Divide utterances so that nobody speaks in two parts, as far as speakers are known.

    Whole speakers go to the test set until it has a tenth of the speech, then to the development set; the
    rest is trained on.  Their order is that of a hash of their names: it depends on nothing else, and more
    data from the same speakers change little.  With fewer than three speakers whole recordings are divided
    instead, and with fewer than three recordings single utterances.

    Args:
        utterances: of all parts; an utterance without a speaker counts as its recording's.

    Returns:
        The utterances of `train`, `dev` and `test`, and what was kept together: speakers, recordings or
        utterances.

    Raises:
        ValueError: fewer than three utterances.
    """
    if len(utterances) < len(PARTS):
        raise ValueError(
            "data without a division need three utterances or more, one each to train on, to validate "
            f"with and to test on; got {len(utterances)}"
        )
    kinds: dict[str, Callable[[SupervisionSegment], str]] = {
        "speakers": lambda one: one.speaker or f"\0{one.recording_id}",
        "recordings": lambda one: str(one.recording_id),
        "utterances": lambda one: str(one.id),
    }
    for kind, key in kinds.items():
        groups: dict[str, list[SupervisionSegment]] = defaultdict(list)
        for one in utterances:
            groups[key(one)].append(one)
        # An utterance without a speaker must not part the others from theirs.
        known = kind != "speakers" or any(one.speaker for one in utterances)
        if known and len(groups) >= len(PARTS):
            return _divide(groups), kind
    raise AssertionError("utterances have different ids")


def _divide(
    groups: dict[str, list[SupervisionSegment]],
) -> dict[str, list[SupervisionSegment]]:
    wanted = _HELD_OUT * _seconds(one for group in groups.values() for one in group)
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    parts: dict[str, list[SupervisionSegment]] = {part: [] for part in PARTS}
    # One group at least stays for each part that is still to come.
    for part, left in (("test", 2), ("dev", 1)):
        while len(order) > left and (not parts[part] or _seconds(parts[part]) < wanted):
            parts[part] += groups[order.pop()]
    parts["train"] = [one for name in order for one in groups[name]]
    return parts


def _seconds(utterances: Iterable[SupervisionSegment]) -> float:
    return float(sum(one.duration for one in utterances))
