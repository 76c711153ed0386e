"""Many utterances: each is written down as it is done, and a run goes on after a kill."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from espnet_ottc.aligner.journal import Journal
from espnet_ottc.aligner.tuning import is_tuned, recogniser_of
from espnet_ottc.aligner.utterance import Failure, Utterance
from espnet_ottc.aligner.workers import AlignerSource, reason_of, results
from espnet_ottc.alignment.aligned import AlignedUtterance, Summary
from espnet_ottc.alignment.formats import OUTPUT_MARK, ctm_lines
from espnet_ottc.alignment.outputs import FORMATS, check_name, write_outputs
from espnet_ottc.utils.escapes import escaped, file_name_of, is_space_or_control
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

FAILED = "failed.jsonl"
JOURNAL = ".ottc-align.jsonl"
TOGETHER = ("text", "words.ctm", "tokens.ctm")


@dataclass(frozen=True)
class RunOptions:
    """How a run goes.

    Attributes:
        out: folder for the results; None: beside each recording.
        formats: keys of `FORMATS`.
        processes: how many; None: as many as help.
        again: do anew what an earlier run has done.
        debug: let the first fault end the run, with its traceback.
    """

    out: Path | None
    formats: Sequence[str]
    processes: int | None = None
    again: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown:
            raise ValueError(f"--format must be of {', '.join(FORMATS)}; got {', '.join(unknown)}")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"--processes must be at least 1, got {self.processes}")


@dataclass
class Outcome:
    """How a run went.

    Attributes:
        summary: statuses of the words and utterances that have times.
        words: their number.
        done: number of utterances that have times.
        fresh: how many of them this run has done; the others are of an earlier one.
        failures: the utterances without.
    """

    summary: Summary = field(default_factory=Summary)
    words: int = 0
    done: int = 0
    fresh: int = 0
    failures: list[Failure] = field(default_factory=list)


def run_all(
    utterances: Sequence[Utterance],
    failures: Sequence[Failure],
    source: AlignerSource,
    options: RunOptions,
) -> Outcome:
    """Align utterances; write down each as it is done, and the files of a recording with its last utterance.

    Args:
        utterances: with ids that stand once.
        failures: of those that could not even be gathered; they are listed with the others.
        source: of the aligner.
        options: of the run.

    Raises:
        FileNotFoundError, ValueError, ImportError: the model cannot be loaded.
        OSError: results cannot be written.
    """
    outcome = Outcome(failures=list(failures))
    files = _Files(utterances, options)
    keys = {one.id: _key(one, source) for one in utterances}
    left = []
    for one in utterances:
        journal = files.journal(one)
        if (unfit := files.unfit(one)) is not None:
            files.add(one, outcome, unfit)
        elif keys[one.id] in journal:
            files.add(one, outcome, journal.get(keys[one.id]))
        else:
            left.append(one)
    if left:
        by_id = {one.id: one for one in left}
        bar = progress(title="align", unit="utterance", total=len(left))
        for result in results(left, source, processes=options.processes, debug=options.debug):
            bar.update()
            one = by_id[result.id]
            if isinstance(result, Failure):
                files.add(one, outcome, result)
                continue
            files.journal(one).add(keys[one.id], result)
            outcome.fresh += 1
            files.add(one, outcome, result)
        bar.close()
    _write_failures(outcome.failures, (options.out or Path()) / FAILED)
    if options.out is not None:
        _write_together(options.out, utterances, keys, files)
    return outcome


def _write_together(
    out: Path, utterances: Sequence[Utterance], keys: Mapping[str, str], files: "_Files"
) -> None:
    """`text`, `words.ctm` and `tokens.ctm` of all utterances, by their ids, from their starts."""
    paths = [out / name for name in TOGETHER]
    with (
        written_aside(paths[0]) as text,
        written_aside(paths[1]) as words,
        written_aside(paths[2]) as tokens,
        text.open("w", encoding="utf-8") as text_file,
        words.open("w", encoding="utf-8") as words_file,
        tokens.open("w", encoding="utf-8") as tokens_file,
    ):
        for one in utterances:
            journal = files.journal(one)
            if keys[one.id] in journal:
                found = journal.get(keys[one.id])
                name = escaped(one.id, is_space_or_control)
                text_file.write(f"{name} {' '.join(found.text.split())}".rstrip() + "\n")
                words_file.writelines(ctm_lines(one.id, found.word_spans))
                tokens_file.writelines(ctm_lines(one.id, found.token_spans))


class _Files:
    """The files of a run: a journal, and those of each recording once all its utterances are done.

    Args:
        utterances: of the run.
        options: of the run.
    """

    def __init__(self, utterances: Sequence[Utterance], options: RunOptions) -> None:
        self._options = options
        self._waiting = Counter(self._recording(one) for one in utterances)
        self._found: dict[tuple[str, str], list[AlignedUtterance]] = {}
        self._journals: dict[Path, Journal] = {}
        if options.out is None:
            for one in utterances:
                if one.recording.path is None:
                    raise ValueError(
                        f"{one.id}: --out is needed, since there is no file beside which to write"
                    )
        # Files of one recording must not take the names of those of all.
        names = Counter([name for _, name in self._waiting] + ["words", "tokens"])
        self._ambiguous = {name for name, count in names.items() if count > 1}

    def journal(self, one: Utterance) -> Journal:
        """Where the utterance is written down."""
        folder = self._folder(one)
        if folder not in self._journals:
            self._journals[folder] = Journal(folder / JOURNAL, anew=self._options.again)
        return self._journals[folder]

    def add(self, one: Utterance, outcome: Outcome, result: AlignedUtterance | Failure) -> None:
        """Count what became of an utterance, and write its recording's files if it was the last."""
        recording = self._recording(one)
        self._waiting[recording] -= 1
        if isinstance(result, Failure):
            outcome.failures.append(result)
        else:
            outcome.done += 1
            outcome.words += len(result.words)
            outcome.summary.add(result)
            self._found.setdefault(recording, []).append(result)
        if self._waiting[recording] == 0 and recording in self._found:
            self._write_or_tell(one, self._found.pop(recording), outcome)

    def unfit(self, one: Utterance) -> Failure | None:
        """Why no file can be called as the utterance's recording; None where all can."""
        try:
            check_name(self._place(one)[1], self._options.formats)
        except ValueError as error:
            return _failure(one, reason_of(error))
        return None

    def _write_or_tell(
        self, one: Utterance, found: list[AlignedUtterance], outcome: Outcome
    ) -> None:
        try:
            self._write(one, found)
        except ValueError as error:  # what a format cannot hold is no fault of the others
            if self._options.debug:
                raise
            reason = f"it has times, but not all files: {reason_of(error)}"
            outcome.failures.append(replace(_failure(one, reason), id=one.recording.id))

    def _recording(self, one: Utterance) -> tuple[str, str]:
        # Recordings of two data sets may have one name.
        return (str(one.recording.path or ""), one.recording.id)

    def _folder(self, one: Utterance) -> Path:
        if self._options.out is not None:
            return self._options.out
        assert one.recording.path is not None
        return one.recording.path.parent

    def _place(self, one: Utterance) -> tuple[Path, str]:
        """The folder of a recording's files, and their name without suffix.

        Raises:
            ValueError: a folder whose name would be too long.
        """
        name = one.recording.id
        if name in self._ambiguous and one.recording.path is not None:
            name = f"{name}-{hashlib.sha256(self._recording(one)[0].encode()).hexdigest()[:8]}"
        folder = self._folder(one)
        *folders, name = name.split("/")
        if self._options.out is not None:
            folder = folder.joinpath(*map(file_name_of, folders))
        path = one.recording.path
        if path is not None and folder.resolve() == path.parent.resolve():
            name += OUTPUT_MARK
        return folder, name

    def _write(self, one: Utterance, found: list[AlignedUtterance]) -> None:
        folder, name = self._place(one)
        # A page needs the recording's file, which cuts may not have: it must not cost the other formats.
        formats = sorted(self._options.formats, key=lambda one: one == "page")
        write_outputs(folder, found, formats, name=name)


