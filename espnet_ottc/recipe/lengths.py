"""Lengths of utterances as their cuts have them; no audio is read, and no cut is held."""

from pathlib import Path
from typing import Literal

import msgspec
from lhotse.utils import compute_num_samples

from espnet_ottc.alignment.formats import item_of
from espnet_ottc.alignment.formats.manifests import fields_of, manifest_lines, object_of
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress


def write_lengths(cuts: Path, out: Path) -> None:
    """Write ESPnet's lengths of a set, in samples, as its cuts have them.

    Args:
        cuts: manifest of the set.
        out: the file.

    Raises:
        ValueError: a cut without recording, or of several channels.
    """
    find = fields_of(_Header)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        progress(title=f"lengths of {cuts.parent.name}", unit="utterance") as bar,
        written_aside(out) as aside,
        aside.open("w", encoding="utf-8") as file,
    ):
        for number, line in manifest_lines(cuts):
            header = find(line)
            if header is None:
                place = f"{cuts}, line {number}"
                cut = item_of(object_of(line, place), place)
                if not cut.num_samples or cut.num_channels != 1:
                    raise ValueError(f"{cut.id}: must have a recording of one channel")
                file.write(f"{cut.id} {cut.num_samples}\n")
            else:
                rate = header.recording.sampling_rate
                file.write(f"{header.id} {compute_num_samples(header.duration, rate)}\n")
            bar.update()


class _Rate(msgspec.Struct):
    sampling_rate: int


class _Header(msgspec.Struct):
    """What says how long a cut of one recording is."""

    id: str
    duration: float
    recording: _Rate
    type: Literal["MonoCut"]
