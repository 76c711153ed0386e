"""From what a user gives to utterances: files, folders, patterns, lists, Kaldi directories, Lhotse."""

import glob
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_ottc.aligner import texts
from espnet_ottc.aligner.audio import channel_of
from espnet_ottc.aligner.lhotse_cuts import is_shar, utterances_of_cuts, utterances_of_shar
from espnet_ottc.aligner.utterance import Failure, Recording, Utterance
from espnet_ottc.alignment.sound_files import SUFFIXES, AudioError, probe
from espnet_ottc.utils.files import files_below

MANIFESTS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".yaml", ".yaml.gz")
_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class InputOptions:
    """How inputs are read.

    Attributes:
        text: where texts are: a file or a folder; None: beside the recordings, or what cuts and Kaldi
            directories have themselves.
        recognise: take no text, even where there is one.
        tier: of TextGrids with texts; None: `words`, or every tier.
        channel: `mix`, `left`, `right`, a number counted from 1, or `each`.

    Raises:
        ValueError: another channel, or a text with `recognise`.
    """

    text: Path | None = None
    recognise: bool = False
    tier: str | None = None
    channel: str = "mix"

    def __post_init__(self) -> None:
        if self.channel != "each":
            try:
                channel_of(self.channel)
            except ValueError as fault:
                raise ValueError(
                    f"--channel must be each, or one of a recording: {fault}"
                ) from None
        if self.recognise and self.text is not None:
            raise ValueError("--recognise takes no text, so --text cannot be given with it")


@dataclass
class Gathered:
    """What inputs came to.

    Attributes:
        utterances: with ids that stand once each.
        failures: what is not there or cannot be used; the others can be done without it.
    """

    utterances: list[Utterance] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def gather(inputs: Sequence[str], options: InputOptions) -> Gathered:
    """The utterances of all inputs.

    Args:
        inputs: files of sound, folders (searched recursively), patterns, Kaldi data directories, manifests of
            Lhotse cuts, folders or URLs of Lhotse Shar; `-` for a list of those on standard input, a line
            each.
        options: how they are read.

    Returns:
        Utterances in the order of the inputs, and what failed.

    Raises:
        ValueError: --text that fits none of them, a file of several utterances that is malformed.
        OSError: a file of several utterances cannot be read.
    """
    found = Gathered()
    loose: list[_Found] = []
    for given in _listed(inputs):
        path = Path(given)
        if _is_manifest(path) or is_shar(given):
            _cuts(given, options, found)
        elif path.is_dir() and (path / "wav.scp").is_file():
            _kaldi(path, options, found)
        else:
            files = list(_files(given))
            if not files:
                found.failures.append(Failure(given, _nothing(path)))
            loose += files
    recordings = _named(loose)
    if options.text is None or options.text.is_dir():
        if options.text is not None:
            _take_texts(options.text, options, found)
        for recording in recordings:
            _add_with_text(recording, options, found)
    else:
        found.utterances += [Utterance(one.id, one) for one in recordings]
        if not options.recognise:
            _give_texts(found, options.text, options)
    found.utterances = list(_by_channel(found, options.channel))
    _once_each(found)
    return found


@dataclass(frozen=True)
class _Found:
    """A file of sound, and the folder that was given and in which it was found."""

    path: Path
    root: Path | None

    @property
    def place(self) -> Path:
        """Where it lies, without suffix."""
        return self.path.absolute().with_suffix("")


def _listed(inputs: Sequence[str]) -> Iterator[str]:
    for given in inputs:
        if given == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield given


def _is_manifest(path: Path) -> bool:
    return path.name.endswith(MANIFESTS) and path.is_file()


def _nothing(path: Path) -> str:
    if path.is_dir():
        return "there is no file of sound in this folder"
    return "there is no such file or folder, and no file of sound fits it as a pattern"


def _files(given: str) -> Iterator[_Found]:
    path = Path(given)
    if path.is_dir():
        yield from (_Found(one, path) for one in _sounds(path))
    elif path.exists() or path.is_symlink():
        yield _Found(path, None)
    elif _PATTERN & set(given):
        # A pattern that names a suffix means just those files.
        named = bool(path.suffix) and not _PATTERN & set(path.suffix)
        for name in sorted(glob.glob(given, recursive=True)):
            match = Path(name)
            if match.is_dir():
                yield from (_Found(one, match) for one in _sounds(match))
            elif named or match.suffix.lower() in SUFFIXES:
                yield _Found(match, None)


