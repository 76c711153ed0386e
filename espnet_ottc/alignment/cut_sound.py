"""The sound of a Lhotse cut."""

import numpy as np
from lhotse.cut import Cut

from espnet_ottc.alignment.sound_files import Samples, first_line


def cut_sound(cut: Cut) -> Samples:
    """Samples of a cut, (channels, N), as its manifest finds them.

    Args:
        cut: with a recording.

    Raises:
        ValueError: there is none, or it cannot be read; in one line that names the cut.
    """
    try:
        audio = cut.load_audio()
    # Lhotse has an exception of its own for each of its readers, and tells of them all.
    except Exception as fault:
        raise ValueError(f"{cut.id}: audio could not be read: {first_line(fault)}") from fault
    if audio is None:
        raise ValueError(f"{cut.id}: the cut has no recording")
    samples: Samples = np.atleast_2d(audio)
    return samples
