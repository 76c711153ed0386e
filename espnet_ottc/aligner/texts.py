"""Texts of recordings: beside the audio, in a folder, in one file; whole or with times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.alignment.formats import (
    WORD_TIER,
    read_tiers,
    read_trn,
    refuse_columns,
    spans_of_tier,
    tiers_called,
)
from espnet_ottc.alignment.formats.kaldi import numbered_lines, plain_text
from espnet_ottc.alignment.spans import in_order
from espnet_ottc.utils.extras import require_extra

# In the order in which they are looked for.
PLAIN = (".txt", ".lab")
SUBTITLES = (".srt", ".vtt", ".ass", ".ssa")
GRIDS = (".TextGrid", ".textgrid")
SUFFIXES = (*PLAIN, *SUBTITLES, *GRIDS)


@dataclass(frozen=True)
class Passage:
    """A piece of text.

    Attributes:
        text: as it was written.
        start: seconds on the recording.
        end: seconds; None: to the recording's end.
    """

    text: str
    start: float = 0.0
    end: float | None = None


def text_beside(audio: Path, folder: Path | None = None) -> Path | None:
    """The file of a recording's text: `x.txt`, `x.wav.txt`, ... beside `x.wav`; None where there is none.

    Args:
        audio: the recording.
        folder: where to look; None: beside the recording.
    """
    place = audio.parent if folder is None else folder
    for suffix in SUFFIXES:
        for name in (audio.stem + suffix, audio.name + suffix):
            path = place / name
            # A link that leads nowhere is a text that cannot be read, not one that is not meant.
            if path != audio and (path.is_file() or path.is_symlink()):
                return path
    return None


def read_passages(path: Path, tier: str | None = None) -> list[Passage]:
    """The text in a file: one passage for the whole recording, or several with times.

    Args:
        path: plain text; subtitles; or a TextGrid, of which a tier `words` is one passage, and otherwise
            every interval of the tiers is one.
        tier: of a TextGrid, the one to take; its intervals are passages, those of `words` one together.

    Raises:
        ValueError: a file that is not what its name says, no such tier; it names the file.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() in SUBTITLES:
        return _subtitles(path)
    if has_times(path):
        return _grid(path, tier)
    return [Passage(" ".join(plain_text(path).split()))]


def has_times(path: Path) -> bool:
    """Whether a file is of a kind that says when its text is said, going by its name."""
    return path.suffix.lower() in (*SUBTITLES, GRIDS[0].lower())


def keyed_texts(path: Path, ids: Iterable[str]) -> dict[str, str] | None:
    """Texts by id of a file in Kaldi's form (an id and its words on each line); None if it is not one.

    It is one if the first column names one of the utterances or recordings.  A `*.trn` of sclite has its ids
    at the ends of lines.

    Args:
        path: of the file.
        ids: of utterances and recordings.

    Raises:
        ValueError: an id that repeats, bytes that are not UTF-8, an stm, a CTM, a trn that is not called so.
        OSError: the file cannot be read.
    """
    known = set(ids)
    if path.suffix.lower() == ".trn":
        return {name: " ".join(words) for name, words in read_trn(path).items()}
    if path.suffix.lower() == ".stm":
        raise ValueError(
            f"{path}: an stm is not read as a text; give its segments and texts as a Kaldi data directory"
        )
    rows = [line.strip() for _, line in numbered_lines(path)]
    pairs = [_split(row, known) for row in rows]
    if not any(name in known for name, _ in pairs):
        ends = (row.rpartition("(") for row in rows)
        if any(mark and end.endswith(")") and end[:-1] in known for _, mark, end in ends):
            raise ValueError(f"{path}: lines end with an id in parentheses: call it *.trn")
        return None
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name in texts:
            raise ValueError(f"{name}: each id must stand once; {path} repeats it")
        texts[name] = text
    refuse_columns(path, {name: text.split() for name, text in texts.items()})
    return texts


def _split(row: str, known: set[str]) -> tuple[str, str]:
    """Id and text; an id with spaces is found, or set apart by a tab."""
    if "\t" in row:
        name, _, text = row.partition("\t")
        return name.strip(), text.strip()
    name, *rest = row.split(maxsplit=1)
    if name not in known:
        words = row.split(" ")
        for count in range(len(words), 1, -1):
            longer = " ".join(words[:count])
            if longer in known:
                return longer, " ".join(words[count:])
    return name, rest[0] if rest else ""


def _subtitles(path: Path) -> list[Passage]:
    require_extra("align", f"{path.name}", ("pysubs2",))
    import pysubs2

    try:
        lines = pysubs2.SSAFile.from_string(plain_text(path))
    except pysubs2.exceptions.Pysubs2Error as error:
        raise ValueError(f"{path}: cannot be read as subtitles: {error}") from error
    found = [
        Passage(" ".join(line.plaintext.split()), line.start / 1000, line.end / 1000)
        for line in lines
        if not line.is_comment and line.plaintext.strip()
    ]
    if not found:
        raise ValueError(f"{path}: must hold subtitles with text, got none")
    return found


def _grid(path: Path, tier: str | None) -> list[Passage]:
    tiers = [one for one in read_tiers(path) if not one.points]
    spoken = tiers_called(WORD_TIER, tiers) if tier in (None, WORD_TIER) else []
    if spoken:
        spans = in_order([span for one in spoken for span in spans_of_tier(one)])
        return [Passage(" ".join(" ".join(span.symbol.split()) for span in spans))]
    names = [one.name for one in tiers]
    if tier is not None and tier not in names:
        raise ValueError(f"{path}: there is no tier {tier!r}; there are {', '.join(names)}")
    found = [
        Passage(" ".join(span.symbol.split()), span.start, span.end)
        for one in tiers
        if tier in (None, one.name)
        for span in spans_of_tier(one)
    ]
    return _in_order(found, path)


def _in_order(passages: Sequence[Passage], path: Path) -> list[Passage]:
    if not passages:
        raise ValueError(f"{path}: must hold text, got none")
    return sorted(passages, key=lambda one: one.start)