def _sounds(folder: Path) -> Iterator[Path]:
    """Files with a suffix of sound that are not hidden, in folders that are links too.

    Links that lead nowhere are among them, so that they are not left out without a word.
    """
    for path in sorted(files_below(folder)):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        there = path.is_file() or path.is_symlink()
        if path.suffix.lower() in SUFFIXES and there and not hidden:
            yield path


def _named(files: Sequence[_Found]) -> list[Recording]:
    """Ids: a path below the folder that was given; a file's own name; longer where two are the same."""
    once = {one.path.absolute(): one for one in reversed(files)}
    kept = [one for one in files if once.get(one.path.absolute()) is one]
    names = [_name(one, 0) for one in kept]
    for depth in range(1, max((len(one.path.absolute().parts) for one in kept), default=0)):
        # No folder tells apart what differs in the suffix alone.
        places = {(name, one.place) for one, name in zip(kept, names, strict=True)}
        counts = Counter(name for name, _ in places)
        names = [
            _name(one, depth) if counts[name] > 1 else name
            for one, name in zip(kept, names, strict=True)
        ]
    counts = Counter(names)
    return [
        Recording(name if counts[name] == 1 else name + one.path.suffix, one.path)
        for one, name in zip(kept, names, strict=True)
    ]


def _name(one: _Found, depth: int) -> str:
    """The name without suffix, with at least `depth` folders in front."""
    below = 0 if one.root is None else len(one.path.relative_to(one.root).parts) - 1
    parts = one.place.parts
    return "/".join(parts[-1 - max(depth, below) :]).lstrip("/")


def _add_with_text(recording: Recording, options: InputOptions, found: Gathered) -> None:
    """A recording with the text beside it, or in the folder of --text."""
    assert recording.path is not None
    beside = None
    if not options.recognise:
        beside = texts.text_beside(recording.path, options.text)
        if options.text is not None and beside is None:
            beside = _text_named(options.text, recording.id)
            if beside is None:
                found.failures.append(_without_text(recording, recording.id, options.text))
                return
    whole = Utterance(recording.id, recording)
    if beside is None:
        found.utterances.append(whole)
    else:
        _add_passages(whole, beside, options, found)


def _take_texts(folder: Path, options: InputOptions, found: Gathered) -> None:
    """The texts in the folder of --text for what cuts and Kaldi directories have."""
    utterances, found.utterances = found.utterances, []
    for one in utterances:
        path = _text_named(folder, one.id) or _text_named(folder, one.recording.id)
        if path is None:
            found.failures.append(_without_text(one.recording, one.id, folder))
        else:
            _add_passages(one, path, options, found)


def _text_named(folder: Path, name: str) -> Path | None:
    named = folder / name
    return texts.text_beside(named.with_name(named.name + ".wav"), named.parent)


def _without_text(recording: Recording, name: str, place: Path) -> Failure:
    source = None if recording.path is None else str(recording.path)
    return Failure(name, f"there is no text of it in {place}", source)


def _add_passages(whole: Utterance, path: Path, options: InputOptions, found: Gathered) -> None:
    try:
        passages = texts.read_passages(path, options.tier)
    except (ValueError, OSError) as error:
        source = None if whole.recording.path is None else str(whole.recording.path)
        found.failures.append(Failure(whole.id, str(error), source))
        return
    found.utterances += _spoken(whole, passages)


def _spoken(whole: Utterance, passages: Sequence[texts.Passage]) -> list[Utterance]:
    if len(passages) == 1 and passages[0].end is None:
        return [replace(whole, text=passages[0].text)]
    width = max(4, len(str(len(passages))))
    return [
        replace(
            whole,
            id=f"{whole.id}-{number:0{width}d}",
            start=whole.start + one.start,
            end=None if one.end is None else whole.start + one.end,
            text=one.text,
        )
        for number, one in enumerate(passages, 1)
    ]


def _give_texts(found: Gathered, path: Path, options: InputOptions) -> None:
    """Texts of one file: of one recording, or by id."""
    if not path.is_file():
        raise FileNotFoundError(f"--text: there is no {path}")
    if texts.has_times(path):
        found.utterances = _spoken(_only(found, path), texts.read_passages(path, options.tier))
        return
    ids = [name for one in found.utterances for name in (one.id, one.recording.id)]
    # A text that is called as its one recording begins with a word, though an id may look the same.
    own = len(found.utterances) == 1 and path.stem == Path(found.utterances[0].recording.id).name
    keyed = None if own else texts.keyed_texts(path, ids)
    if keyed is None:
        found.utterances = _spoken(_only(found, path), texts.read_passages(path))
        return
    kept = []
    for one in found.utterances:
        text = keyed.get(one.id, keyed.get(one.recording.id))
        if text is None:
            found.failures.append(_without_text(one.recording, one.id, path))
        else:
            kept.append(replace(one, text=text))
    found.utterances = kept


