"""Readers of the kinds of data that people have: Kaldi directories, folders of audio, Lhotse cuts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment.formats import (
    WORD_TIER,
    SpansById,
    read_ctm,
    read_manifest,
    read_text,
    read_tiers,
    read_transcripts,
    spans_of_tier,
    speaker_of_tier,
    tiers_called,
    with_spans,
)
from espnet_ottc.alignment.formats.kaldi import plain_text
from espnet_ottc.corpora.manifests import Problem, alignment_problems, cut_of, text_problems
from espnet_ottc.utils.files import files_below

SAMPLING_RATE = 16000
AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
# In the order in which they are looked for beside the audio.
TEXTS = (".TextGrid", ".textgrid", ".lab", ".txt")
# Rounding of times in text files, in seconds.
_ROUNDING = 0.02


@dataclass
class Collected:
    """What a place of data holds.

    Attributes:
        recordings: by id; at 16 kHz, resampled when they are read where the file has another rate.
        supervisions: the utterances that can be used, with text, speaker where it is known, and word times
            (relative to the recording) where there are any.
        notes: what was left out or amended, and why.
    """

    recordings: dict[str, Recording] = field(default_factory=dict)
    supervisions: list[SupervisionSegment] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(self, supervision: SupervisionSegment) -> None:
        """Add an utterance; one that cannot be used becomes a note, as do times that do not fit the text."""
        recording = self.recordings[supervision.recording_id]
        # Files of texts and times have white space between their columns.
        name = "_".join(supervision.id.split())
        text = " ".join((supervision.text or "").split())
        supervision = replace(supervision, id=name, text=text)
        late = supervision.end - recording.duration
        if 0 < late <= _ROUNDING:
            supervision = replace(supervision, duration=recording.duration - supervision.start)
        faults = text_problems(cut_of(recording, supervision))
        if name in self._ids:
            faults.append(Problem(name, "there is another of this id"))
        self._ids.add(name)
        if faults:
            self.notes += [Problem(one.where, f"left out: {one.message}") for one in faults]
            return
        if faults := alignment_problems(cut_of(recording, supervision)):
            self.notes += [Problem(one.where, f"no word times: {one.message}") for one in faults]
            supervision = replace(supervision, alignment=None)
        self.supervisions.append(supervision)


def read_kaldi(directory: Path) -> Collected:
    """A Kaldi data directory: `wav.scp` and `text`, optionally `segments`, `utt2spk` and `ctm`.

    Paths in `wav.scp` are absolute, or relative to the directory, or to where the command runs.  Lines that
    are commands (they end in `|`) are left out: data are read, not executed.  A `ctm` names utterances, with
    times from their start, or recordings, with times on the recording.

    Raises:
        ValueError: a malformed file; it is named with its line.
        OSError: a file cannot be read.
    """
    found = Collected()
    for name, words in read_text(directory / "wav.scp").items():
        source = " ".join(words)
        if source.endswith("|"):
            note = f"left out: wav.scp has a command, which is not run; write its audio to a file: {source}"
            found.notes.append(Problem(name, note))
            continue
        path = next(
            (p for p in (directory / source, Path(source)) if p.is_file()), directory / source
        )
        _add_recording(found, name, path)
    texts = _transcripts(directory / "text")
    speakers = _first_column(directory / "utt2spk")
    times = read_ctm(directory / "ctm") if (directory / "ctm").exists() else {}
    segments = list(_segments(directory, found.recordings, texts))
    found.notes += _unused(found.recordings, texts, segments)
    for segment in segments:
        name, recording = segment.id, found.recordings.get(segment.recording_id)
        if recording is None:
            if not any(one.where == segment.recording_id for one in found.notes):
                found.notes.append(Problem(name, f"left out: no recording {segment.recording_id}"))
            continue
        if segment.duration < 0:  # Kaldi's -1: to the end of the recording
            segment = replace(segment, duration=recording.duration - segment.start)
        segment = replace(segment, text=texts.get(name), speaker=speakers.get(name))
        found.add(_with_times(segment, times))
    return found


def read_folder(directory: Path) -> Collected:
    """A folder, searched through: `x.wav` (FLAC, MP3, ...) with `x.TextGrid`, `x.lab` or `x.txt` beside it.

    Of several texts the first of these counts.  A text file holds the text of the whole recording.  In a
    TextGrid a tier `words`, or what other tools call it (`tiers_called`), holds the words and their times;
    one such as `ann - words` holds those of a speaker.  Without such a tier every interval is an utterance,
    and its tier's name the speaker.  Otherwise the folder that holds a recording is its speaker, where there
    are several such folders.  Ids are the paths below the directory, with `-` for `/` and `_` for spaces.
    """
    found = Collected()
    files = sorted(path for path in files_below(directory) if path.suffix.lower() in AUDIO)
    folders = {path.parent for path in files}
    for path in files:
        inside = path.relative_to(directory)
        name = "_".join("-".join(inside.with_suffix("").parts).split())
        if name in found.recordings:
            found.notes.append(Problem(str(inside), f"left out: there is another {name}"))
            continue
        beside = [path.with_suffix(ending) for ending in TEXTS]
        text = next((one for one in beside if one.is_file()), None)
        if text is None:
            endings = ", ".join(dict.fromkeys(ending.lower() for ending in TEXTS))
            found.notes.append(Problem(str(inside), f"left out: no text beside it ({endings})"))
            continue
        if not _add_recording(found, name, path):
            continue
        speaker = "_".join("-".join(inside.parent.parts).split()) if len(folders) > 1 else None
        whole = SupervisionSegment(
            name, name, 0.0, found.recordings[name].duration, speaker=speaker or None
        )
        try:
            for utterance in _utterances(whole, text):
                found.add(utterance)
        except (ValueError, OSError) as fault:
            found.notes.append(Problem(str(inside), f"left out: {text.name}: {fault}"))
    return found


def read_cuts(manifest: Path) -> Collected:
    """A manifest of Lhotse cuts: an utterance for each supervision.

    Times of words may count from the cut's start, or from the recording's, where Lhotse leaves them when it
    trims cuts: those that fit are taken.

    Raises:
        ValueError: no manifest of cuts.
    """
    found = Collected()
    try:
        for cut in read_manifest(manifest, "cuts"):
            if not isinstance(cut, MonoCut) or cut.recording is None:
                note = f"left out: must be a cut of one channel of a recording, got {type(cut).__name__}"
                found.notes.append(Problem(cut.id, note))
                continue
            if cut.recording.id not in found.recordings:
                _add_recording(found, cut.recording.id, None, cut.recording)
            for item in cut.supervisions:
                several = len(cut.supervisions) > 1
                placed = replace(
                    item,
                    id=item.id if several else cut.id,
                    recording_id=cut.recording.id,
                    start=round(cut.start + item.start, 8),
                )
                found.add(replace(placed, alignment=_on_recording(item, cut.start)))
            if not cut.supervisions:
                found.notes.append(Problem(cut.id, "left out: no supervision, so no text"))
    except (KeyError, TypeError, EOFError, AttributeError, AssertionError) as fault:
        raise ValueError(f"{manifest}: must be a manifest of Lhotse cuts: {fault!r}") from fault
    return found


def _add_recording(
    found: Collected, name: str, path: Path | None, recording: Recording | None = None
) -> bool:
    """Add a recording at 16 kHz; one that cannot be read becomes a note."""
    try:
        if recording is None:
            assert path is not None
            recording = Recording.from_file(path, recording_id=name)
        if recording.sampling_rate != SAMPLING_RATE:
            recording = recording.resample(SAMPLING_RATE)
    # Whatever a decoder raises is the same to the reader: this file cannot be read.
    except Exception as fault:
        reason = " ".join(str(fault).split())[:300]
        found.notes.append(Problem(name, f"left out: {path} cannot be read: {reason}"))
        return False
    if recording.num_channels > 1:
        note = f"{recording.num_channels} channels, the first is used"
        found.notes.append(Problem(name, note))
    found.recordings[name] = recording
    return True


def _transcripts(path: Path) -> dict[str, str]:
    return {name: " ".join(words) for name, words in read_transcripts(path).items()}


def _first_column(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return {name: words[0] for name, words in read_text(path).items() if words}


def _segments(
    directory: Path, recordings: Mapping[str, Recording], texts: Mapping[str, str]
) -> Iterator[SupervisionSegment]:
    """The utterances of a Kaldi directory, without text; without `segments` they are the recordings."""
    path = directory / "segments"
    if not path.exists():
        for name in texts:
            whole = recordings[name].duration if name in recordings else 0.0
            yield SupervisionSegment(name, name, 0.0, whole)
        return
    for name, columns in read_text(path).items():
        try:
            recording, start, end = columns[0], float(columns[1]), float(columns[2])
        except (ValueError, IndexError) as fault:
            raise ValueError(
                f"{name}: {path} must have '<utterance> <recording> <start> <end>', got {columns}"
            ) from fault
        duration = -1.0 if end == -1 else round(end - start, 8)
        yield SupervisionSegment(name, recording, start, duration)


def _unused(
    recordings: Mapping[str, Recording],
    texts: Mapping[str, str],
    segments: Sequence[SupervisionSegment],
) -> Iterator[Problem]:
    """Recordings of which no utterance speaks, and texts of no utterance."""
    heard = {segment.recording_id for segment in segments}
    named = {segment.id for segment in segments}
    for name in recordings:
        if name not in heard:
            yield Problem(name, "left out: no utterance in text or segments")
    for name in texts:
        if name not in named:
            yield Problem(name, "left out: it has text, and no line in segments")


def _with_times(segment: SupervisionSegment, times: SpansById) -> SupervisionSegment:
    """The utterance with its words of a CTM, if there are any."""
    if segment.id in times:
        return with_spans(segment, times[segment.id])
    spans = [
        span
        for span in times.get(segment.recording_id, ())
        if segment.start <= (span.start + span.end) / 2 < segment.end
    ]
    if not spans:
        return segment
    moved = [
        replace(
            span,
            start=max(0.0, round(span.start - segment.start, 8)),
            end=round(span.end - segment.start, 8),
        )
        for span in spans
    ]
    return with_spans(segment, moved)


def _utterances(whole: SupervisionSegment, text: Path) -> Iterator[SupervisionSegment]:
    """The utterances of one recording, from the file of its text."""
    if text.suffix.lower() != ".textgrid":
        yield replace(whole, text=plain_text(text))
        return
    tiers = [tier for tier in read_tiers(text) if not tier.points]
    spoken = tiers_called(WORD_TIER, tiers)
    for tier in spoken:
        spans = spans_of_tier(tier)
        speaker = speaker_of_tier(tier.name, WORD_TIER)
        one = replace(whole, text=" ".join(span.symbol for span in spans))
        if len(spoken) > 1 and speaker is not None:
            speaker = "_".join(speaker.split())
            one = replace(one, id=f"{whole.id}-{speaker}", speaker=speaker)
        yield with_spans(one, spans)
    for tier in () if spoken else tiers:
        speaker = "_".join(tier.name.split())
        for number, span in enumerate(spans_of_tier(tier)):
            yield replace(
                whole,
                id=f"{whole.id}-{speaker}-{number:04d}",
                start=span.start,
                duration=round(span.end - span.start, 8),
                text=span.symbol,
                speaker=speaker,
            )


def _on_recording(
    item: SupervisionSegment, cut_start: float
) -> dict[str, list[AlignmentItem]] | None:
    """The alignment of a cut's supervision with times on the recording."""
    if not item.alignment:
        return None
    moved = {}
    # The text of people's own data is words, whatever else has times.
    kinds = [kind for kind in item.alignment if kind == "word"] or list(item.alignment)
    for kind in kinds:
        entries = item.alignment[kind]
        inside = all(
            item.start - _ROUNDING <= one.start and one.end <= item.end + _ROUNDING
            for one in entries
        )
        shift = cut_start if inside else 0.0
        moved[kind] = [one._replace(start=round(one.start + shift, 8)) for one in entries]
    return moved
