"""Where somebody speaks, by Silero's detector: models find words in hiss and music too."""

import functools
import itertools
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from espnet_ottc.aligner import audio as sound
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.utils.extras import require_extra

# What the detector takes: Hz, and samples for one probability.
_RATE, _BLOCK = 16_000, 512
# Milliseconds.  Shorter speech is the start of a sound that is none.
_SHORTEST = 100
# Around speech, which has quiet ends.  More of it lets noise become words, less of it costs some.
_MARGIN = 100
# A recording is heard in pieces, side by side; each begins so many seconds early, to get used to the sound:
# the detector takes the first moments of music for speech.  The first begins with itself, mirrored.
_PIECE, _BEFORE = 30.0, 2.0
# Seconds at an end of a recording that are left out where nobody speaks in them, but for those beside speech:
# more before, since a quiet onset is heard late.
LONG_END, KEPT_START, KEPT_END = 3.0, 0.2, 0.1
# Seconds of a pause between words that is left out, and of a word that may cover one.
_PAUSE, _LONG_WORD = 1.0, 1.0
# Seconds of speech that are no breath or click.
_SOMEBODY = 0.3
# Seconds that are heard first at either end, and about what is doubtful.
_LOOK = 10.0


def spoken_frames(
    outputs: FrameOutputs, samples: Tensor, sampling_rate: int, grid: FrameGrid
) -> FrameOutputs:
    """What a model says about the frames in which somebody speaks, or close to it.

    Args:
        outputs: of T frames.
        samples: (N,) that they are of.
        sampling_rate: Hz of the samples.
        grid: where the frames lie.

    Returns:
        The frames that are left, in their order; perhaps none.
    """
    middles = torch.tensor([grid.seconds(t + 0.5) for t in range(len(outputs.log_probs))])
    kept = torch.zeros(len(middles), dtype=torch.bool)
    for start, end in speech_stretches(samples, sampling_rate):
        kept |= (middles >= start) & (middles < end)
    scores = outputs.frame_scores
    return FrameOutputs(outputs.log_probs[kept], None if scores is None else scores[kept])


def speech_stretches(samples: Tensor, sampling_rate: int) -> list[tuple[float, float]]:
    """Where somebody speaks, with a tenth of a second on either side: starts and ends in seconds.

    Args:
        samples: (N,) in [-1, 1], N ≥ 1.
        sampling_rate: Hz.
    """
    if sampling_rate != _RATE:
        samples = torch.from_numpy(sound.resampled(samples.numpy(), sampling_rate, _RATE))
    probabilities = speech_probabilities(samples).tolist()
    from silero_vad import get_speech_timestamps_from_probs

    found = get_speech_timestamps_from_probs(
        probabilities,
        _RATE,
        min_speech_duration_ms=_SHORTEST,
        speech_pad_ms=_MARGIN,
        audio_length_samples=len(samples),
    )
    return [(one["start"] / _RATE, one["end"] / _RATE) for one in found]


def somebody_speaks(samples: Tensor, sampling_rate: int) -> bool:
    """Whether more is said than a breath or a click lasts.

    Args:
        samples: (N,) in [-1, 1], N ≥ 1.
        sampling_rate: Hz.
    """
    least = _SOMEBODY + 2 * _MARGIN / 1000
    return any(end - start >= least for start, end in speech_stretches(samples, sampling_rate))


def spoken_part(samples: Tensor, sampling_rate: int) -> tuple[int, int]:
    """Where a given text can lie: all samples but for long ends, 3 s and more, in which nobody speaks.

    A fifth of a second is kept before speech, a tenth behind.  Where nobody is heard at all, nothing is left
    out.

    Args:
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.

    Returns:
        The first sample, and the one behind the last.
    """
    N, duration = len(samples), len(samples) / sampling_rate
    if duration <= LONG_END:
        return 0, N
    if duration <= _LOOK:
        # Both ends at once.
        found = speech_stretches(samples, sampling_rate)
        before, after = (found[0][0], duration - found[-1][1]) if found else (None, None)
    else:
        before = _seconds_before_speech(samples, sampling_rate, from_end=False)
        after = _seconds_before_speech(samples, sampling_rate, from_end=True)
    if before is None or after is None:
        return 0, N
    first, last = (
        round((end - kept) * sampling_rate) if end > LONG_END else 0
        for end, kept in ((before, KEPT_START), (after, KEPT_END))
    )
    return first, N - last


