"""Which token a `boundary_label` means, once the tokens are known."""

from collections.abc import Sequence

# An alias for the token that separates words.
WORD_BREAK = "<word_break>"
SPACE = "<space>"  # of ESPnet's characters
SENTENCEPIECE_SPACE = "▁"
_WORD_BREAKS = (SPACE, SENTENCEPIECE_SPACE)
_BLANK = 0


def resolve_boundary_label(label: str | int | None, token_list: Sequence[str]) -> str | int | None:
    """The token that a boundary label means; an id and None stay what they are.

    Args:
        label: a token, its id, `<word_break>` or None.
        token_list: the model's tokens; the first is the blank.

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
            f"boundary_label: {WORD_BREAK} needs the token {' or '.join(_WORD_BREAKS)}; the token list has "
            "neither (leave boundary_label out, or name the token that means silence)"
        )
    if label not in token_list:
        hint = "an utterance's ends need a token that means silence or a word break"
        if label in _WORD_BREAKS:
            hint = f"{WORD_BREAK} means whichever word break the tokens have"
        raise ValueError(
            f"boundary_label must be one of the tokens; got {label!r}, and the token list has none ({hint})"
        )
    if list(token_list).index(label) == _BLANK:
        raise ValueError(f"boundary_label must not be the blank; got {label!r}")
    return label


def boundary_label_id(label: str | int | None, token_list: Sequence[str]) -> int | None:
    """The id of a boundary label; None without one.  Arguments and errors as `resolve_boundary_label`."""
    token = resolve_boundary_label(label, token_list)
    return list(token_list).index(token) if isinstance(token, str) else token
