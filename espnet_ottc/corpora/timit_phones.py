"""TIMIT's phones: the 61 that are trained and the 39 classes that are scored."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from espnet_ottc.utils.files import data_lines

FOLDING_FILE = "phones_timit.txt"
UTTERANCE_EDGE = "h#"
PAUSE = "pau"
# The phones in which nobody speaks.  A closure is scored as silence too, but belongs to its stop.
SILENCES = (UTTERANCE_EDGE, PAUSE, "epi")


def folding_path() -> Path:
    """The file of the folding from 61 phones to 39 classes, for `--fold` of the scoring commands."""
    return Path(str(files(__package__) / "data" / FOLDING_FILE))


@cache
def timit_61() -> frozenset[str]:
    """The phones that a `.PHN` file may have."""
    return frozenset(line.split()[0] for line in data_lines(__package__, FOLDING_FILE))
