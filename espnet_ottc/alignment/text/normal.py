"""Texts that look the same made the same: for words that are compared, and for ids."""

import unicodedata

from espnet_ottc.alignment.text.spelling import APOSTROPHES, HYPHENS

# none: letter for letter; nfc: one normal form, nothing invisible; loose: also compatible forms (ﬁ is fi),
# straight quotes and plain hyphens.
FORMS = ("none", "nfc", "loose")
# Invisible, and no part of a word's spelling: zero-width space, byte order mark, word joiner, soft hyphen.
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\ufeff\u2060\u00ad"))
_PLAIN = {
    **dict.fromkeys(map(ord, APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, HYPHENS), "-"),
    **dict.fromkeys(map(ord, "“”„‟«»"), '"'),
}


def normal_form(text: str, form: str = "nfc") -> str:
    """A text in a normal form.

    Args:
        text: any.
        form: one of `FORMS`.

    Raises:
        ValueError: another form.
    """
    if form not in FORMS:
        raise ValueError(f"a normal form is one of {', '.join(FORMS)}; got {form!r}")
    if form == "none" or (text.isascii() and form == "nfc"):
        return text
    text = text.translate(_INVISIBLE)
    if form == "nfc":
        return unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFKC", text.translate(_PLAIN)).translate(_PLAIN)
