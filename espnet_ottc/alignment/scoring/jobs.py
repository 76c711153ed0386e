"""A set to score, with everything that decides its scores, as it goes from one process to another."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats.stretches import divide
from espnet_ottc.alignment.scoring.folding import read_folding
from espnet_ottc.alignment.scoring.parts import Part
from espnet_ottc.alignment.scoring.time_counts import (
    CountedTimes,
    TimeCounter,
    TimesScoringOptions,
)
from espnet_ottc.alignment.scoring.times import are_ctms, score_time_files, time_files
from espnet_ottc.alignment.scoring.word_counts import (
    CountedWords,
    WordCounter,
    WordScoringOptions,
)
from espnet_ottc.alignment.scoring.words import are_texts, score_word_files, word_file_options
from espnet_ottc.utils.files import write_json, written_aside


@dataclass(frozen=True)
class ScoringJob:
    """A set to score.

    Attributes:
        title: names it to the user.
        times: whether times are scored; else words.
        reference, hypothesis: files, as `score_time_files` and `score_word_files` take them.
        out: JSON file to write; a table goes beside it, as `.txt`.
        folding: file with classes of phones; None scores words.
        files: more for times: `inner`, `frames`, `durations`.
        settings: options of the scorer that differ from its defaults.
    """

    title: str
    times: bool
    reference: Path
    hypothesis: Path
    out: Path
    folding: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "ScoringJob":
        """What `as_json` gave."""
        paths = {name: Path(content[name]) for name in ("reference", "hypothesis", "out")}
        folding = content["folding"]
        return cls(
            title=content["title"],
            times=content["times"],
            **paths,
            folding=None if folding is None else Path(folding),
            files={name: Path(path) for name, path in content["files"].items()},
            settings=content["settings"],
        )

    def as_json(self) -> dict[str, Any]:
        """JSON values that it can be made of again."""
        return {
            "title": self.title,
            "times": self.times,
            "reference": str(self.reference),
            "hypothesis": str(self.hypothesis),
            "out": str(self.out),
            "folding": None if self.folding is None else str(self.folding),
            "files": {name: str(path) for name, path in self.files.items()},
            "settings": dict(self.settings),
        }

    @property
    def options(self) -> TimesScoringOptions | WordScoringOptions:
        """Of the scorer, all of them."""
        folding = None if self.folding is None else read_folding(self.folding)
        kind = TimesScoringOptions if self.times else WordScoringOptions
        return kind(folding=folding, **self.settings)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All files that decide the scores."""
        folding = () if self.folding is None else (self.folding,)
        return (self.reference, self.hypothesis, *self.files.values(), *folding)

    def parts(self, number: int) -> list[Part]:
        """The parts in which the set can be scored, in its order.

        Args:
            number: how many at most.

        Returns:
            An empty list where it can only be scored as a whole.

        Raises:
            OSError: a file cannot be read.
        """
        options = self.options
        if isinstance(options, TimesScoringOptions):
            files = time_files(self.reference, self.hypothesis, **self.files)
            known = are_ctms(files, options)
        else:
            files = {"reference": self.reference, "hypothesis": self.hypothesis}
            known = are_texts(self.reference, self.hypothesis, options)
        return [*(divide(files, number) or ())] if known else []

    def counter(self) -> Callable[[Part], CountedWords | CountedTimes | None]:
        """Scores a part."""
        options = self.options
        if isinstance(options, TimesScoringOptions):
            return TimeCounter(options).part
        return WordCounter(word_file_options(self.reference, self.hypothesis, options)).part

    def run(self, counted: Callable[[Any], Iterable[Any]] | None = None) -> None:
        """Score, and write both files.

        Args:
            counted: gives the parts, scored under these options; None: they are scored here.

        Raises:
            ValueError, OSError: what cannot be read or compared, by the job's title.
        """
        options = self.options
        # A unit of work has one core.
        how: dict[str, Any] = {"cores": 1, "counted": counted}
        files: dict[str, Any] = dict(self.files)
        try:
            if isinstance(options, TimesScoringOptions):
                report: Any = score_time_files(
                    self.reference, self.hypothesis, options, **files, **how
                )
            else:
                report = score_word_files(self.reference, self.hypothesis, options, **how)
        except ValueError as fault:
            raise ValueError(f"{self.title}: {fault}") from fault
        write_json(self.out, report.as_json())
        with written_aside(self.out.with_suffix(".txt")) as aside:
            aside.write_text(f"{report.as_text()}\n", encoding="utf-8")
