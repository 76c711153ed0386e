"""Synthetic speech with exact word and phone times, reproducible for any number of workers.

A corpus is a list of shards, one for each set and speaker.  What a shard holds depends on the seed
and on the shard alone; each is spoken by a process of its own, since espeak-ng's output depends on
what its process has said before.  The first utterances of a shard do not depend on the hours asked
for.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from lhotse.recipes.timit import get_speakers
from numpy.typing import NDArray

from espnet_ottc.synthesis.espeak import Espeak, Prosody, Speech
from espnet_ottc.synthesis.layout_ami import HEADSETS
from espnet_ottc.synthesis.phones import timit_phones
from espnet_ottc.synthesis.sentences import (
    load_grammar,
    with_hesitations,
    words_of,
)
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance
from espnet_ottc.utils.extras import MissingExtraError
from espnet_ottc.utils.files import data_lines

SAMPLING_RATE = 16000
# Signal-to-noise ratios in dB over the words; the noise floor is what fills the digital silence.
CLEAN_SNR_DB = (25.0, 40.0)
NOISY_SNR_DB = (5.0, 15.0)
# Meetings of each role: as many as there are speakers for, in AMI's official division.
AMI_MEETINGS = {
    "train": ("ES2002a", "ES2005a", "ES2006a", "ES2007a", "ES2008a", "ES2009a"),
    "dev": ("ES2011a",),
    "test": ("ES2004a", "IS1009a"),
}
_HESITATION_RATE = 0.06

# Words per minute.  Each speaker has a rate of his own and strays from it by the latter.
_SPEAKER_RATES = (115, 185)
_RATE_SPREAD = 15
_SPEAKER_PITCHES = (30, 70)
_PITCH_SPREAD = 8
_PITCH_RANGES = (35, 65)
_SILENCE_SECONDS = (0.1, 0.5)
_LEVELS_DB = (-30.0, -20.0)
_LARGEST_SAMPLE = 0.95
# Exponents of the noise's spectrum 1/f^x: from white to pink.
_NOISE_COLOURS = (0.0, 1.0)
_LOWEST_NOISE_HZ = 50.0


@dataclass(frozen=True)
class Voice:
    """A speaker, the espeak-ng voice that speaks for him, and the roles in which he is heard."""

    speaker: Speaker
    espeak_name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class SetPlan:
    """One set of a corpus.

    Attributes:
        name: what the layout calls it, as `train-clean-100`.
        role: "train", "dev" or "test"; sentences belong to one role, voices to one or more.
        session: the middle of the ids, `<speaker>-<session>-<number>`; differs between sets.
        hours: speech to make, silence included; the last utterances of the speakers exceed it.
        snr_db: range of the signal-to-noise ratio.
        speakers: ids of those who are heard; none is everyone who has the role.
        hesitation_rate: of each word, the probability that a hesitation stands before it.
        phone_set: "espeak", espeak-ng's own names, or "timit", with closures.
    """

    name: str
    role: str
    session: int
    hours: float
    snr_db: tuple[float, float] = CLEAN_SNR_DB
    speakers: tuple[str, ...] = ()
    hesitation_rate: float = 0.0
    phone_set: str = "espeak"


@dataclass(frozen=True)
class Shard:
    """What one speaker says in one set: the unit of work, and of reproducibility."""

    set_name: str
    role: str
    snr_db: tuple[float, float]
    seconds: float
    voice: Voice
    session: int
    seed: int
    hesitation_rate: float
    phone_set: str


def load_voices() -> tuple[Voice, ...]:
    """The voices that come with the package."""
    voices = []
    for line in data_lines(__package__, "voices.txt"):
        speaker_id, sex, name, roles = line.split()
        speaker = Speaker(speaker_id, sex, f"espeak-ng {name}")
        voices.append(Voice(speaker, name, tuple(roles.split(","))))
    return tuple(voices)


def librispeech_plan(
    hours: float, dev_hours: float, test_hours: float, test_other_hours: float = 0.0
) -> tuple[SetPlan, ...]:
    """Sets named as in LibriSpeech; one of zero hours is left out."""
    plan = (
        SetPlan("train-clean-100", "train", 1, hours),
        SetPlan("dev-clean", "dev", 2, dev_hours),
        SetPlan("test-clean", "test", 3, test_hours),
        SetPlan("test-other", "test", 4, test_other_hours, NOISY_SNR_DB),
    )
    return tuple(item for item in plan if item.hours > 0)


def folder_plan(
    hours: float, dev_hours: float, test_hours: float, test_other_hours: float = 0.0
) -> tuple[SetPlan, ...]:
    """Sets named `train`, `dev` and `test`; one of zero hours is left out.

    Raises:
        ValueError: hours of a noisy test set, for which the division has no part.
    """
    if test_other_hours:
        raise ValueError(f"a folder has no noisy test set, got {test_other_hours} hours of it")
    amounts = zip(("train", "dev", "test"), (hours, dev_hours, test_hours), strict=True)
    plan = [SetPlan(role, role, number, amount) for number, (role, amount) in enumerate(amounts, 1)]
    return tuple(item for item in plan if item.hours > 0)


def ami_plan(
    hours: float, dev_hours: float, test_hours: float, test_other_hours: float = 0.0
) -> tuple[SetPlan, ...]:
    """A set for each headset of each meeting; a role of zero hours is left out.

    Four speakers a meeting; as many meetings of a role as it has speakers for.

    Raises:
        ValueError: hours of a noisy test set, which AMI does not have.
    """
    if test_other_hours:
        raise ValueError(f"AMI has no noisy test set, got {test_other_hours} hours of it")
    voices = load_voices()
    plan: list[SetPlan] = []
    for (role, meetings), amount in zip(
        AMI_MEETINGS.items(), (hours, dev_hours, test_hours), strict=True
    ):
        names = [voice.speaker.id for voice in voices if role in voice.roles]
        for place, (meeting, number) in enumerate(product(meetings, range(HEADSETS))):
            plan.append(
                SetPlan(
                    name=f"{meeting}.Headset-{number}",
                    role=role,
                    session=len(plan),
                    hours=amount / (len(meetings) * HEADSETS),
                    speakers=(names[place],),
                    hesitation_rate=_HESITATION_RATE,
                )
            )
    return tuple(item for item in plan if item.hours > 0)


def timit_plan(
    hours: float, dev_hours: float, test_hours: float, test_other_hours: float = 0.0
) -> tuple[SetPlan, ...]:
    """A set for each speaker, `<TRAIN or TEST>/DR<n>/<SPEAKER>`; a role of zero hours is left out.

    In development and core test, speakers have the names of those of the same sex in TIMIT.

    Raises:
        ValueError: hours of a noisy test set, which TIMIT does not have.
    """
    if test_other_hours:
        raise ValueError(f"TIMIT has no noisy test set, got {test_other_hours} hours of it")
    voices = load_voices()
    development, test = get_speakers()
    plan: list[SetPlan] = []
    for role, amount, official in (
        ("train", hours, None),
        ("dev", dev_hours, development),
        ("test", test_hours, test),
    ):
        heard = [voice.speaker for voice in voices if role in voice.roles]
        use = "TRAIN" if official is None else "TEST"
        names = map(_timit_name, heard) if official is None else _namesakes(heard, official)
        for place, (speaker, name) in enumerate(zip(heard, names, strict=True)):
            plan.append(
                SetPlan(
                    name=f"{use}/DR{place % 8 + 1}/{name}",
                    role=role,
                    session=len(plan),
                    hours=amount / len(heard),
                    speakers=(speaker.id,),
                    phone_set="timit",
                )
            )
    return tuple(item for item in plan if item.hours > 0)


def _timit_name(speaker: Speaker) -> str:
    """Sex, three letters made of the digits of the id, and a number, as `MAAB0`."""
    letters = "".join("ABCDEFGHIJ"[int(digit)] for digit in speaker.id[-3:])
    return f"{speaker.sex}{letters}0"


def _namesakes(speakers: Sequence[Speaker], official: Sequence[str]) -> list[str]:
    """For each speaker the next official name of the same sex, which is a name's first letter."""
    free = {sex: iter([name for name in official if name.upper()[0] == sex]) for sex in "FM"}
    return [next(free[speaker.sex]).upper() for speaker in speakers]


