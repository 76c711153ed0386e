"""Subtitles: words in lines that can be read, written by pysubs2."""

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.utils.escapes import escaped
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import written_aside


@dataclass(frozen=True)
class CaptionRules:
    """What makes subtitles readable (the values are those of broadcasters' guidelines).

    Attributes:
        line: the most characters of a line; one of a script without spaces counts twice.
        lines: the most lines.
        longest: the most seconds that a subtitle lasts.
        shortest: the least seconds that it is shown, where the next one leaves room.
        pause: seconds of silence after which a new one begins.
    """

    line: int = 42
    lines: int = 2
    longest: float = 7.0
    shortest: float = 1.0
    pause: float = 1.0


@dataclass(frozen=True)
class Caption:
    """One subtitle: its words, with times on the recording in seconds."""

    words: tuple[AlignedWord, ...]
    start: float
    end: float
    shift: float


def captions_of(
    utterances: Sequence[AlignedUtterance], rules: CaptionRules | None = None
) -> list[Caption]:
    """The words of a recording in subtitles.

    One ends with a sentence, at a pause, and before it grows too long; then at the last comma, if that is in
    its second half.

    Args:
        utterances: of one recording, in order of time.
        rules: None takes the defaults.
    """
    rules = rules or CaptionRules()
    found = [
        Caption(tuple(group), group[0].start + one.offset, group[-1].end + one.offset, one.offset)
        for one in utterances
        for sentence in one.sentences()
        for group in _groups(list(sentence), rules)
    ]
    found.sort(key=lambda caption: caption.start)
    shown = []
    for place, caption in enumerate(found):
        free = found[place + 1].start if place + 1 < len(found) else float("inf")
        end = max(caption.end, min(caption.start + rules.shortest, free))
        shown.append(Caption(caption.words, caption.start, end, caption.shift))
    return shown


def _groups(words: list[AlignedWord], rules: CaptionRules) -> Iterator[list[AlignedWord]]:
    while words:
        count = 1
        while count < len(words) and _fits(words[: count + 1], rules):
            count += 1
        if count < len(words) and not _pauses(words[count - 1], words[count], rules):
            commas = [k + 1 for k in range(count) if words[k].text[-1:] in ",;:،、，"]
            if commas and commas[-1] * 2 >= count:
                count = commas[-1]
        yield words[:count]
        words = words[count:]


def _pauses(left: AlignedWord, right: AlignedWord, rules: CaptionRules) -> bool:
    return right.start - left.end >= rules.pause


def _fits(words: Sequence[AlignedWord], rules: CaptionRules) -> bool:
    return (
        words[-1].end - words[0].start <= rules.longest
        and not _pauses(words[-2], words[-1], rules)
        and len(_lines(words, rules.line)) <= rules.lines
    )


def _lines(words: Sequence[AlignedWord], width: int) -> list[list[AlignedWord]]:
    """Words in lines of at most this many characters; a longer word has a line of its own."""
    lines: list[list[AlignedWord]] = [[]]
    used = 0
    for word in words:
        size = sum(1 if ord(one) < 0x1100 else 2 for one in word.text)
        if lines[-1] and used + size > width:
            lines.append([])
            used = 0
        lines[-1].append(word)
        used += size + (not word.glued)
    return lines


def _balanced(words: Sequence[AlignedWord], rules: CaptionRules) -> list[list[AlignedWord]]:
    """Lines of about the same length, as few as can be."""
    fewest = len(_lines(words, rules.line))
    width = next(
        w for w in range(1, rules.line + 1) if len(_lines(words, w)) <= fewest or w == rules.line
    )
    return _lines(words, width)


def joined(words: Sequence[AlignedWord], form: Callable[[AlignedWord], str]) -> str:
    """Words as the text had them, with spaces where it had some.

    Args:
        words: in order.
        form: how one is written.
    """
    pieces = [form(word) + ("" if word.glued else " ") for word in words]
    return "".join(pieces).rstrip(" ")


def write_srt(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write SubRip subtitles.

    Args:
        path: the file.
        utterances: of one recording.
    """
    _write(path, utterances, "srt", _srt_word)


def write_vtt(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write WebVTT subtitles.

    Args:
        path: the file.
        utterances: of one recording.
    """
    _write(path, utterances, "vtt", lambda word: html.escape(_substation_word(word), quote=False))


def write_ass(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write Advanced SubStation subtitles whose words light up one after the other.

    Args:
        path: the file.
        utterances: of one recording.
    """
    _write(path, utterances, "ass", None)


def _write(
    path: Path,
    utterances: Sequence[AlignedUtterance],
    kind: str,
    form: Callable[[AlignedWord], str] | None,
) -> None:
    require_extra("align", "subtitles", ("pysubs2",))
    import pysubs2

    rules = CaptionRules()
    file: Any = pysubs2.SSAFile()
    for caption in captions_of(utterances, rules):
        lines = _balanced(caption.words, rules)
        shown = [joined(line, form) for line in lines] if form else [_karaoke(caption, lines)]
        text = "\\N".join(shown)
        start, end = (round(1000 * seconds) for seconds in (caption.start, caption.end))
        file.append(pysubs2.SSAEvent(start=start, end=max(end, start + 1), text=text))
    with written_aside(path) as aside:
        file.save(str(aside), encoding="utf-8", format_=kind)


def _karaoke(caption: Caption, lines: Sequence[Sequence[AlignedWord]]) -> str:
    """The words with `\\k` tags: hundredths of a second from one word's start to the next one's."""
    now = round(100 * caption.start)
    text = ""
    for number, line in enumerate(lines):
        text += "\\N" if number else ""
        for word in line:
            start, end = (round(100 * (one + caption.shift)) for one in (word.start, word.end))
            if start > now:
                text += f"{{\\k{start - now}}}"
            text += f"{{\\k{max(end - max(start, now), 0)}}}{_substation_word(word)}"
            text += "" if word.glued else " "
            now = max(end, start, now)
        text = text.rstrip(" ")
    return text


def _substation_word(word: AlignedWord) -> str:
    # Braces open tags, and a backslash commands, in the form that pysubs2 takes all subtitles in.
    return _shown(word.text, "{}\\")


def _srt_word(word: AlignedWord) -> str:
    # Players take `<i` for a tag.
    return _shown(word.text, "{}\\<")


def _shown(text: str, unfit: str) -> str:
    # A percent sign that stands alone, as in "50 %", is read by people here.
    if text == "%":
        return text
    return escaped(text, lambda one: one in unfit or (not one.isprintable() and ord(one) < 0xA0))
