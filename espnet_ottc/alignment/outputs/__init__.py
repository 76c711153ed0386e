"""The files in which a user gets an alignment: one kind of file for each format, by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from espnet_ottc.alignment.aligned import AlignedUtterance
from espnet_ottc.alignment.outputs.json_file import read_alignment
from espnet_ottc.utils.escapes import file_for

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Format", "check_name", "read_alignment", "write_outputs"]

Write = Callable[[Path, Sequence[AlignedUtterance]], None]


@dataclass(frozen=True)
class Format:
    """A format of output.

    Attributes:
        suffix: of its files.
        what: it is, for a command's help.
        module: that writes it.
        function: of that module: takes a path and the utterances of one recording.
    """

    suffix: str
    what: str
    module: str
    function: str

    @property
    def write(self) -> Write:
        """The writer; its libraries are imported when it is called."""
        found: Write = getattr(import_module(f"{__name__}.{self.module}"), self.function)
        return found


FORMATS: Mapping[str, Format] = {
    "textgrid": Format(".TextGrid", "Praat's TextGrid: words, tokens", "annotations", "write_grid"),
    "ctm": Format(".ctm", "NIST's time-marked words", "annotations", "write_words_ctm"),
    "srt": Format(".srt", "subtitles", "captions", "write_srt"),
    "vtt": Format(".vtt", "WebVTT subtitles", "captions", "write_vtt"),
    "ass": Format(
        ".ass", "subtitles that light up word by word (karaoke)", "captions", "write_ass"
    ),
    "json": Format(".json", "everything, by a documented schema", "json_file", "write_alignment"),
    "lhotse": Format(".jsonl.gz", "Lhotse supervisions", "annotations", "write_manifest"),
    "audacity": Format(".labels.txt", "Audacity's labels", "annotations", "write_labels"),
    "elan": Format(".eaf", "ELAN's annotations", "annotations", "write_eaf"),
    "page": Format(".html", "a page that plays and shows the words", "page", "write_page"),
}
DEFAULT_FORMATS = ("textgrid", "ctm", "srt", "json")


def check_name(name: str, formats: Iterable[str]) -> None:
    """Refuse a name that is too long for the files of some formats.

    Args:
        name: of the files without suffix, an id.
        formats: keys of `FORMATS`.

    Raises:
        ValueError: it is too long.
    """
    for one in formats:
        file_for(Path(), name, FORMATS[one].suffix)


def write_outputs(
    folder: str | Path,
    utterances: Sequence[AlignedUtterance],
    formats: Iterable[str] = DEFAULT_FORMATS,
    *,
    name: str | None = None,
) -> list[Path]:
    """Write the utterances of one recording in some formats.

    Args:
        folder: for the files.
        utterances: of one recording, at least one.
        formats: keys of `FORMATS`.
        name: of the files without suffix, an id; None takes the recording's.

    Returns:
        The paths, in the formats' order.

    Raises:
        ValueError: an unknown format, no utterance, utterances of several recordings, or a name that is too
            long for a file.
        OSError: a file cannot be written.
        ImportError: a library of a format is not installed.
    """
    folder = Path(folder)
    recordings = list(dict.fromkeys(one.recording for one in utterances))
    if len(recordings) != 1:
        raise ValueError(f"a file holds one recording, got {len(recordings)}: {recordings[:5]}")
    unknown = [one for one in formats if one not in FORMATS]
    if unknown:
        raise ValueError(f"formats are {', '.join(FORMATS)}; got {', '.join(unknown)}")
    ordered = sorted(utterances, key=lambda one: (one.offset, one.channel_number))
    paths = []
    for one in formats:
        path = file_for(folder, recordings[0] if name is None else name, FORMATS[one].suffix)
        FORMATS[one].write(path, ordered)
        paths.append(path)
    return paths