def shards_of(plan: tuple[SetPlan, ...], seed: int) -> tuple[Shard, ...]:
    """Divide a corpus into its shards.

    Raises:
        ValueError: hours are not positive, sets share a session, or a role has no voices.
    """
    if len({item.session for item in plan}) < len(plan):
        raise ValueError(f"sets must have sessions of their own, got {plan}")
    voices = load_voices()
    shards = []
    for item in plan:
        if not item.hours > 0:
            raise ValueError(f"set {item.name}: hours must be positive, got {item.hours}")
        heard = [
            voice
            for voice in voices
            if item.role in voice.roles and (not item.speakers or voice.speaker.id in item.speakers)
        ]
        if not heard or len(heard) < len(item.speakers):
            who = ", ".join(item.speakers) or "no voice"
            raise ValueError(f"set {item.name}: {who} must have the role {item.role!r}")
        seconds = item.hours * 3600 / len(heard)
        shards += [
            Shard(
                set_name=item.name,
                role=item.role,
                snr_db=item.snr_db,
                seconds=seconds,
                voice=voice,
                session=item.session,
                seed=seed,
                hesitation_rate=item.hesitation_rate,
                phone_set=item.phone_set,
            )
            for voice in heard
        ]
    return tuple(shards)


def synthesise(shard: Shard) -> Iterator[Utterance]:
    """Speak one shard; reproducible where espeak-ng has said nothing before in this process.

    Raises:
        ImportError: `espeakng-loader` or `soxr` (both in the extra `[synth]`) is not installed.
    """
    speaker = shard.voice.speaker
    draw = random.Random(f"{shard.seed} {shard.set_name} {speaker.id}")
    grammar = load_grammar()
    # Drawn from the speaker alone: a voice keeps its manner in every set and for every seed.
    manner = random.Random(speaker.id)
    rate = manner.randint(*_SPEAKER_RATES)
    pitch = manner.randint(*_SPEAKER_PITCHES)
    spoken = 0.0
    number = 0
    with Espeak(shard.voice.espeak_name) as espeak:
        while number == 0 or spoken < shard.seconds:
            sentence = grammar.sentence(draw, shard.role)
            if shard.hesitation_rate:
                sentence = with_hesitations(sentence, draw, shard.hesitation_rate)
            prosody = Prosody(
                rate=rate + draw.randint(-_RATE_SPREAD, _RATE_SPREAD),
                pitch=pitch + draw.randint(-_PITCH_SPREAD, _PITCH_SPREAD),
                pitch_range=draw.randint(*_PITCH_RANGES),
            )
            name = f"{speaker.id}-{shard.session}-{number:04d}"
            try:
                speech = espeak.speak(sentence, prosody)
            except ValueError as fault:
                raise ValueError(f"{name}: {fault}") from None
            samples, lead = _record(speech, espeak.sampling_rate, shard.snr_db, draw)
            utterance = Utterance(
                id=name,
                speaker=speaker,
                samples=samples,
                sampling_rate=SAMPLING_RATE,
                text=" ".join(words_of(sentence)).upper(),
                words=tuple(
                    _timed(word.upper(), span, espeak.sampling_rate, lead)
                    for word, span in zip(words_of(sentence), speech.words, strict=True)
                ),
                phones=tuple(
                    _timed(phone, (start, end), espeak.sampling_rate, lead)
                    for phone, start, end in _phones(speech, espeak.sampling_rate, shard.phone_set)
                ),
            )
            spoken += utterance.duration
            number += 1
            yield utterance


