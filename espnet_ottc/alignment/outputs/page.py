"""A page that plays a recording and lights up its words: one HTML file without anything beside it."""

import base64
import html
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord, Summary
from espnet_ottc.alignment.outputs.captions import joined
from espnet_ottc.alignment.sound_files import AudioError, open_sound
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import written_aside

# What browsers play as it is; other audio becomes FLAC.
_PLAYABLE = {
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".webm": "audio/webm",
}


def write_page(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write a page that plays the recording: words light up when they are said, and are heard by a click.

    The audio is inside the file.  Words are coloured by status; speech without text is shown where it is.

    Args:
        path: the file.
        utterances: of one recording; the `source` of one names its file.

    Raises:
        ValueError: no utterance names an audio file, or it cannot be read.
        OSError: a file cannot be read or written.
        ImportError: soundfile is not installed.
    """
    audio = next((one.source for one in utterances if one.source), "")
    if not audio:
        raise ValueError(f"{utterances[0].recording}: a page needs the recording's file")
    folder = files(__package__) / "templates"
    template = Template((folder / "page.html").read_text(encoding="utf-8"))
    times: list[tuple[float, float]] = []
    body = "\n".join(_utterance(one, times) for one in utterances)
    text = template.substitute(
        title=html.escape(utterances[0].recording),
        summary=html.escape(Summary.of(utterances).as_text()),
        audio=_data_address(Path(audio)),
        body=body,
        times=json.dumps([[round(start, 3), round(end, 3)] for start, end in times]),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
    )
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="replace")


def _utterance(one: AlignedUtterance, times: list[tuple[float, float]]) -> str:
    """One utterance as HTML; the times of its words are added to those of the page."""

    def word_html(word: AlignedWord) -> str:
        number = len(times)
        times.append((word.start + one.offset, word.end + one.offset))
        sure = "" if word.confidence is None else f", {100 * word.confidence:.0f} %"
        title = f"{word.start + one.offset:.2f} s, {word.status}{sure}"
        kind = word.status.replace(" ", "-")
        return (
            f'<span class="word {kind}" data-n="{number}" role="button" tabindex="0" '
            f'title="{title}">{html.escape(word.text)}</span>'
        )

    sentences = "".join(
        f'<p dir="auto">{joined(words, word_html)}</p>' for words in one.sentences()
    )
    gaps = "".join(
        f"<li>{gap.start + one.offset:.2f} to {gap.end + one.offset:.2f} s: speech without text</li>"
        for gap in one.gaps
    )
    speaker = f"{html.escape(one.speaker)}, " if one.speaker else ""
    sure = "" if one.confidence is None else f", {100 * one.confidence:.0f} %"
    heading = (
        f"{speaker}{html.escape(one.id)} <small>{one.offset:.2f} s, {one.status}{sure}</small>"
    )
    listed = f"<ul>{gaps}</ul>" if gaps else ""
    return f"<section><h2>{heading}</h2>{sentences}{listed}</section>"


def _data_address(path: Path) -> str:
    """The audio as a `data:` address."""
    kind = _PLAYABLE.get(path.suffix.lower())
    if kind is not None:
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    require_extra("align", "a page of audio in another format", ("soundfile",))
    import soundfile

    packed = io.BytesIO()
    try:
        stream = open_sound(path)
        rate, channels = stream.info.rate, stream.info.channels
        with soundfile.SoundFile(packed, "w", rate, channels, "PCM_16", format="FLAC") as file:
            for block in stream.blocks(0.0):
                file.write(block)
    except (AudioError, soundfile.LibsndfileError) as fault:
        raise ValueError(
            f"{path}: browsers do not play it, and it cannot be read: {fault}"
        ) from fault
    return f"data:audio/flac;base64,{base64.b64encode(packed.getvalue()).decode()}"
