"""Files of sound, by any decoder that is installed, block by block.

Decoders are tried in this order: soundfile (WAV, FLAC, MP3, Ogg, Opus, SPHERE, ...), PyAV, torchcodec, and
the program ffmpeg (M4A, MP4, WebM and other video).
"""

import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from espnet_ottc.alignment.sound_headers import share_that_is_there

Samples = npt.NDArray[np.float32]

# Names of files that hold sound, for folders.
SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *(
            "wav",
            "flac",
            "mp3",
            "ogg",
            "oga",
            "opus",
            "m4a",
            "aac",
            "mp4",
            "m4v",
            "mov",
            "mkv",
            "webm",
        ),
        *(
            "avi",
            "wma",
            "aif",
            "aiff",
            "aifc",
            "au",
            "caf",
            "w64",
            "rf64",
            "sph",
            "nist",
            "amr",
            "3gp",
        ),
        *("mka", "mpg", "mpeg", "ts", "flv", "wv", "mp2"),
    )
)
_BLOCK = 1 << 16
# Seconds that an encoder puts around the sound, which some containers count: AAC at 8 kHz has most.
_PADDING = 0.3
_ABSENT = "File does not exist"
_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)$")
_INSTALL = "install PyAV (pip install av), torchcodec or ffmpeg for more formats"


class AudioError(ValueError):
    """Sound that cannot be read; the text says why, in one line, without the file's name."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds.

    Attributes:
        rate: Hz.
        channels: their number.
        duration: seconds; None where the file does not say.
        exact: whether so much has to be decoded; not so of what counts an encoder's padding or a video.
    """

    rate: int
    channels: int
    duration: float | None
    exact: bool = True


@dataclass(frozen=True)
class SoundStream:
    """A file that is open for decoding.

    Attributes:
        info: what it holds.
        blocks: gives its samples, (n, channels) in [-1, 1] each, from a time in seconds on.
    """

    info: AudioInfo
    blocks: Callable[[float], Iterator[Samples]]


def is_cut_off(found: float, announced: float) -> bool:
    """Whether seconds of sound are fewer than were announced, by more than decoders' rounding."""
    return announced - found > max(0.1, 0.002 * announced)


def cut_off(found: float, announced: float) -> AudioError:
    """The fault of a file that ends before its header says."""
    return AudioError(
        f"it is cut off: {found:.2f} s could be read, {announced:.2f} s were announced"
    )


def probe(path: Path) -> AudioInfo:
    """What a file holds, without decoding it.

    Raises:
        AudioError: no installed decoder reads it.
    """
    return open_sound(path).info


def open_sound(path: Path) -> SoundStream:
    """A file by the first decoder that reads it.

    Raises:
        AudioError: no installed decoder reads it; it says which are missing.
    """
    if not path.is_file():
        if path.exists():
            raise AudioError("it is not a file")
        raise AudioError(
            f"it is a link to {path.readlink()}, which is not there"
            if path.is_symlink()
            else "there is no such file"
        )
    if path.stat().st_size == 0:
        raise AudioError("the file is empty")
    said, available = [], []
    for name, needed, opener in _DECODERS:
        if not needed():
            continue
        available.append(name)
        try:
            return opener(path)
        except Exception as error:  # each decoder has its own
            reason = first_line(error)
            # libsndfile says so of what is there, too.
            if _ABSENT not in reason:
                said.append(f"{name}: {reason}")
    if not available:
        raise AudioError("nothing that decodes sound is installed: pip install soundfile av")
    if _is_text(path):
        raise AudioError("it is a text file, no sound")
    reasons = f" ({'; '.join(said)})" if said else ""
    raise AudioError(f"it holds no sound that a decoder reads{reasons}" + _advice(path, available))


def _advice(path: Path, available: list[str]) -> str:
    if _is_shorten(path):
        return "; SPHERE packed by shorten is read by none: convert it, sph2pipe -f wav IN OUT"
    return "" if len(available) > 1 else f"; {_INSTALL}"


def _is_text(path: Path) -> bool:
    """Whether a file that is no sound at all holds text."""
    with path.open("rb") as file:
        start = file.read(512)
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character that 512 bytes cut in two is no fault.
        return b"\0" not in start and error.start > len(start) - 4
    return b"\0" not in start


