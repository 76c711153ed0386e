"""Transcripts: Kaldi's, and those of NIST's tools, sclite's trn and stm."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats.kaldi import fields_of, numbered_lines, read_text

_TRN = re.compile(r"(?P<words>.*?)\s*\((?P<id>[^()]*)\)\s*$", re.DOTALL)
_LABELS = re.compile(r"<[^>]*>")
_IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


def read_transcripts(path: str | Path, encoding: str | None = None) -> dict[str, list[str]]:
    """Read what was said from Kaldi text; see `read_text`.

    Raises:
        ValueError: as `read_text`; a trn, stm or CTM, whose columns would be taken for words.
        OSError: the file cannot be read.
    """
    path = Path(path)
    texts = read_text(path, encoding)
    refuse_other_kinds(path, texts)
    return texts


def refuse_other_kinds(path: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Refuse what is no Kaldi text but a trn, stm or CTM under another name.

    Args:
        path: it was read from, for messages.
        texts: the first column of each line, and the others.

    Raises:
        ValueError: each line looks like one of these; the error says how to call the file.
    """
    texts = _without_comments(texts)
    # A trn's line may have an id alone.
    ends = (words[-1] if words else name for name, words in texts.items())
    if texts and all(end.startswith("(") and end.endswith(")") for end in ends):
        raise ValueError(
            f"{path}: each line ends with an id in parentheses: a trn of sclite must be called *.trn"
        )
    refuse_columns(path, texts)


def refuse_columns(path: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Refuse what is no Kaldi text but an stm or CTM under another name.

    Args:
        path: it was read from, for messages.
        texts: the first column of each line, and the others.

    Raises:
        ValueError: each line looks like one of these; the error says how to call the file.
    """
    lines = _without_comments(texts).values()
    if not lines:
        return
    if all(_is_stretch(words[2:4]) for words in lines):
        raise ValueError(
            f"{path}: each line has a channel, a speaker and two times behind the id: an stm must be "
            "called *.stm"
        )
    if all(_is_start_and_duration(words[1:3]) and len(words) > 3 for words in lines):
        raise ValueError(
            f"{path}: each line has a channel and two times behind the id: a CTM must be called *.ctm"
        )


def _without_comments(texts: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Without the lines that NIST's files have as comments."""
    return {name: words for name, words in texts.items() if not name.startswith(";;")}


def _is_stretch(columns: Iterable[str]) -> bool:
    try:
        start, end = map(float, columns)
    except ValueError:
        return False
    return 0 <= start < end


def _is_start_and_duration(columns: Sequence[str]) -> bool:
    """Numbers are said, too, but hardly with a point."""
    try:
        start, duration = map(float, columns)
    except ValueError:
        return False
    return start >= 0 and duration >= 0 and "." in "".join(columns)


def read_trn(path: str | Path, encoding: str | None = None) -> dict[str, list[str]]:
    """Read sclite's trn, which ESPnet writes too: a line is words, and then the id in parentheses.

    Of alternatives, `{ a / b }`, the first is read; if the word may be missing (`@`), in parentheses.

    Args:
        path: the file.
        encoding: of the file; None is UTF-8.

    Returns:
        Words by utterance id; one in parentheses may be missing.

    Raises:
        ValueError: a line without an id, an id that repeats, bytes that are not so encoded.
        OSError: the file cannot be read.
    """
    path = Path(path)
    texts: dict[str, list[str]] = {}
    for number, line in numbered_lines(path, encoding):
        if line.startswith(";;"):
            continue
        match = _TRN.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{path}:{number}: a trn's line ends with (id), got {line.strip()!r}")
        name = match["id"].strip()
        if name in texts:
            raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
        texts[name] = first_alternatives(fields_of(match["words"]), f"{path}:{number}")
    return texts


def read_stm(
    path: str | Path, channel: str | None = None, encoding: str | None = None
) -> dict[str, list[str]]:
    """Read NIST's stm: `file channel speaker start end [<labels>] words`; `;;` opens a comment.

    Args:
        path: the file.
        channel: to read; None reads files that have one channel per recording.
        encoding: of the file; None is UTF-8.

    Returns:
        Words by recording, in order of time; one in parentheses may be missing.  Segments that say so are
        left out.

    Raises:
        ValueError: a malformed line, several channels while `channel` is None; it names file and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    segments: dict[str, list[tuple[float, list[str]]]] = {}
    channels: dict[str, str] = {}
    for number, line in numbered_lines(path, encoding):
        if line.lstrip().startswith(";;"):
            continue
        columns = fields_of(line)
        try:
            name, found, start = columns[0], columns[1], float(columns[3])
            float(columns[4])
        except (IndexError, ValueError) as fault:
            raise ValueError(
                f"{path}:{number}: a line of an stm is 'file channel speaker start end words', "
                f"got {line.strip()!r}"
            ) from fault
        words = columns[5:]
        if words and _LABELS.fullmatch(words[0]):
            words = words[1:]
        if channel is not None and found != channel:
            continue
        if channels.setdefault(name, found) != found:
            raise ValueError(
                f"{name}: {path}:{number} has channel {found} beside {channels[name]}; "
                "say which to read"
            )
        if _IGNORED not in map(str.upper, words):
            chosen = first_alternatives(words, f"{path}:{number}")
            segments.setdefault(name, []).append((start, chosen))
    return {
        name: [word for _, words in sorted(found, key=lambda one: one[0]) for word in words]
        for name, found in segments.items()
    }


def first_alternatives(words: list[str], place: str) -> list[str]:
    """Words without alternations: the first alternative, in parentheses if there may be nothing.

    Args:
        words: with braces and slashes as words of their own.
        place: file and line, for messages.

    Raises:
        ValueError: a brace without its other.
    """
    found: list[str] = []
    inside: list[list[str]] | None = None
    for word in words:
        if word == "{" and inside is None:
            inside = [[]]
        elif word == "}" and inside is not None:
            first = next((one for one in inside if one != ["@"]), [])
            found += [f"({one})" for one in first] if ["@"] in inside else first
            inside = None
        elif inside is None:
            found.append(word)
        elif word == "/":
            inside.append([])
        else:
            inside[-1].append(word)
    if inside is not None:
        raise ValueError(f"{place}: a brace of an alternation is never closed")
    return [word for word in found if word != "@"]
