"""Utterances of manifests of Lhotse cuts, with their recordings and places on them, and of Lhotse Shar."""

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.alignment.formats.shar import shar_cuts, shar_headers, shar_shards
from espnet_ottc.utils.extras import require_extra


def is_shar(given: str) -> bool:
    """Whether an input is a stream of Lhotse Shar: a URL, or a folder with its files."""
    if "://" in given:
        return True
    folder = Path(given)
    return all(any(folder.glob(pattern)) for pattern in ("cuts.*.jsonl*", "recording.*.tar*"))


def utterances_of_shar(source: str) -> Iterator[Utterance]:
    """The utterances of a stream, whose audio is not read yet.

    Args:
        source: folder or URL.

    Raises:
        FileNotFoundError, ValueError: as `shar_shards` and `shar_headers`.
        ImportError: a package is not installed.
    """
    require_extra("align", source, ("lhotse",))
    for shard in shar_shards(source):
        for cut in shar_headers([shard]):
            for one in _utterances(cut):
                yield replace(one, recording=Recording(one.recording.id, cut=cut, shard=shard))


def heard(utterances: Sequence[Utterance]) -> Iterator[Utterance]:
    """Utterances with the audio of those that are of streams; each shard is read once, from its start.

    Args:
        utterances: those of one shard in its order, one behind the other.

    Raises:
        ValueError: a damaged shard, or one that has lost a cut.
    """
    place = 0
    while place < len(utterances):
        shard, first = utterances[place].recording.shard, place
        while place < len(utterances) and utterances[place].recording.shard == shard:
            place += 1
        some = utterances[first:place]
        yield from some if shard is None else _with_sound(some, shar_cuts([shard]))


def _with_sound(utterances: Iterable[Utterance], cuts: Iterator[object]) -> Iterator[Utterance]:
    cut: object = None
    for one in utterances:
        header = one.recording.cut
        assert header is not None
        while cut is None or cut.id != header.id:  # type: ignore[attr-defined]
            cut = next(cuts, None)
            if cut is None:
                raise ValueError(f"{one.id}: its shard has no cut {header.id} any more")
        yield replace(one, recording=replace(one.recording, cut=cut))


def utterances_of_cuts(path: Path) -> Iterator[Utterance]:
    """The utterances of a manifest.

    A cut of a plain file keeps the recording's id and its place on it.  A cut that Lhotse has to make (mixed,
    padded, resampled, archived) is its own recording.

    Args:
        path: of the manifest.

    Raises:
        ValueError: a file that is no manifest of cuts.
        ImportError: Lhotse is not installed.
    """
    require_extra("align", "a manifest of cuts", ("lhotse",))
    from lhotse import CutSet

    if _is_empty(path):
        return  # Lhotse takes it for damaged
    try:
        cuts = list(CutSet.from_file(path))
    except (ValueError, KeyError, TypeError, EOFError, zlib.error, AssertionError) as error:
        raise ValueError(
            f"{path}: cannot be read as a manifest of Lhotse cuts: {error!r}"
        ) from error
    for cut in cuts:
        if not hasattr(cut, "supervisions"):
            raise ValueError(f"{path}: must hold cuts, got a {type(cut).__name__}")
        yield from _utterances(cut)


def _is_empty(path: Path) -> bool:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return not file.read(1)
    except OSError:
        return False  # damaged, which Lhotse says


def _utterances(cut: object) -> Iterator[Utterance]:
    from lhotse import MonoCut

    assert hasattr(cut, "supervisions")
    assert hasattr(cut, "duration")
    file = _plain_file(cut) if isinstance(cut, MonoCut) else None
    spoken = cut.supervisions
    if file is not None and isinstance(cut, MonoCut):
        recording = Recording(cut.recording_id, file)
        channel = _place_of_channel(cut)
        start = cut.start
        whole = Utterance(cut.id, recording, channel, start, start + cut.duration)
    else:
        assert hasattr(cut, "id")
        whole = Utterance(cut.id, Recording(cut.id, cut=cut))
    if len(spoken) == 1:
        yield Utterance(
            whole.id,
            whole.recording,
            whole.channel,
            whole.start,
            whole.end,
            spoken[0].text,
            spoken[0].speaker or "",
        )
    elif not spoken:
        yield whole
    # A file has sound beyond its cut; of another cut nothing more is heard.
    latest = math.inf if file is not None else float(cut.duration)
    for one in spoken if len(spoken) > 1 else ():
        begin = whole.start + one.start
        yield Utterance(
            one.id,
            whole.recording,
            whole.channel,
            max(begin, 0.0),
            min(begin + one.duration, latest),
            one.text,
            one.speaker or "",
        )


def _plain_file(cut: object) -> Path | None:
    recording = getattr(cut, "recording", None)
    if recording is None or recording.transforms or len(recording.sources) != 1:
        return None
    source = recording.sources[0]
    return Path(source.source) if source.type == "file" else None


def _place_of_channel(cut: object) -> int:
    """Of a mono cut's channel in its file, counted from 1."""
    channels = list(cut.recording.sources[0].channels)  # type: ignore[attr-defined]
    return channels.index(cut.channel) + 1  # type: ignore[attr-defined]
