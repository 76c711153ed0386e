"""From a `ctc_conf` to options, and from options to their descriptions."""

import dataclasses
import inspect
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from espnet_ottc.espnet.criteria.options.base import CriterionOptions, unknown_option

# Of what CTC's constructor knows (ESPnet's parser may put all of it, with its defaults, into ctc_conf)
# these mean the same here; the others speak of CTC's lattice.
SHARED_WITH_CTC = ("dropout_rate", "reduce", "zero_infinity")
# CTC's former name of `zero_infinity`, which still comes first with it.
FORMER_NAME = "ignore_nan_grad"
_SIZES = ("self", "odim", "encoder_output_size")

Kind = TypeVar("Kind", bound=CriterionOptions)


def parse_conf(conf: Mapping[str, Any], kind: type[Kind]) -> tuple[Kind, dict[str, Any]]:
    """Split a `ctc_conf` into the criterion's options and what it shares with CTC.

    Args:
        conf: keys of `kind` and of ESPnet's CTC; `ctc_type` is ignored.
        kind: the dataclass of the criterion's options.

    Returns:
        The options, and the keyword arguments `dropout_rate`, `reduce` and `zero_infinity` as far as they
        are given.

    Raises:
        ValueError, TypeError: an unknown option (the nearest known name is suggested) or a bad value.
    """
    own = [field.name for field in dataclasses.fields(kind)]
    if conf.get(FORMER_NAME) is not None:
        conf = {**conf, "zero_infinity": conf[FORMER_NAME]}
    conf = {name: value for name, value in conf.items() if name != FORMER_NAME}
    known_here = {*own, *SHARED_WITH_CTC, "ctc_type"}
    # Importing ESPnet takes seconds: only where an option may be one of its CTC's.
    inherited = ctc_defaults() if conf.keys() - known_here else {}
    for name in conf:
        if name not in known_here and name not in inherited:
            place = f"ctc_conf of ctc_type {kind.ctc_type}"
            raise unknown_option(place, name, [*own, *SHARED_WITH_CTC])
    unused = [
        name for name, value in conf.items() if name not in known_here and value != inherited[name]
    ]
    if unused:
        logging.info(
            "ctc_type %s has no use for CTC's options %s", kind.ctc_type, ", ".join(unused)
        )
    options = kind(**{name: conf[name] for name in own if name in conf})
    return options, {name: conf[name] for name in SHARED_WITH_CTC if name in conf}


def ctc_defaults() -> dict[str, Any]:
    """The options of ESPnet's own CTC with their defaults; imports ESPnet."""
    from espnet2.asr.ctc import CTC

    parameters = inspect.signature(CTC.__init__).parameters
    return {name: p.default for name, p in parameters.items() if name not in _SIZES}


def describe_options(kind: type[Any]) -> list[tuple[str, Any, str]]:
    """Name, default and meaning of each option of a dataclass of options, in order."""
    return [(f.name, f.default, f.metadata["help"]) for f in dataclasses.fields(kind)]
