"""Sound from any file that an installed decoder reads, at the rate that a model wants.

A recording is decoded block by block (`espnet_ottc.alignment.sound_files`), so that memory holds its samples
once, at the model's rate, whatever the file has.
"""

import numpy as np

from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.sound_files import (
    AudioError,
    AudioInfo,
    Samples,
    cut_off,
    first_line,
    is_cut_off,
    open_sound,
)
from espnet_ottc.utils.extras import require_extra

NAMED_CHANNELS = {"left": 1, "right": 2}


def channel_of(name: str | int) -> str | int:
    """`mix`, or the number of a channel, counted from 1.

    Args:
        name: the same, or `left`, `right`.

    Raises:
        ValueError: another one.
    """
    number = NAMED_CHANNELS.get(str(name), name)
    if number == "mix":
        return number
    if not str(number).isdigit() or int(number) < 1:
        raise ValueError(
            f"the channel must be mix, {', '.join(NAMED_CHANNELS)} or a number from 1, got {name!r}"
        )
    return int(number)


def load(utterance: Utterance, rate: int) -> Samples:
    """The samples of an utterance.

    Args:
        utterance: whose recording is a file or a cut.
        rate: Hz of the result.

    Returns:
        (N,) in [-1, 1].

    Raises:
        AudioError: no decoder reads it, it is damaged, it has no such channel or ends before the utterance,
            samples are no numbers.
    """
    samples = _load_cut if utterance.recording.cut is not None else _load_file
    found = samples(utterance, rate)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise AudioError(
            f"its samples must be numbers: {len(bad)} are NaN or infinite, the first at "
            f"{utterance.start + int(bad[0]) / rate:.2f} s"
        )
    return found


def _load_file(utterance: Utterance, rate: int) -> Samples:
    recording = utterance.recording
    assert recording.path is not None
    stream = open_sound(recording.path)
    info, end = stream.info, utterance.end
    if end is not None and end <= utterance.start:
        raise AudioError(f"the utterance must end after its start, got [{utterance.start}, {end})")
    wanted = None if end is None else round((end - utterance.start) * info.rate)
    resampler = _Resampler(info.rate, rate)
    seen = 0
    for block in stream.blocks(utterance.start):
        taken = block if wanted is None else block[: wanted - seen]
        resampler.add(mixed(taken, utterance.channel))
        seen += len(taken)
        if wanted is not None and seen >= wanted:
            break
    if not seen:
        where = f"from {utterance.start} s on " if utterance.start else ""
        raise AudioError(f"there is no sound {where}in it")
    _check_whole(stream.info, utterance, seen)
    return resampler.finish()


def resampled(samples: Samples, source: int, target: int) -> Samples:
    """(N,) samples at another rate, by soxr."""
    resampler = _Resampler(source, target)
    resampler.add(samples)
    return resampler.finish()


def mixed(block: Samples, channel: str | int) -> Samples:
    """(N,) of (N, C): the mean of all channels, or one of them, counted from 1.

    Raises:
        AudioError: there is no such channel.
    """
    if channel == "mix":
        return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    number = int(channel)
    if not 1 <= number <= block.shape[1]:
        raise AudioError(f"there is no channel {channel}: it has {block.shape[1]}")
    return block[:, number - 1]


def _check_whole(info: AudioInfo, utterance: Utterance, seen: int) -> None:
    """Refuse a file that ends before its header says, by more than decoders' rounding."""
    if utterance.end is not None:
        announced = utterance.end
    elif info.duration is not None and info.exact:
        announced = info.duration
    else:
        return
    found = seen / info.rate
    if is_cut_off(found, announced - utterance.start):
        raise cut_off(utterance.start + found, announced)


def _load_cut(utterance: Utterance, rate: int) -> Samples:
    recording = utterance.recording
    cut = recording.cut
    assert cut is not None
    try:
        if utterance.start or utterance.end is not None:
            length = None if utterance.end is None else utterance.end - utterance.start
            cut = cut.truncate(offset=utterance.start, duration=length)
        audio = np.atleast_2d(cut.load_audio())
    except Exception as error:  # Lhotse's decoders raise what they like
        raise AudioError(f"Lhotse cannot load the cut: {first_line(error)}") from error
    samples = np.ascontiguousarray(mixed(audio.T, utterance.channel), dtype=np.float32)
    # As files are, not by Lhotse's own.
    return resampled(samples, cut.sampling_rate, rate)


class _Resampler:
    """Collects blocks at one rate and gives them at another."""

    def __init__(self, source: int, target: int) -> None:
        self._stream = None
        if source != target:
            require_extra("align", "sound at another rate than the model's", ("soxr",))
            import soxr

            self._stream = soxr.ResampleStream(source, target, 1, dtype="float32")
        self._samples = np.zeros(0, dtype=np.float32)
        self._count = 0

    def add(self, block: Samples, last: bool = False) -> None:
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block), last=last)
        needed = self._count + len(block)
        if needed > len(self._samples):
            # In place, where the system can: an hour is not held twice.
            self._samples.resize(max(needed, len(self._samples) * 5 // 4), refcheck=False)
        self._samples[self._count : needed] = block
        self._count = needed

    def finish(self) -> Samples:
        if self._stream is not None:
            self.add(np.zeros(0, dtype=np.float32), last=True)
        self._samples.resize(self._count, refcheck=False)
        return self._samples
