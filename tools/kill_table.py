"""How often tests/faults/kill_recipe.py killed a recipe, where and by what, and what differed."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ottc.report.markdown import table

_HEADER = ["where", "commits", "rounds", "kills", "by stage", "by signal", "differences", "left"]


def make_kills(path: Path) -> str:
    """The table of a record, as Markdown: a line for each kind of machine and state, and one for all.

    Args:
        path: the record, a line of JSON for each round.

    Raises:
        ValueError: a line that is none of these.
        OSError: the file cannot be read.
    """
    try:
        rounds = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kinds: dict[tuple[str, str], list[Any]] = {}
        for one in rounds:
            kinds.setdefault((one["where"], one["commit"]), []).append(one)
        lines = [_line(place, some) for (place, _), some in kinds.items()]
        if len(lines) > 1:
            lines.append(_line("all", rounds))
    except (KeyError, TypeError, ValueError) as fault:
        raise ValueError(f"{path}: must have a round in each line: {fault!r}") from fault
    return table(_HEADER, lines, left=2)


def _line(place: str, rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    kills = [kill for one in rounds for kill in one["kills"] if kill["signal"] is not None]
    failed = sum(bool(one["fault"]) for one in rounds)
    failed += sum(bool(kill.get("fault")) for one in rounds for kill in one["kills"])
    differ = sum(len(one["differences"]) for one in rounds) + failed
    commits = dict.fromkeys(one["commit"][:7] + "*" * bool(one["dirty"]) for one in rounds)
    return [
        place,
        ", ".join(commits),
        str(len(rounds)),
        str(len(kills)),
        _counts(Counter(kill["stage"] for kill in kills)),
        _counts(Counter(kill["signal"].removeprefix("SIG") for kill in kills)),
        str(differ),
        str(sum(len(kill["left"]) for one in rounds for kill in one["kills"])),
    ]


def _counts(found: Mapping[Any, int]) -> str:
    return ", ".join(f"{name}: {found[name]}" for name in sorted(found))
