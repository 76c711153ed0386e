"""A set to score, with everything that decides its scores, as it goes from one process to another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.scoring.folding import read_folding
from espnet_ottc.alignment.scoring.times import TimesScoringOptions, score_time_files
from espnet_ottc.alignment.scoring.words import WordScoringOptions, score_word_files
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

    def run(self) -> None:
        """Score, and write both files.

        Raises:
            ValueError, OSError: what cannot be read or compared, by the job's title.
        """
        options = self.options
        try:
            if isinstance(options, TimesScoringOptions):
                report: Any = score_time_files(
                    self.reference, self.hypothesis, options, **self.files
                )
            else:
                # A unit of work has one core.
                report = score_word_files(self.reference, self.hypothesis, options, cores=1)
        except ValueError as fault:
            raise ValueError(f"{self.title}: {fault}") from fault
        write_json(self.out, report.as_json())
        with written_aside(self.out.with_suffix(".txt")) as aside:
            aside.write_text(f"{report.as_text()}\n", encoding="utf-8")