def _failure(one: Utterance, reason: str) -> Failure:
    return Failure(one.id, reason, None if one.recording.path is None else str(one.recording.path))


def _key(one: Utterance, source: AlignerSource) -> str:
    """What a result holds and depends on, as a hash: names, the sound, the text, the model, the options."""
    path = one.recording.path
    content: list[Any] = [one.id, one.speaker, one.recording.id]
    content += [one.channel, one.start, one.end, one.text]
    if path is not None and path.exists():
        stat = path.stat()
        content += [str(path.absolute()), stat.st_size, stat.st_mtime_ns]
    elif one.recording.cut is not None:
        content.append(str(one.recording.cut))
        sound = None if one.recording.shard is None else Path(one.recording.shard["recording"])
        if sound is not None and sound.exists():
            content += [sound.stat().st_size, sound.stat().st_mtime_ns]
    content += [source.model, source.language, str(source.weights), asdict(source.options)]
    places = [Path(source.model.partition(":")[2] or source.model), source.weights]
    if is_tuned(Path(source.model)):
        places.append(Path(recogniser_of(Path(source.model)).place(Path(source.model))))
    for place in places:
        if place is not None and place.exists():
            files = (
                [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file())
            )
            content += [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _write_failures(failures: Sequence[Failure], path: Path) -> None:
    """A line of JSON for each; no file where there are none."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    # A name that is no UTF-8 is written as JSON's own escapes.
    with (
        written_aside(path) as aside,
        aside.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for one in failures:
            file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