def _phones(speech: Speech, sampling_rate: int, phone_set: str) -> Iterable[tuple[str, int, int]]:
    if phone_set == "timit":
        return timit_phones(speech.samples, speech.phones, sampling_rate)
    return speech.phones


def _timed(symbol: str, span: tuple[int, int], sampling_rate: int, lead: float) -> TimedSymbol:
    start, end = span
    return TimedSymbol(symbol, lead + start / sampling_rate, lead + end / sampling_rate)


def _record(
    speech: Speech, sampling_rate: int, snr_db: tuple[float, float], draw: random.Random
) -> tuple[NDArray[np.float32], float]:
    """The speech as a microphone would give it: silence round it, a level, a noise floor.

    Returns:
        Samples at `SAMPLING_RATE`, and the seconds of silence put before the speech.
    """
    try:
        import soxr
    except ImportError as missing:
        raise MissingExtraError("synthetic speech", "synth", ["soxr"]) from missing
    lead, tail = (round(draw.uniform(*_SILENCE_SECONDS) * SAMPLING_RATE) for _ in range(2))
    voiced = np.concatenate([speech.samples[start:end] for start, end in speech.words])
    loudness = float(np.sqrt(np.mean(voiced.astype(np.float64) ** 2)))
    level = 10 ** (draw.uniform(*_LEVELS_DB) / 20)
    noise_level = level / 10 ** (draw.uniform(*snr_db) / 20)
    # soxr's filters have linear phase and their delay is taken off: times stay what they were.
    clean = soxr.resample(speech.samples / loudness, sampling_rate, SAMPLING_RATE)
    samples = np.pad(clean * level, (lead, tail))
    samples += noise_level * _noise(len(samples), draw)
    samples *= min(1.0, _LARGEST_SAMPLE / float(np.abs(samples).max()))
    return samples.astype(np.float32), lead / SAMPLING_RATE


def _noise(length: int, draw: random.Random) -> NDArray[np.float64]:
    """Stationary noise of unit power, between white and pink."""
    generator = np.random.default_rng(draw.getrandbits(64))
    # A power of two: of other lengths the transform takes most of the time of a corpus.
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(generator.standard_normal(size))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLING_RATE), _LOWEST_NOISE_HZ)
    shaped = np.fft.irfft(spectrum / frequencies ** (draw.uniform(*_NOISE_COLOURS) / 2), size)
    noise: NDArray[np.float64] = shaped[:length] / np.sqrt(np.mean(shaped**2))
    return noise