def misleading_pauses(
    words: Sequence[tuple[float, float]],
    samples: Tensor,
    sampling_rate: int,
    doubtful: Sequence[tuple[float, float]] = (),
) -> list[tuple[int, int]]:
    """Stretches in which nobody speaks, though a word was found there, or words about them are doubtful.

    Little is heard: no more than what lies about words of a second and longer, about pauses of 3 s, and
    about what is doubtful.

    Args:
        words: starts and ends in seconds, in order of time.
        samples: (N,) in [-1, 1].
        sampling_rate: Hz.
        doubtful: starts and ends in seconds where words may be wrong.

    Returns:
        Of each stretch of a second and more the first sample, and the one behind the last; in order of time.
        None where no word reaches into one of them and nothing is doubtful, or where nobody is heard.
    """
    duration = len(samples) / sampling_rate
    steps = [
        (start - _BEFORE, after + _BEFORE)
        for (start, end), (after, _) in itertools.pairwise([*words, (duration, duration)])
        if end - start >= _LONG_WORD or after - start >= LONG_END
    ]
    steps += [(start - _LOOK, end + _LOOK) for start, end in doubtful]
    steps = sorted((max(start, 0.0), min(end, duration)) for start, end in steps)
    pauses: list[tuple[float, float]] = []
    somebody = False
    for begin, end in _joined(steps):
        part = samples[round(begin * sampling_rate) : round(end * sampling_rate)]
        heard = [
            (begin + start, begin + stop) for start, stop in speech_stretches(part, sampling_rate)
        ]
        somebody = somebody or bool(heard)
        for (_, before), (behind, _) in itertools.pairwise([(begin, begin), *heard, (end, end)]):
            first, last = before + KEPT_END, behind - KEPT_START
            if last - first >= _PAUSE:
                pauses.append((first, last))
    covered = any(
        min(stop, last) - max(start, first) > KEPT_START
        for first, last in pauses
        for start, stop in words
    )
    if not somebody or not (covered or doubtful):
        return []
    return [(round(first * sampling_rate), round(last * sampling_rate)) for first, last in pauses]


def _joined(stretches: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that touch are one."""
    found: list[tuple[float, float]] = []
    for start, end in stretches:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _seconds_before_speech(samples: Tensor, sampling_rate: int, *, from_end: bool) -> float | None:
    """How long nobody speaks at one end; None where nobody does at all."""
    # Most recordings begin with speech, and little of them has to be heard.
    N, heard = len(samples), _LOOK
    while True:
        length = min(round(heard * sampling_rate), N)
        part = samples[N - length :] if from_end else samples[:length]
        found = speech_stretches(part, sampling_rate)
        if found:
            return length / sampling_rate - found[-1][1] if from_end else found[0][0]
        if length == N:
            return None
        heard *= 10


@torch.no_grad()
def speech_probabilities(samples: Tensor) -> Tensor:
    """(F,) probabilities of speech in blocks of 512 samples at 16 kHz, the last one filled up with zeros.

    Long recordings are heard in pieces of half a minute side by side, which is many times faster.

    Source: Silero VAD (https://github.com/snakers4/silero-vad).
    """
    detector = _detector()
    F = -(-len(samples) // _BLOCK)
    length, before = (round(seconds * _RATE / _BLOCK) for seconds in (_PIECE, _BEFORE))
    pieces = -(-F // length)
    padded = samples.new_zeros(before + pieces * length, _BLOCK)
    here = before * _BLOCK
    padded.view(-1)[here : here + len(samples)] = samples
    mirrored = samples[:here].flip(0)
    padded.view(-1)[here - len(mirrored) : here] = mirrored
    starts = length * torch.arange(pieces)
    detector.reset_states()  # type: ignore[attr-defined]
    found = [
        detector(padded[starts + block], _RATE)[:, 0] for block in range(before + min(length, F))
    ]
    return torch.stack(found[before:], 1).reshape(-1)[:F]


@functools.cache
def _detector() -> Callable[[Tensor, int], Tensor]:
    """Silero's detector, whose parameters its package brings."""
    require_extra("align", "finding speech", ("silero_vad",))
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # TorchScript is deprecated, and what the package has.
        warnings.simplefilter("ignore", DeprecationWarning)
        from silero_vad import load_silero_vad

        detector: Callable[[Tensor, int], Tensor] = load_silero_vad()
    # Its import sets one for the whole process.
    torch.set_num_threads(threads)
    return detector
