"""An alignment as JSON, by the schema in `alignment.schema.json` (docs/reference/outputs.md)."""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object

FORMAT = "espnet-ottc alignment"
# Rises by one when a reader of the old version would misread the new one; new keys alone do not raise it.
VERSION = 1
_DECIMALS = 6


def write_alignment(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write the utterances of one recording as JSON.

    Args:
        path: the file.
        utterances: of one recording, at least one.
    """
    write_json(path, alignment_values(utterances))


def alignment_values(utterances: Sequence[AlignedUtterance]) -> dict[str, Any]:
    """The utterances of one recording as JSON values; times are seconds on the recording.

    Args:
        utterances: at least one.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "recording": utterances[0].recording,
        "source": next((one.source for one in utterances if one.source), None),
        "utterances": [_utterance(one) for one in utterances],
    }


def is_alignment(path: Path) -> bool:
    """Whether a file says that it is what `write_alignment` writes.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return read_json_object(path).get("format") == FORMAT
    except ValueError:
        return False


def read_alignment(path: str | Path) -> list[AlignedUtterance]:
    """Read a file that `write_alignment` wrote.

    Raises:
        ValueError: another file, a later version, or missing keys; it names the file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        values = read_json_object(path)
        if values["format"] != FORMAT:
            raise ValueError(f"`format` must be {FORMAT!r}, got {values['format']!r}")
        if values["version"] > VERSION:
            raise ValueError(f"version {values['version']} is later than {VERSION}")
        return [_read(one, values) for one in values["utterances"]]
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as fault:
        raise ValueError(f"{path}: cannot read an alignment: {fault!r}") from fault


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of these files."""
    text = (files(__package__) / "templates" / "alignment.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _seconds(value: float) -> float:
    return round(max(value, 0.0), _DECIMALS)


def _utterance(one: AlignedUtterance) -> dict[str, Any]:
    return {
        "id": one.id,
        "start": _seconds(one.offset),
        "end": _seconds(one.offset + one.duration),
        "channel": one.channel,
        "speaker": one.speaker,
        "text": one.text,
        "status": one.status,
        "confidence": _probability(one.confidence),
        "recognised": one.recognised,
        "search": one.search,
        "model": one.model,
        "words": [_word(word, one.offset) for word in one.words],
        "gaps": [
            {"start": _seconds(gap.start + one.offset), "end": _seconds(gap.end + one.offset)}
            for gap in one.gaps
        ],
    }


def _word(word: AlignedWord, shift: float) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": _seconds(word.start + shift),
        "end": _seconds(word.end + shift),
        "start_interval": _interval(word.start_interval, shift),
        "end_interval": _interval(word.end_interval, shift),
        "confidence": _probability(word.confidence),
        "status": word.status,
        "spoken": word.spoken,
        "sentence": word.sentence,
        "space_after": not word.glued,
        "tokens": [
            {
                "token": token.symbol,
                "start": _seconds(token.start + shift),
                "end": _seconds(token.end + shift),
                "score": _probability(token.score),
            }
            for token in word.tokens
        ],
    }


def _interval(values: Sequence[float] | None, shift: float) -> list[float] | None:
    return None if values is None else [_seconds(value + shift) for value in values]


def _probability(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _read(values: dict[str, Any], file: dict[str, Any]) -> AlignedUtterance:
    shift = float(values["start"])

    def span(symbol: str, one: dict[str, Any], score: float | None = None) -> Span:
        return Span(symbol, _seconds(one["start"] - shift), _seconds(one["end"] - shift), score)

    def interval(ends: Sequence[float] | None) -> tuple[float, float] | None:
        if ends is None:
            return None
        low, high = ends
        return _seconds(low - shift), _seconds(high - shift)

    words = []
    for one in values["words"]:
        place = span(one["text"], one)
        word = AlignedWord(
            one["text"], place.start, place.end, one["confidence"], one["status"], one["spoken"]
        )
        tokens = tuple(span(token["token"], token, token["score"]) for token in one["tokens"])
        words.append(
            replace(
                word,
                tokens=tokens,
                sentence=one["sentence"],
                glued=not one["space_after"],
                start_interval=interval(one.get("start_interval")),
                end_interval=interval(one.get("end_interval")),
            )
        )
    return AlignedUtterance(
        id=values["id"],
        recording=file["recording"],
        offset=shift,
        duration=_seconds(values["end"] - shift),
        words=tuple(words),
        confidence=values["confidence"],
        status=values["status"],
        channel=values["channel"],
        speaker=values["speaker"],
        gaps=tuple(span("<gap>", gap) for gap in values["gaps"]),
        recognised=values["recognised"],
        search=values["search"],
        model=values["model"],
        source=file["source"],
    )
