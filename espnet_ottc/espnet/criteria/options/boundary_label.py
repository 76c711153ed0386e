"""Which token a `boundary_label` means, once the tokens are known."""

from collections.abc import Sequence

# An alias for the token that separates words.
WORD_BREAK = "<word_break>"
SPACE = "<space>"  # of ESPnet's characters
SENTENCEPIECE_SPACE = "▁"
_WORD_BREAKS = (SPACE, SENTENCEPIECE_SPACE)
_BLANK = 0


def resolve_boundary_label(
    label: str | int | None, token_list: Sequence[str], *, name: str = "boundary_label"
) -> str | int | None:
    """The token that a boundary label means; an id and None stay what they are.

    Args:
        label: a token, its id, `<word_break>` or None.
        token_list: the model's tokens; the first is the blank.
        name: of the option, for errors.

    Raises:
        ValueError: `<word_break>` where the tokens have no word break; a label that is no token, or is the
            blank.
    """
    if not isinstance(label, str):
        return label
    if label == WORD_BREAK and label not in token_list:
        for token in _WORD_BREAKS:
            if token in token_list:
                return token
        raise ValueError(
            f"{name}: {WORD_BREAK} needs the token {' or '.join(_WORD_BREAKS)}; the token list has "
            f"neither (leave {name} out, or name the token that means silence)"
        )
    if label not in token_list:
        hint = "an utterance's ends need a token that means silence or a word break"
        if label in _WORD_BREAKS:
            hint = f"{WORD_BREAK} means whichever word break the tokens have"
        raise ValueError(
            f"{name} must be one of the tokens; got {label!r}, and the token list has none ({hint})"
        )
    if list(token_list).index(label) == _BLANK:
        raise ValueError(f"{name} must not be the blank; got {label!r}")
    return label


def boundary_label_id(
    label: str | int | None, token_list: Sequence[str], *, name: str = "boundary_label"
) -> int | None:
    """The id of a boundary label; None without one.  Arguments and errors as `resolve_boundary_label`."""
    token = resolve_boundary_label(label, token_list, name=name)
    return list(token_list).index(token) if isinstance(token, str) else token


def unaligned_label_id(label: str | int | None, token_list: Sequence[str]) -> int | None:
    """The id of an unaligned label; None without one, and for `<word_break>` where the tokens have none.

    Other arguments and errors as `resolve_boundary_label`.
    """
    if label == WORD_BREAK and not {WORD_BREAK, *_WORD_BREAKS} & set(token_list):
        return None
    return boundary_label_id(label, token_list, name="unaligned_label")
