"""espeak-ng through ctypes: speech with the exact sample at which each word and phone starts.

The library comes with the package `espeakng-loader` (extra `[synth]`; GPL, therefore optional and
imported late).  Structures and constants: `speak_lib.h` of espeak-ng 1.52.

The library is one global machine per process, and what it says depends a little on all it has said
before.  Reproducible speech therefore needs a fresh process for each fixed list of sentences.
"""

import ctypes
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espnet_ottc.utils.extras import MissingExtraError

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_UTF8 = 1
_POSITION_IS_CHARACTERS = 1
_WORD, _PHONEME = 1, 7
_RATE, _PITCH, _PITCH_RANGE, _VOLUME = 1, 3, 4, 2
# Louder, the library's limiter distorts the strongest voices.
_VOLUME_PERCENT = 50
# espeak-ng copies the path of its data into a buffer of 160 characters, with names after it.
_LONGEST_DATA_PATH = 140
# A zero-width space after each word's letters keeps words like "in the" from sharing one event.
_WORD_END = "\u200b"


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _Voice(ctypes.Structure):
    """The first fields of the library's larger structure."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Mark:
    """An event: a word (`symbol` is empty) or a phone starts at `sample`.

    `position` is the character of the text at which the word starts, counted from 1.
    """

    is_word: bool
    sample: int
    position: int
    symbol: str

    @property
    def is_pause(self) -> bool:
        """Whether silence starts here."""
        return self.symbol.startswith("_")


@dataclass(frozen=True)
class Prosody:
    """How to speak: rate in words per minute (100-200 is useful), pitch and its range, 0-99."""

    rate: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True, eq=False)
class Speech:
    """Samples (int16) and half-open spans in samples: (start, end), (phone, start, end)."""

    samples: NDArray[np.int16]
    words: tuple[tuple[int, int], ...]
    phones: tuple[tuple[str, int, int], ...]


class Espeak:
    """The library, loaded and set to one voice.  A context manager; one at a time in a process.

    Args:
        voice: accent and variant as in `en-us+m3`.
        data_path: the directory espeak-ng-data; by default the one of `espeakng-loader`.

    Raises:
        ImportError: `espeakng-loader` is not installed.
        RuntimeError: the library does not start.
        ValueError: there is no such voice.
    """

    def __init__(self, voice: str, data_path: Path | None = None) -> None:
        library, packaged_data = _locate()
        self._short_path: tempfile.TemporaryDirectory[str] | None = None
        self._library: Any = ctypes.CDLL(str(library))
        self._chunks: list[NDArray[np.int16]] = []
        self._marks: list[Mark] = []
        # Kept alive here: C holds nothing but its address.
        self._callback = _Callback(self._receive)
        data = self._shortened(data_path or packaged_data)
        options = _PHONEME_EVENTS | _DONT_EXIT
        self.sampling_rate: int = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, os.fsencode(data), options
        )
        if self.sampling_rate <= 0:
            self._forget_short_path()
            raise RuntimeError(
                f"espeak-ng must start with its data, got error {self.sampling_rate} for {data}"
            )
        self._library.espeak_SetSynthCallback(self._callback)
        try:
            self._set_voice(voice)
        except ValueError:
            self.close()
            raise

    def __enter__(self) -> "Espeak":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the library's memory."""
        self._library.espeak_Terminate()
        self._forget_short_path()

    def speak(self, sentence: str, prosody: Prosody) -> Speech:
        """Speak one sentence.

        Args:
            sentence: words of letters and apostrophes; a comma may follow a word.
            prosody: rate and pitch.

        Raises:
            ValueError: the library's words or phones do not match those of the sentence.
        """
        text, positions = _text_with_marks(sentence)
        self._chunks.clear()
        self._marks.clear()
        for parameter, value in (
            (_RATE, prosody.rate),
            (_PITCH, prosody.pitch),
            (_PITCH_RANGE, prosody.pitch_range),
            (_VOLUME, _VOLUME_PERCENT),
        ):
            self._check(
                self._library.espeak_SetParameter(parameter, value, 0), "set a parameter for"
            )
        encoded = text.encode()
        error = self._library.espeak_Synth(
            encoded, len(encoded) + 1, 0, _POSITION_IS_CHARACTERS, 0, _UTF8, None, None
        )
        self._check(error, "speak")
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        try:
            words, phones = spans_of(self._marks, positions)
        except ValueError as fault:
            raise ValueError(f"{fault} (sentence: {sentence!r})") from None
        if words[-1][1] > len(samples):
            raise ValueError(
                f"the last word must end within {len(samples)} samples, got {words[-1][1]} "
                f"(sentence: {sentence!r})"
            )
        return Speech(samples, words, phones)

    def _set_voice(self, voice: str) -> None:
        error = self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        # None before the first voice was set.
        current = self._library.espeak_GetCurrentVoice().contents.identifier
        identifier = (current or b"no voice").decode()
        _, plus, variant = voice.partition("+")
        # An unknown variant is no error to the library: it speaks on with the plain voice.
        if error or (plus and not identifier.endswith(f"+{variant}")):
            raise ValueError(
                f"espeak-ng has no voice {voice!r}; it would go on with {identifier!r}"
            )

    def _shortened(self, data: Path) -> Path:
        if len(os.fsencode(data)) <= _LONGEST_DATA_PATH:
            return data
        self._short_path = tempfile.TemporaryDirectory(prefix="espeak")
        link = Path(self._short_path.name, "data")
        link.symlink_to(data, target_is_directory=True)
        return link

    def _forget_short_path(self) -> None:
        if self._short_path is not None:
            self._short_path.cleanup()

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _WORD:
                self._marks.append(Mark(True, event.sample, event.text_position, ""))
            elif event.type == _PHONEME:
                symbol = event.id.string.decode()
                self._marks.append(Mark(False, event.sample, event.text_position, symbol))
            index += 1
        return 0

    @staticmethod
    def _check(error: int, action: str) -> None:
        if error:
            raise RuntimeError(f"espeak-ng must {action} a sentence, got error {error}")