def _only(found: Gathered, path: Path) -> Utterance:
    if len(found.utterances) != 1:
        first = found.utterances[0].id if found.utterances else "none"
        raise ValueError(
            f"--text {path} must begin each line with an id ({first}, ...) where there is not exactly one "
            f"recording; there are {len(found.utterances)}"
        )
    return found.utterances[0]


def _kaldi(directory: Path, options: InputOptions, found: Gathered) -> None:
    """A Kaldi data directory: `wav.scp`, and `segments`, `text` and `utt2spk` where they are there."""
    from espnet_ottc.alignment.formats import read_text, read_transcripts

    recordings: dict[str, Recording] = {}
    for name, words in read_text(directory / "wav.scp").items():
        source = " ".join(words)
        if source.endswith("|"):
            reason = f"wav.scp has a command, which is not run; write its sound to a file: {source}"
            found.failures.append(Failure(name, reason))
            continue
        places = (directory / source, Path(source))
        path = next((place for place in places if place.is_file()), places[1])
        recordings[name] = Recording(name, path)
    text, speakers = directory / "text", directory / "utt2spk"
    speaker_of = read_text(speakers) if speakers.is_file() else {}
    spoken = read_transcripts(text) if text.is_file() and not options.recognise else None
    for segment in _segments(directory, recordings, found):
        one = replace(segment, speaker=" ".join(speaker_of.get(segment.id, ())))
        if spoken is None:
            found.utterances.append(one)
        elif one.id in spoken:
            found.utterances.append(replace(one, text=" ".join(spoken[one.id])))
        elif options.text is None:
            found.failures.append(Failure(one.id, f"{text} has no text of it"))
        else:
            found.utterances.append(one)


def _segments(
    directory: Path, recordings: dict[str, Recording], found: Gathered
) -> Iterator[Utterance]:
    from espnet_ottc.alignment.formats import read_text

    path = directory / "segments"
    if not path.is_file():
        yield from (Utterance(name, recording) for name, recording in recordings.items())
        return
    for name, columns in read_text(path).items():
        try:
            recording, start, end = columns[0], float(columns[1]), float(columns[2])
            if not (0 <= start < math.inf and (end < 0 or start < end < math.inf)):
                raise ValueError
        except (ValueError, IndexError):
            reason = f"{path} must have '<utterance> <recording> <start> <end>', got {columns}"
            found.failures.append(Failure(name, reason))
            continue
        if recording not in recordings:
            found.failures.append(Failure(name, f"wav.scp has no recording {recording}"))
            continue
        yield Utterance(name, recordings[recording], start=start, end=None if end < 0 else end)


def _cuts(given: str, options: InputOptions, found: Gathered) -> None:
    """Lhotse cuts, or a stream of them; an utterance for each, or for each of several supervisions."""
    utterances = utterances_of_shar(given) if is_shar(given) else utterances_of_cuts(Path(given))
    for one in utterances:
        found.utterances.append(replace(one, text=None) if options.recognise else one)


def _by_channel(found: Gathered, channel: str) -> Iterator[Utterance]:
    """Utterances with the channel that was asked for; a cut has its own."""
    for one in found.utterances:
        if one.channel != "mix":
            yield one
        elif channel == "each":
            yield from _each_channel(one, found)
        else:
            yield replace(one, channel=channel_of(channel))


def _each_channel(one: Utterance, found: Gathered) -> Iterable[Utterance]:
    if one.recording.path is None:
        assert one.recording.cut is not None
        count = one.recording.cut.num_channels or 1
    else:
        try:
            count = probe(one.recording.path).channels
        except AudioError as error:
            found.failures.append(Failure(one.id, str(error), str(one.recording.path)))
            return ()
    if count == 1:
        return (replace(one, channel=1),)
    return (replace(one, id=f"{one.id}-{n}", channel=n) for n in range(1, count + 1))


def _once_each(found: Gathered) -> None:
    """Name those whose id another has already."""
    seen: set[str] = set()
    kept = []
    for one in found.utterances:
        if one.id in seen:
            source = None if one.recording.path is None else str(one.recording.path)
            found.failures.append(Failure(one.id, f"another utterance has the id {one.id}", source))
        else:
            seen.add(one.id)
            kept.append(one)
    found.utterances = kept
