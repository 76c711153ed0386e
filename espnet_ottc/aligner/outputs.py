"""Files of an alignment, by format: what goes to which file."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from espnet_ottc.aligner.result import AlignedUtterance, AlignedWord
from espnet_ottc.aligner.texts import OUTPUT_MARK
from espnet_ottc.alignment.formats import fit_textgrid, write_ctm, write_textgrid
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.files import written_aside

SCHEMA = 1
# Of file systems, in bytes.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of a file of one utterance, with its dot.
        write: writes one utterance.
        collected: name of the file that has all utterances, where --out is given; None: one each.
        write_all: writes that file.
    """

    suffix: str
    write: Callable[[AlignedUtterance, Path], None]
    collected: str | None = None
    write_all: Callable[[Iterable[AlignedUtterance], Path], None] | None = None


def write_json(found: AlignedUtterance, path: Path, key: str | None = None) -> None:
    """Everything that is known of an utterance; `key` tells a later run what it was made from."""
    content: dict[str, Any] = {"schema": SCHEMA, **asdict(found)}
    if key is not None:
        content["key"] = key
    with written_aside(path) as aside:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        aside.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> tuple[AlignedUtterance, str | None]:
    """What `write_json` wrote, and its key.

    Raises:
        ValueError: another schema, or no such file of this package.
        OSError: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            raise ValueError(f"must have schema {SCHEMA}")
        key = content.pop("key", None)
        content["words"] = [AlignedWord(**word) for word in content["words"]]
        content["tokens"] = [Span(**token) for token in content["tokens"]]
        return AlignedUtterance(**content), key
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no alignment of this version: {error}") from error


def _textgrid(found: AlignedUtterance, path: Path) -> None:
    tiers = {"words": found.spans, "tokens": found.tokens}
    fitted = {name: fit_textgrid(spans, found.duration) for name, spans in tiers.items()}
    write_textgrid(path, fitted, found.duration)


def _ctm(found: AlignedUtterance, path: Path) -> None:
    write_ctm(path, {found.id: found.spans})


def _all_ctm(found: Iterable[AlignedUtterance], path: Path) -> None:
    write_ctm(path, {one.id: one.spans for one in found})


FORMATS = {
    "json": Format(".json", write_json),
    "textgrid": Format(".TextGrid", _textgrid),
    "ctm": Format(".ctm", _ctm, "words.ctm", _all_ctm),
}
DEFAULT_FORMATS = ("textgrid", "ctm", "json")


def place(found_id: str, source: Path | None, out: Path | None) -> Path:
    """Path of an utterance's files, to which a format's suffix is added.

    Args:
        found_id: the utterance's id; `/` in it makes folders.
        source: the recording's file.
        out: folder of the run; None: beside the recording, with `.aligned` in the name.

    Raises:
        ValueError: neither a folder nor a file of the recording.
    """
    parts = [_file_name(part) for part in found_id.split("/")]
    if out is not None:
        return out.joinpath(*parts)
    if source is None:
        raise ValueError(
            f"{found_id}: --out is needed, since there is no file beside which to write"
        )
    return source.parent / (parts[-1] + OUTPUT_MARK)


def with_suffix(stem: Path, suffix: str) -> Path:
    """The file of a format; dots in the name stay."""
    return stem.with_name(stem.name + suffix)


def _file_name(part: str) -> str:
    """A part of an id as a name of a file: `.`, `..` and control characters are written as %XX."""
    if part.strip(".") == "":
        part = "".join(f"%{ord(c):02X}" for c in part) or "%"
    part = "".join(quote(c) if ord(c) < 32 or c == "\\" else c for c in part)
    raw = part.encode("utf-8")
    if len(raw) <= _LONGEST_NAME:
        return part
    import hashlib

    digest = hashlib.sha256(raw).hexdigest()[:12]
    return raw[: _LONGEST_NAME - 13].decode("utf-8", "ignore") + "-" + digest


def write_each(
    found: AlignedUtterance, formats: Sequence[str], stem: Path, key: str, alone: bool
) -> None:
    """The files of one utterance; its JSON last, since that says that it is done.

    Args:
        found: the utterance.
        formats: keys of `FORMATS`.
        stem: as `place` gives it.
        key: what it was made from.
        alone: whether no collected files are going to be written.
    """
    for name in formats:
        form = FORMATS[name]
        if name != "json" and (alone or form.collected is None):
            form.write(found, with_suffix(stem, form.suffix))
    write_json(found, with_suffix(stem, FORMATS["json"].suffix), key)


def write_collected(
    formats: Sequence[str], out: Path, found: Callable[[], Iterable[AlignedUtterance]]
) -> list[Path]:
    """The files that have all utterances; `found` goes through them anew for each."""
    written = []
    for name in formats:
        form = FORMATS[name]
        if form.collected is not None and form.write_all is not None:
            form.write_all(found(), out / form.collected)
            written.append(out / form.collected)
    return written
