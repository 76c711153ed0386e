"""Boundary models and Lhotse cuts: what one is trained on, and what it aligns."""

from collections.abc import Iterable

import numpy as np
import torch
from lhotse.cut import Cut
from torch import Tensor

from espnet_ottc.alignment.background import with_background
from espnet_ottc.alignment.boundary.aligner import align_features, of_recording
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import SAMPLING_RATE, BoundaryModel
from espnet_ottc.alignment.cut_sound import cut_sound
from espnet_ottc.alignment.steady_sound import without_steady_sound
from espnet_ottc.alignment.writing import Times


def spoken_cut(cut: Cut) -> SpokenText:
    """A cut to train on: its recording, read when it is needed, and the words of its one supervision.

    Raises:
        ValueError: no supervision, or several.
    """
    rate = min(SAMPLING_RATE, int(cut.sampling_rate))
    return SpokenText(
        cut.id, _words(cut), lambda: (with_background(_samples(cut, rate), rate), rate)
    )


def align_cuts(model: BoundaryModel, cuts: Iterable[Cut]) -> tuple[Times, dict[str, float]]:
    """Times of the words of cuts by a boundary model alone; long steady sound is left out for the search.

    Args:
        model: to align with.
        cuts: mono, with one supervision each.

    Returns:
        The times, and the seconds of each cut.

    Raises:
        ValueError: a cut without supervision, or with several; sound that cannot be read.
    """
    times, durations = Times(), {}
    for cut in cuts:
        durations[cut.id], words = cut.duration, _words(cut)
        if not words:
            times.words[cut.id], times.tokens[cut.id] = [], []
            continue
        rate = model.sampling_rate
        sound = without_steady_sound(_samples(cut, rate), rate)
        duration = cut.duration - sound.seconds_out(rate)
        found = align_features(model, model.features(sound.samples, rate), words, duration)
        if isinstance(found, str):
            times.infeasible[cut.id] = found
        else:
            found = of_recording(found, sound)
            times.words[cut.id], times.tokens[cut.id] = found.words, found.tokens
    return times, durations


def _words(cut: Cut) -> tuple[str, ...]:
    if len(cut.supervisions) != 1:
        raise ValueError(
            f"{cut.id}: a cut must have one supervision, whose text is said; "
            f"got {len(cut.supervisions)}"
        )
    return tuple((cut.supervisions[0].text or "").split())


def _samples(cut: Cut, rate: int) -> Tensor:
    """(N,) samples at a rate; the mean of the channels."""
    if cut.sampling_rate != rate:
        cut = cut.resample(rate)
    audio = cut_sound(cut).mean(0)
    return torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
