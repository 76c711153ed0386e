"""Criteria in CTC's place: what ESPnet's tasks build when they mean to build their CTC."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from espnet2.asr.ctc import CTC
from torch import nn

from espnet_ottc.espnet.criteria.base import Criterion
from espnet_ottc.espnet.criteria.consistency import ConsistencyCTC
from espnet_ottc.espnet.criteria.ctc_prior import PriorCTC
from espnet_ottc.espnet.criteria.options import boundary_label_id, parse_conf, unaligned_label_id
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.criteria.single_path import SinglePath
from espnet_ottc.espnet.criteria.soft_dtw import SoftDTW

CRITERIA: dict[str, type[Criterion]] = {
    kind.options_type.ctc_type: kind
    for kind in (OTTC, PriorCTC, ConsistencyCTC, SinglePath, SoftDTW)
}

# Options that may name a token, and what finds its id.
LABEL_OPTIONS = {"boundary_label": boundary_label_id, "unaligned_label": unaligned_label_id}

# The token lists of the model that is being built: the task hands criteria their number of tokens alone.
_TOKEN_LISTS: ContextVar[tuple[Sequence[str], ...]] = ContextVar("_TOKEN_LISTS", default=())


@functools.wraps(CTC)
def build_criterion(odim: int, encoder_output_size: int, **conf: Any) -> CTC:
    """Build OTTC for `ctc_type: ottc`, the baselines for theirs, and otherwise ESPnet's CTC as before.

    It takes the name `CTC` in the modules of ESPnet's tasks, which call it with `**ctc_conf`, and read CTC's
    defaults off its signature.  Labels among the options may be tokens inside `token_lists`, else ids.

    Raises:
        ValueError, TypeError: an unknown option or a bad value.
    """
    kind = CRITERIA.get(conf.get("ctc_type", ""))
    if kind is None:
        return CTC(odim=odim, encoder_output_size=encoder_output_size, **conf)
    lists = [tokens for tokens in _TOKEN_LISTS.get() if len(tokens) == odim]
    for option, find in LABEL_OPTIONS.items():
        if lists and option in conf and hasattr(kind.options_type, option):
            conf[option] = _shared_id(option, conf[option], lists, find)
    options, shared = parse_conf(conf, kind.options_type)
    criterion = kind(odim, encoder_output_size, options, **shared)
    if lists:
        criterion.token_list = tuple(lists[0])
    return criterion


@contextmanager
def token_lists(*lists: Sequence[str]) -> Iterator[None]:
    """While it lasts, criteria know their tokens: those of the list that has as many as they."""
    token = _TOKEN_LISTS.set(lists)
    try:
        yield
    finally:
        _TOKEN_LISTS.reset(token)


def criteria_of(model: nn.Module) -> tuple[Criterion, ...]:
    """This package's criteria in a model, which may be wrapped for several processes."""
    return tuple(module for module in model.modules() if isinstance(module, Criterion))


def _shared_id(
    option: str,
    label: str | int | None,
    lists: Sequence[Sequence[str]],
    find: Callable[[str | int | None, Sequence[str]], int | None],
) -> int | None:
    ids = {find(label, tokens) for tokens in lists}
    if len(ids) > 1:
        raise ValueError(
            f"{option}: {label!r} must be the same id in token lists of the same length; "
            f"source and target tokens have {' and '.join(map(str, sorted(ids, key=str)))}"
        )
    return ids.pop()
