"""What other tools write among words that is no word."""

from collections.abc import Iterable, Mapping

# Words that some tools write for silence; they are neither right nor wrong.
SILENCES = ("<eps>", "<sil>")

# Symbols that are left out, by dialect.
DIALECTS: Mapping[str, tuple[str, ...]] = {
    "plain": SILENCES,
    "mfa": (*SILENCES, "sil", "sp", "spn", "<unk>", "<cutoff>"),
    "maus": (*SILENCES, "<p:>", "<p>", "<usb>", "<nib>"),
    "kaldi": (
        *(*SILENCES, "SIL", "!SIL", "SPN", "NSN", "<SPOKEN_NOISE>", "<NOISE>", "<UNK>", "<unk>"),
        *("[noise]", "[laughter]", "[vocalized-noise]"),
    ),
}
AUTO = "auto"
# What gives a dialect away, in this order.
_SIGNS = (
    ("mfa", frozenset({"sil", "sp", "spn"})),
    ("maus", frozenset({"<p:>", "<usb>", "<nib>"})),
    ("kaldi", frozenset({"!SIL", "<SPOKEN_NOISE>", "[vocalized-noise]", "NSN"})),
)


def dialect_of(symbols: Iterable[str]) -> str:
    """The dialect that some words give away; `plain` where they do not.

    Args:
        symbols: all words of one side.
    """
    seen = frozenset(symbols)
    return next((name for name, signs in _SIGNS if seen & signs), "plain")
