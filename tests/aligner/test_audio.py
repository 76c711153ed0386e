"""Sound of every format, rate and number of channels; and what is said of files that hold none."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from letters_model import RATE as LETTERS_RATE
from letters_model import LettersModel

from espnet_ottc.aligner import Aligner
from espnet_ottc.aligner.aligner import AlignerOptions
from espnet_ottc.aligner.audio import channel_of, load
from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.alignment import sound_files
from espnet_ottc.alignment.sound_files import AudioError, probe

RATE = 16000


def _tone(rate: int, seconds: float = 2.0, pitch: float = 440.0) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * pitch * time) * (time >= 1.0)).astype(np.float32)


def _load(path: Path, **options: object) -> np.ndarray:
    return load(Utterance("u", Recording("r", path), **options), RATE)  # type: ignore[arg-type]


def _film(path: Path, codec: str, sound: float, pictures: float, rate: int = 8000) -> None:
    """Noise in a file of video, each lasting its seconds."""
    av = pytest.importorskip("av")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, round(rate * sound)))
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4" if path.suffix == ".mkv" else "libvpx", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        for number in range(round(25 * pictures)):
            picture = av.VideoFrame.from_ndarray(np.zeros((96, 64), dtype=np.uint8), "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


def _encode(path: Path, codec: str, samples: np.ndarray, rate: int) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 1024
        )
        # What the encoder puts before the first sample has a negative time.
        frame.pts, frame.time_base = 0, Fraction(1, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", None, 8000),
        ("a.flac", None, 44100),
        ("a.ogg", None, 48000),
        ("a.mp3", None, 22050),
        ("a.m4a", "aac", 44100),
        ("a.mp4", "aac", 48000),
        ("a.webm", "libopus", 48000),
    ],
)
def test_every_format_and_rate_gives_the_sound_at_its_time(
    tmp_path: Path, name: str, codec: str | None, rate: int
) -> None:
    path = tmp_path / name
    if codec is None:
        soundfile.write(path, _tone(rate), rate)
    else:
        _encode(path, codec, _tone(rate), rate)
    assert probe(path).channels == 1
    found = _load(path)
    assert len(found) == pytest.approx(2 * RATE, abs=0.06 * RATE)
    loud = np.abs(found) > 0.2
    assert np.argmax(loud) == pytest.approx(RATE, abs=0.01 * RATE)
    steady = found[int(1.2 * RATE) : int(1.8 * RATE)]
    crossings = np.sum(np.diff(np.signbit(steady)))
    assert crossings / 0.6 / 2 == pytest.approx(440, abs=5)


def test_a_part_of_a_recording_is_that_part_by_every_decoder(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    path = tmp_path / "a.flac"
    soundfile.write(path, samples, RATE, subtype="PCM_24")
    for opened in (sound_files._soundfile(path), sound_files._av(path)):
        blocks = np.concatenate(list(opened.blocks(0.25)))[:, 0]
        np.testing.assert_allclose(blocks, samples[RATE // 4 :], atol=1e-4)
    np.testing.assert_allclose(_load(path, start=0.25, end=0.5), samples[4000:8000], atol=1e-4)


@pytest.mark.parametrize(
    ("channel", "expected"), [("mix", 0.2), ("left", 0.5), ("right", -0.1), (1, 0.5), (2, -0.1)]
)
def test_channels_are_mixed_or_chosen(tmp_path: Path, channel: str | int, expected: float) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile([0.5, -0.1], (RATE, 1)), RATE)
    np.testing.assert_allclose(_load(path, channel=channel_of(channel)), expected, atol=1e-3)


@pytest.mark.parametrize("channel", ["both", "0", -1, 1.5, ""])
def test_no_channel_is_refused_by_the_rule(channel: str | int) -> None:
    with pytest.raises(ValueError, match="must be mix, left, right or a number from 1"):
        channel_of(channel)


@pytest.mark.parametrize(("channel", "number"), [("right", 2), ("2", 2), (1, 1), ("mix", 1)])
def test_results_have_the_number_of_the_channel(channel: str | int, number: int) -> None:
    model = LettersModel()
    aligner = Aligner(model, AlignerOptions(vad=False))  # type: ignore[arg-type]
    samples = np.full((2, LETTERS_RATE), 0.2, dtype=np.float32)
    found = aligner.align(samples, "a", sampling_rate=LETTERS_RATE, channel=channel)
    assert found.channel_number == number


@pytest.mark.parametrize("shape", [(LETTERS_RATE, 2), (LETTERS_RATE, 1), (1, 2, LETTERS_RATE)])
def test_samples_whose_channels_do_not_come_first_are_refused(shape: tuple[int, ...]) -> None:
    aligner = Aligner(LettersModel(), AlignerOptions(vad=False))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"channels first .* got \(\d+, "):
        aligner.align(np.zeros(shape), "a", sampling_rate=LETTERS_RATE)


def test_the_parts_of_an_aligner_take_arrays_as_they_take_tensors() -> None:
    aligner = Aligner(LettersModel(), AlignerOptions(vad=False))  # type: ignore[arg-type]
    samples = np.random.default_rng(0).normal(0, 0.1, LETTERS_RATE)
    tensor = torch.from_numpy(samples).float()
    found, expected = aligner.outputs(samples), aligner.outputs(tensor)
    torch.testing.assert_close(found.log_probs, expected.log_probs)
    assert aligner.words_of(samples, "a").words == aligner.words_of(tensor, "a").words
    with pytest.raises(ValueError, match=r"one channel, \(N,\), got \(1, "):
        aligner.outputs(samples[None])


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 2)), RATE)
    with pytest.raises(AudioError, match="no channel 3: it has 2"):
        _load(tmp_path / "a.wav", channel=3)


def test_files_without_sound_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("This is a text.")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "packed.sph").write_bytes(
        b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(
            2048, b"\0"
        )
    )
    for name, reason in [
        ("text.wav", "it is a text file, no sound"),
        ("empty.wav", "the file is empty"),
        ("noise.wav", "it holds no sound that a decoder reads"),
        ("noise.mp3", "it holds no sound that a decoder reads"),
        ("packed.sph", "sph2pipe"),
        ("absent.wav", "there is no such file"),
        (".", "it is not a file"),
    ]:
        with pytest.raises(AudioError, match=reason) as found:
            _load(tmp_path / name)
        assert "\n" not in str(found.value)
        assert "does not exist" not in str(found.value)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"damaged|cut off"):
        _load(path)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "FLOAT"), ("W64", "PCM_16")),
        *(("AIFF", "PCM_16"), ("AU", "PCM_16"), ("NIST", "PCM_16"), ("WAV", "IMA_ADPCM")),
    ],
)
def test_sound_that_ends_before_its_header_says_is_cut_off(
    tmp_path: Path, format: str, subtype: str
) -> None:
    path = tmp_path / "a.sound"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2))
    soundfile.write(path, samples, RATE, format=format, subtype=subtype)
    assert probe(path).duration == pytest.approx(4.0, abs=0.1)
    assert len(_load(path)) == pytest.approx(4 * RATE, abs=0.1 * RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"cut off: (1\.9|2\.0)\d s could be read, (3\.9|4\.0)"):
        _load(path)
    assert len(_load(path, start=0.5, end=1.0)) == RATE // 2


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_header_of_a_stream_announces_no_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _tone(RATE), RATE)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(_load(path)) == 2 * RATE


# Matroska says how long a stream is in a tag, which some programs leave out.
@pytest.mark.parametrize("tag", [b"DURATION", b"XURATION"])
@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.mkv", "aac", 8000), ("a.webm", "libopus", 48000)]
)
def test_a_video_may_be_longer_than_its_sound_but_not_cut_off(
    tmp_path: Path, name: str, codec: str, rate: int, tag: bytes
) -> None:
    path = tmp_path / name
    _film(path, codec, sound=2.0, pictures=3.0, rate=rate)
    content = path.read_bytes().replace(b"DURATION", tag)
    path.write_bytes(content)
    assert len(_load(path)) == pytest.approx(2 * RATE, abs=0.15 * RATE)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut off"):
        _load(path)


@pytest.mark.parametrize(
    "stream", ["", '"duration": "2.0", ', '"tags": {"DURATION": "00:00:01.5"},']
)
def test_ffmpeg_takes_only_a_duration_of_the_sound_itself_for_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    known = PROGRAM.replace('"channels"', f'{stream} "channels"').replace("N/A", "3.0")
    known = known.replace("[{", '[{"codec_type": "video"}, {')
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text(known.replace("FAILED", "0"))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    info = sound_files._ffmpeg(tmp_path / "a.mkv").info
    seconds = 2.0 if "2.0" in stream else 1.5 if "1.5" in stream else 3.0
    assert (info.duration, info.exact) == (seconds, seconds == 2.0)


def test_an_utterance_beyond_the_recording_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"no sound from 2\.0 s on"):
        _load(tmp_path / "a.wav", start=2.0)
    with pytest.raises(AudioError, match=r"cut off: 1\.00 s could be read, 3\.00 s were announced"):
        _load(tmp_path / "a.wav", end=3.0)


# What ffprobe and ffmpeg answer: a stream without a known length, and more complaints than a pipe holds.
PROGRAM = """#!/bin/sh
case "$0" in
*ffprobe) echo '{"streams": [{"codec_type": "audio", "sample_rate": "16000", "channels": 1}],'
   echo '"format": {"duration": "N/A"}}';;