def spans_of(
    marks: list[Mark], positions: list[int]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[str, int, int], ...]]:
    """Turn espeak-ng's events into spans of words and phones, in samples.

    A word starts at its own event or, after a pause, with its first phone: the library announces
    the word while it is still silent.  It ends where the next word or a pause starts.  The phones
    of a word tile it.

    Args:
        marks: the events of one sentence, in order.
        positions: where each word starts in the text, in characters from 1.

    Raises:
        ValueError: an event is missing, or a word is silent, interrupted, or of no length.
    """
    found = [mark.position for mark in marks if mark.is_word]
    if found != positions:
        raise ValueError(f"espeak-ng must mark a word at characters {positions}, got {found}")
    words: list[tuple[int, int]] = []
    phones: list[tuple[str, int, int]] = []
    starts = [index for index, mark in enumerate(marks) if mark.is_word]
    for number, (first, last) in enumerate(zip(starts, [*starts[1:], len(marks)], strict=True)):
        inside = marks[first + 1 : last]
        spoken = [mark for mark in inside if not mark.is_pause]
        if not spoken or any(mark.is_pause for mark in inside[: len(spoken)]):
            raise ValueError(f"word {number}: phones without a pause expected, got {inside}")
        after_pause = number == 0 or marks[first - 1].is_pause
        start = spoken[0].sample if after_pause else marks[first].sample
        rest = marks[first + 1 + len(spoken) :]
        if not rest:
            raise ValueError(f"word {number}: a word or a pause must follow it, got the end")
        edges = [start, *(mark.sample for mark in spoken[1:]), rest[0].sample]
        if edges != sorted(edges) or edges[0] == edges[-1]:
            raise ValueError(f"word {number}: its phones must take time in order, got {edges}")
        words.append((start, edges[-1]))
        for mark, left, right in zip(spoken, edges[:-1], edges[1:], strict=True):
            # Linking sounds and released stops may take no time: the library merged them into
            # the phone after them.
            if left < right:
                phones.append((mark.symbol, left, right))
    return tuple(words), tuple(phones)


def _text_with_marks(sentence: str) -> tuple[str, list[int]]:
    """The text to speak and, for each word, its first character's number from 1."""
    spoken: list[str] = []
    positions: list[int] = []
    position = 1
    for token in sentence.split():
        word = token.rstrip(",")
        if not word.replace("'", "").isalpha():
            raise ValueError(f"words must be letters and apostrophes, got {token!r}")
        spoken.append(word + _WORD_END + token[len(word) :])
        positions.append(position)
        position += len(spoken[-1]) + 1
    if not spoken:
        raise ValueError("a sentence must have words, got none")
    return " ".join(spoken) + ".", positions


def _locate() -> tuple[Path, Path]:
    """Paths of the shared library and of its data."""
    try:
        import espeakng_loader
    except ImportError as missing:
        raise MissingExtraError("synthetic speech", "synth", ["espeakng_loader"]) from missing
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