def _is_shorten(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(1024)
    return header.startswith(b"NIST_1A") and b"shorten" in header


def first_line(error: BaseException) -> str:
    """What a decoder says, shortened."""
    # libsndfile begins with words of its own.
    lines = str(error).removeprefix("Error : ").strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _soundfile(path: Path) -> SoundStream:
    import soundfile

    with soundfile.SoundFile(path) as file:
        # libsndfile counts the samples that are there.
        seconds = file.frames / file.samplerate / share_that_is_there(path)
        info = AudioInfo(file.samplerate, file.channels, seconds)

    def blocks(start: float) -> Iterator[Samples]:
        try:
            with soundfile.SoundFile(path) as file:
                first = round(start * file.samplerate)
                if first >= file.frames:
                    return
                file.seek(first)
                while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                    yield block
        except soundfile.LibsndfileError as error:
            raise AudioError(f"it is damaged: {first_line(error)}") from error

    return SoundStream(info, blocks)


def _av(path: Path) -> SoundStream:
    import av

    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise AudioError("it has no sound")
        stream = container.streams.audio[0]
        if not stream.rate:
            raise AudioError("it has no sound that can be decoded")
        exact = stream.duration is not None and stream.time_base is not None
        duration = (
            float(stream.duration * stream.time_base)
            if exact
            else _tagged_duration(stream.metadata)
        )
        tagged = not exact and duration is not None
        if duration is None and container.duration is not None:
            duration = container.duration / av.time_base
        info = AudioInfo(stream.rate, stream.channels, duration, exact)

    def blocks(start: float) -> Iterator[Samples]:
        # No seeking: where a compressed stream lands is not exact.
        left_out = round(start * info.rate)
        for block in _av_blocks(path, info, tagged):
            if left_out < len(block):
                yield block[left_out:]
            left_out = max(left_out - len(block), 0)

    return SoundStream(info, blocks)


def _av_blocks(path: Path, info: AudioInfo, tagged: bool) -> Iterator[Samples]:
    """The samples; `tagged` where the duration is that of the stream, not of the whole file."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp")
        begun = False
        left_out = 0
        end = 0.0
        try:
            for frame, packets_end in _av_frames(container, sound_alone=tagged):
                end = max(end, packets_end)
                if frame is None:
                    continue
                if not begun and frame.time is not None:
                    # What an encoder puts before the start is no sound; a video's sound may begin later.
                    late = frame.time - max((container.start_time or 0) / av.time_base, 0.0)
                    left_out = max(round(-late * info.rate), 0)
                    if late > 0:
                        yield np.zeros((round(late * info.rate), info.channels), dtype=np.float32)
                begun = True
                for part in resampler.resample(frame):
                    block = np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32)
                    if left_out < len(block):
                        yield block[left_out:]
                    left_out = max(left_out - len(block), 0)
        except av.FFmpegError as error:
            raise AudioError(f"it is damaged: {first_line(error)}") from error
    # Sound may end before a video, but the last packet of all ends with the file.
    if info.exact or info.duration is None:
        return
    if is_cut_off(end + _PADDING, info.duration):
        raise cut_off(end, info.duration)


def _av_frames(container: Any, sound_alone: bool) -> Iterator[tuple[Any, float]]:
    """Frames of sound, None for other packets, and the seconds at which their packet ends."""
    sound = container.streams.audio[0]
    for packet in container.demux(*([sound] if sound_alone else [])):
        end = 0.0
        if packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        yield None, end
        if packet.stream.index == sound.index:
            yield from ((frame, end) for frame in packet.decode())


def _tagged_duration(tags: Mapping[str, str]) -> float | None:
    """Seconds of a stream of Matroska, which stand in a tag, as 00:01:02.345; None without it."""
    for name, value in tags.items():
        if name.upper().partition("-")[0] == "DURATION" and (match := _CLOCK.match(value)):
            hours, minutes, seconds = map(float, match.groups())
            return 3600 * hours + 60 * minutes + seconds
    return None


def _torchcodec(path: Path) -> SoundStream:
    from torchcodec.decoders import AudioDecoder

    metadata = AudioDecoder(str(path)).metadata
    info = AudioInfo(
        int(metadata.sample_rate),
        int(metadata.num_channels),
        metadata.duration_seconds,
        # Without one of the stream it is the whole file's.
        exact=metadata.duration_seconds_from_header is not None,
    )

    def blocks(start: float) -> Iterator[Samples]:
        decoder = AudioDecoder(str(path))
        step = _BLOCK / info.rate
        end = start
        while info.duration is None or end < info.duration:
            try:
                found = decoder.get_samples_played_in_range(end, end + step)
            except (RuntimeError, ValueError) as error:
                if info.duration is None:
                    return
                raise AudioError(f"it is damaged: {first_line(error)}") from error
            if not found.data.shape[1]:
                return
            yield np.ascontiguousarray(found.data.numpy().T, dtype=np.float32)
            end += step

    return SoundStream(info, blocks)


def _ffmpeg(path: Path) -> SoundStream:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries"]
    shown = "stream=codec_type,sample_rate,channels,duration:stream_tags:format=duration"
    command += [shown, _plain(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise AudioError(answer.stderr.strip() or "ffprobe fails")
    content: dict[str, Any] = json.loads(answer.stdout)
    streams = content.get("streams", [])
    stream = next((one for one in streams if one["codec_type"] == "audio"), None)
    if stream is None:
        raise AudioError("it has no sound")
    duration = _seconds(stream)
    exact = duration is not None
    if duration is None:
        duration = _tagged_duration(stream.get("tags", {}))
    if duration is None:
        duration = _seconds(content.get("format", {}))
    channels = int(stream["channels"])
    info = AudioInfo(int(stream["sample_rate"]), channels, duration, exact)

    def blocks(start: float) -> Iterator[Samples]:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-ss", str(start), "-i", _plain(path)]
        command += ["-map", "a:0", "-f", "f32le", "-"]
        # What it says goes to a file: a pipe that nobody reads yet would stop it when full.
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
        ):
            assert process.stdout is not None
            while found := process.stdout.read(_BLOCK * channels * 4):
                yield np.frombuffer(found, dtype="<f4").reshape(-1, channels).astype(np.float32)
            if process.wait():
                said.seek(0)
                fault = said.read(1000).decode(errors="replace").strip() or "ffmpeg fails"
                raise AudioError(f"it is damaged: {fault.splitlines()[0]}")

    return SoundStream(info, blocks)


def _seconds(entry: Mapping[str, str]) -> float | None:
    """The duration in an answer of ffprobe."""
    said = entry.get("duration", "N/A")
    return None if said == "N/A" else float(said)


def _plain(path: Path) -> str:
    # ffmpeg takes a name that begins with a word and a colon for a protocol.
    return f"file:{path}"


def _importable(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _runnable() -> bool:
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


_DECODERS: tuple[tuple[str, Callable[[], bool], Callable[[Path], SoundStream]], ...] = (
    ("soundfile", _importable("soundfile"), _soundfile),
    ("PyAV", _importable("av"), _av),
    ("torchcodec", _importable("torchcodec"), _torchcodec),
    ("ffmpeg", _runnable, _ffmpeg),
)
