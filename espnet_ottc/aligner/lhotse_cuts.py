"""Utterances of manifests of Lhotse cuts, with their recordings and places on them."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.utils.extras import require_extra


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
    for one in spoken if len(spoken) > 1 else ():
        start = max(whole.start + one.start, 0.0)
        yield Utterance(
            one.id,
            whole.recording,
            whole.channel,
            start,
            start + one.duration,
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