*) yes 'a broken frame' | head -c 200000 >&2
   head -c 64000 /dev/zero
   exit FAILED;;
esac
"""


@pytest.mark.parametrize("status", [0, 1])
def test_ffmpeg_may_complain_at_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text(PROGRAM.replace("FAILED", str(status)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    opened = sound_files._ffmpeg(tmp_path / "a.amr")
    assert (opened.info.rate, opened.info.duration) == (RATE, None)
    blocks = opened.blocks(0.0)
    assert len(next(blocks)) == 16000
    if status:
        with pytest.raises(AudioError, match="it is damaged: a broken frame"):
            next(blocks)
    else:
        assert list(blocks) == []


def test_without_other_decoders_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_files, "_DECODERS", sound_files._DECODERS[:1])
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + b"\0" * 100)
    with pytest.raises(AudioError, match=r"install PyAV \(pip install av\), torchcodec or ffmpeg"):
        _load(tmp_path / "a.m4a")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [RATE, 8000])
def test_samples_that_are_no_numbers_are_said_with_their_place(
    tmp_path: Path, bad: float, rate: int
) -> None:
    samples = _tone(rate)
    samples[rate // 2] = bad
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"samples must be numbers: .* the first at 0\.[45]\d s"):
        _load(tmp_path / "a.wav")
