"""Recordings as they reach people: compressed, from a telephone, or quiet."""

from dataclasses import replace
from pathlib import Path

import soundfile
import soxr

from espnet_ottc.aligner import Aligner
from espnet_ottc.aligner.utterance import Recording, Utterance

_TELEPHONE = 8000  # Hz
# Of each kind the file's ending, its format, subtype and compression (0 least, 1 most) of libsndfile.
_FORMATS = {
    "MP3": ("mp3", "MP3", "MPEG_LAYER_III", 0.5),
    "Opus": ("ogg", "OGG", "OPUS", 0.9),
    "telephone": ("wav", "WAV", "PCM_16", None),
    "quiet": ("flac", "FLAC", "PCM_16", None),
}
COPIES = tuple(_FORMATS)
_QUIET = -30  # decibels


def copy_of(utterance: Utterance, aligner: Aligner, kind: str, folder: Path) -> Utterance:
    """An utterance whose sound is a copy of its own, in a file of its own.

    Args:
        utterance: any.
        aligner: reads it, at its model's rate.
        kind: of `COPIES`.
        folder: for the file.
    """
    samples, rate = aligner.samples(utterance).numpy(), aligner.sampling_rate
    if kind == "telephone":
        samples, rate = soxr.resample(samples, rate, _TELEPHONE), _TELEPHONE
    elif kind == "quiet":
        samples = samples * 10 ** (_QUIET / 20)
    ending, form, subtype, compression = _FORMATS[kind]
    path = folder / f"{len(list(folder.iterdir()))}.{ending}"
    soundfile.write(
        path, samples, rate, format=form, subtype=subtype, compression_level=compression
    )
    recording = Recording(utterance.recording.id, path)
    return replace(utterance, recording=recording, channel="mix", start=0.0, end=None)
