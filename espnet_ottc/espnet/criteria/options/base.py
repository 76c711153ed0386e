"""What the options of all criteria have in common: their type, and checks of single values."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class CriterionOptions:
    """Options of one `ctc_type`: a field for each, whose metadata `help` says what it means."""

    ctc_type: ClassVar[str]


def option(default: _T, meaning: str) -> _T:
    """A field of `CriterionOptions`: an option with its default, and what `describe_options` says of it."""
    field: Any = dataclasses.field(default=default, metadata={"help": meaning})
    return field  # type: ignore[no-any-return]


def boundary_label_field() -> Any:
    """The option `boundary_label` of a criterion whose label sequences are complete."""
    return option(
        None,
        "token (or its id) that every label sequence starts and ends with, so that silence has a "
        "label; <word_break>: <space> or SentencePiece's ▁, whichever the tokens have; hypotheses come "
        "without it at their ends",
    )


def unknown_option(place: str, name: str, known: Sequence[str]) -> ValueError:
    """The error for an option that a place does not have; it suggests the nearest known name."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(known)}"
    return ValueError(f"{place} has no option {name!r}; {hint}")


def check_label(label: object, name: str = "boundary_label") -> None:
    if label is None:
        return
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise TypeError(f"{name} must be a token, its id or null, got {label!r}")
    if isinstance(label, int) and label < 1:
        raise ValueError(f"{name} must not be the blank, and ids are positive; got {label}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def check_epoch(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a number of epochs >= 0, got {value!r}")


def check_number(
    name: str, value: object, *, below: float | None = None, most: float | None = None
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    too_large = (below is not None and value >= below) or (most is not None and value > most)
    if not value >= 0 or value == float("inf") or too_large:
        upper = f"{below})" if below is not None else f"{most}]" if most is not None else "inf)"
        raise ValueError(f"{name} must lie in [0, {upper}, got {value}")
