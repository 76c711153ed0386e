"""The page that plays a recording, in a real browser."""

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.alignment.outputs import write_outputs
from espnet_ottc.alignment.spans import Span

WORDS = ["One", "<two>", "“three”", "שלום"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page's test needs playwright")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = os.environ.get("CHROME", next(filter(None, found), None))
    if path is None:
        pytest.skip("the page's test needs a browser: chromium, or CHROME=path")
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=options)
        yield started
        started.close()


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    audio = tmp_path / "talk.wav"
    soundfile.write(audio, 0.1 * np.sin(np.arange(16000 * 6) / 9), 16000)
    words = tuple(
        AlignedWord(text, 1.0 * place, 1.0 * place + 0.9, 0.8, "not found" if place == 3 else "ok")
        for place, text in enumerate(WORDS)
    )
    gap = (Span("<gap>", 4.5, 5.0),)
    one = AlignedUtterance(
        "talk </script>", "talk", 0.5, 5.5, words, 0.8, gaps=gap, source=str(audio)
    )
    (path,) = write_outputs(tmp_path / "out", [one], ["page"])
    audio.unlink()  # the page has it inside
    return path


def test_a_page_is_one_file_that_asks_the_network_for_nothing(page_file: Path) -> None:
    content = page_file.read_text(encoding="utf-8")
    assert "http" not in content
    assert "data:audio/flac;base64," in content
    assert "&lt;two&gt;" in content
    assert list(page_file.parent.iterdir()) == [page_file]


def test_a_click_plays_a_word_and_words_light_up_as_they_are_said(
    browser: Any, page_file: Path
) -> None:
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(page_file.as_uri())
    words = page.locator(".word")
    assert words.all_inner_texts() == WORDS
    page.wait_for_function("document.querySelector('audio').readyState >= 2")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(6, abs=0.05)
    words.nth(2).click()
    page.wait_for_function("document.querySelectorAll('.word')[2].classList.contains('said')")
    assert 2.5 <= page.evaluate("document.querySelector('audio').currentTime") < 3.5
    page.wait_for_function("document.querySelectorAll('.word')[3].classList.contains('said')")
    assert page.locator(".word.said").count() == 1
    page.evaluate("document.querySelector('audio').pause()")
    words.nth(0).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.word')[0].classList.contains('said')")
    assert "not-found" in (words.nth(3).get_attribute("class") or "")
    assert page.locator("li").inner_text() == "5.00 to 5.50 s: speech without text"
    assert faults == []
    page.close()


@pytest.mark.parametrize("suffix", ["mov", "aiff"])
def test_sound_of_a_kind_that_browsers_do_not_play_becomes_flac(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"talk.{suffix}"
    samples = 0.1 * np.sin(np.arange(16000) / 9).astype(np.float32)
    if suffix == "aiff":
        soundfile.write(path, samples, 16000)
    else:
        av = pytest.importorskip("av", reason="a video is made by PyAV")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    one = AlignedUtterance("talk", "talk", 0.0, 1.0, (), 0.8, source=str(path))
    (page,) = write_outputs(tmp_path / "out", [one], ["page"])
    packed = page.read_text(encoding="utf-8").split("data:audio/flac;base64,")[1].split('"')[0]
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(packed)))
    assert rate == 16000
    assert len(heard) == pytest.approx(16000, abs=1100)  # an encoder's last frame is padded
    assert np.abs(heard).max() == pytest.approx(0.1, abs=0.02)
