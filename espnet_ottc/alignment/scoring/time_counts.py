"""What the utterances of a set add to the scores of times, part by part."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from espnet_ottc.alignment.formats.ctm import WordNumbers, ctm_stretch_table
from espnet_ottc.alignment.formats.kaldi import WordsOfBytes, durations_of, text_entries
from espnet_ottc.alignment.formats.stretches import Stretch
from espnet_ottc.alignment.metrics import (
    AlignmentScores,
    ComparedTimes,
    Peakiness,
    compare_tables,
    uncovered_seconds,
)
from espnet_ottc.alignment.metrics.compared_times import COLLAR
from espnet_ottc.alignment.metrics.exact import exact_sum, rounded
from espnet_ottc.alignment.metrics.time_totals import TimeTotals
from espnet_ottc.alignment.scoring.options import Names, ScoringOptions
from espnet_ottc.alignment.scoring.parts import Columns, Ids, Part, Symbols, pairs_of_part
from espnet_ottc.alignment.span_table import SpanTable

Rows = Sequence[tuple[range, range]]


@dataclass(frozen=True, kw_only=True)
class TimesScoringOptions(ScoringOptions):
    """Options of `score_times`.

    Attributes:
        collar: seconds by which a start may be off, finite and ≥ 0.
        special: labels that are no speech, as the blank or a silence phone.  Frames on them count for
            peakiness; times that the reference has for them are real silence.
    """

    collar: float = COLLAR
    special: Sequence[str] = ("<blank>", "<space>")


@dataclass(frozen=True)
class FrameCounts:
    """What is counted of frames for peakiness; exact sums of seconds as `exact_sum` has them.

    Attributes:
        special: frames on labels that are no speech.
        frames: all.
        silence: seconds outside of the reference's words; None where no durations are known.
        seconds: of all utterances; None likewise.
    """

    special: int = 0
    frames: int = 0
    silence: int | None = None
    seconds: int | None = None

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        return FrameCounts(
            self.special + other.special,
            self.frames + other.frames,
            _plus(self.silence, other.silence),
            _plus(self.seconds, other.seconds),
        )

    @property
    def peakiness(self) -> Peakiness:
        """The shares."""
        if self.silence is None or self.seconds is None:
            return Peakiness(self.special, self.frames)
        return Peakiness(self.special, self.frames, rounded(self.silence), rounded(self.seconds))


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


@dataclass
class CountedTimes:
    """What a part of a set adds.

    Attributes:
        compared: its utterances.
        totals: their sums.
        frames: None where no labels of frames were given.
        symbols: the different words of both sides.
        ids: its utterances' ids.
    """

    compared: ComparedTimes
    totals: TimeTotals
    frames: FrameCounts | None
    symbols: Symbols
    ids: Ids

    def columns(self) -> Columns:
        """All that is counted of each utterance and word, by name."""
        found: Columns = {"reference": self.ids.reference, "extra": self.ids.extra}
        names = [one.name for one in fields(ComparedTimes)]
        return found | {name: getattr(self.compared, name) for name in names}

    def sums(self) -> dict[str, Any]:
        """JSON values: the rest."""
        near = sorted(self.totals.boundaries_within.items())
        return {
            "totals": asdict(self.totals) | {"boundaries_within": near},
            "frames": None if self.frames is None else asdict(self.frames),
            "symbols": [*map(sorted, self.symbols)],
        }

    @classmethod
    def of(cls, columns: Columns, sums: Mapping[str, Any]) -> "CountedTimes":
        """What `columns` and `sums` gave.

        Args:
            columns: of each utterance and word.
            sums: the rest.
        """
        names = [one.name for one in fields(ComparedTimes)]
        near = Counter(dict(sums["totals"]["boundaries_within"]))
        left, right = map(frozenset, sums["symbols"])
        return cls(
            ComparedTimes(**{name: columns[name] for name in names}),
            TimeTotals(**{**sums["totals"], "boundaries_within": near}),
            None if sums["frames"] is None else FrameCounts(**sums["frames"]),
            (left, right),
            Ids(columns["reference"], columns["extra"]),
        )


class TimeSums:
    """What all parts add up to.

    Attributes:
        scores: of the times.
        frames: None where no labels of frames were given.
    """

    def __init__(self) -> None:
        self.scores = AlignmentScores()
        self.frames: FrameCounts | None = None

    def add(self, part: CountedTimes) -> None:
        """Add a part, behind those that are there.

        Args:
            part: of the set.
        """
        self.scores.add(part.compared, part.totals)
        if part.frames is not None:
            self.frames = part.frames if self.frames is None else self.frames + part.frames


class TimeCounter:
    """Compares the times of utterances.

    Args:
        options: under which they are compared.
    """

    def __init__(self, options: TimesScoringOptions) -> None:
        self.options = options
        self._names = Names(options)
        self._known = WordsOfBytes()
        # Each word is decoded once for each side.
        self._left, self._right = WordNumbers(), WordNumbers()

    def part(self, part: Part) -> CountedTimes | None:
        """What a part of some files adds; None where only the whole can tell.

        Args:
            part: the CTMs `reference` and `hypothesis`, and where they are given `inner`, another CTM, and
                `frames` and `durations` in Kaldi's formats.

        Raises:
            ValueError: a malformed line.
            OSError: a file cannot be read.
        """
        options = self.options
        reference = ctm_stretch_table(part["reference"], self._left, options.channel)
        channel = options.hyp_channel or options.channel
        hypothesis = ctm_stretch_table(part["hypothesis"], self._right, channel)
        pairs = pairs_of_part(options, reference.rows, hypothesis.rows)
        if pairs is None:
            return None
        others: list[Iterable[str]] = [hypothesis.rows]
        inner = frames = None
        try:
            if "inner" in part:
                inner = ctm_stretch_table(part["inner"], WordNumbers(), options.channel)
                inner = reference.with_times_of(inner)
            if "frames" in part:
                special = self.special_frames(self._entries(part["frames"]))
                labelled = pairs_of_part(options, reference.rows, special)
                if labelled is None:
                    return None
                others.append(special)
                durations = self._durations(part) if "durations" in part else None
                frames = self.frames(reference, (found for _, found in labelled), durations)
        except ValueError:
            return None
        compared = ComparedTimes.of(
            one for one, _ in self.compared(reference, hypothesis, rows_of(pairs), inner)
        )
        return CountedTimes(
            compared,
            TimeTotals.of(compared),
            frames,
            (frozenset(reference.vocabulary), frozenset(hypothesis.vocabulary)),
            Ids.of(reference.rows, others, options.normalize),
        )

    def _entries(self, stretch: Stretch) -> Iterator[tuple[str, list[str]]]:
        text, path = stretch.read(), stretch.path
        seen: set[str] = set()
        for number, name, words in text_entries(text, path, stretch.line, self._known):
            if name in seen:
                raise ValueError(f"{name}: each id must stand once; {path}:{number} repeats it")
            seen.add(name)
            yield name, words

    def _durations(self, part: Part) -> dict[str, float]:
        stretch = part["durations"]
        return durations_of(dict(self._entries(stretch)), stretch.path)

    def compared(
        self, reference: SpanTable, hypothesis: SpanTable, rows: Rows, inner: SpanTable | None
    ) -> Iterator[tuple[ComparedTimes, TimeTotals]]:
        """What utterances add, some thousand at a time, and their sums.

        Args:
            reference: spans.
            hypothesis: spans.
            rows: the positions of each utterance's spans in both.
            inner: the reference's spans with times inside of it.
        """
        names = tuple(
            [self._names[one] for one in table.vocabulary] for table in (reference, hypothesis)
        )
        for found in compare_tables(
            reference,
            hypothesis,
            rows,
            names=(names[0], names[1]),
            collar=self.options.collar,
            inner=inner,
        ):
            yield found, TimeTotals.of(found)

    def special_frames(
        self, labels: Iterable[tuple[str, Sequence[str]]]
    ) -> dict[str, tuple[int, int]]:
        """Of each utterance the special frames and all: the labels of many would not fit into memory.

        Args:
            labels: of the frames, by utterance id.
        """
        special = frozenset(self.options.special)
        return {name: (sum(one in special for one in items), len(items)) for name, items in labels}

    def frames(
        self,
        references: SpanTable,
        frames: Iterable[Sequence[int]],
        durations: Mapping[str, float] | None,
    ) -> FrameCounts:
        """What peakiness is counted from.

        Args:
            references: spans.
            frames: special frames and all of each utterance; empty where they are not known.
            durations: seconds of each utterance; None where they are not known.

        Raises:
            ValueError: an utterance without a duration.
        """
        import numpy as np

        counts = [found for found in frames if found]
        hits, total = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        if durations is None:
            return FrameCounts(hits, total)
        unknown = [name for name in references.rows if name not in durations]
        if unknown:
            raise ValueError(
                f"{unknown[0]}: an utterance's duration is needed to know its silence; "
                f"{len(unknown)} of {len(references.rows)} have none"
            )
        left_out = {*self.options.special, *self.options.skip}
        silent = {references.vocabulary[one] for one in left_out if one in references.vocabulary}
        silence = [
            uncovered_seconds(
                [
                    (references.starts[place], references.ends[place])
                    for place in row
                    if references.symbols[place] not in silent
                ],
                durations[name],
            )
            for name, row in references.rows.items()
        ]
        seconds = [durations[name] for name in references.rows]
        return FrameCounts(hits, total, exact_sum(np.array(silence)), exact_sum(np.array(seconds)))


def rows_of(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[range, range]]:
    """Positions of each utterance's spans on both sides; none where it is missing.

    Args:
        pairs: ranges, or empty sequences.
    """
    return [(_row(left), _row(right)) for left, right in pairs]


def _row(found: Sequence[int]) -> range:
    return found if isinstance(found, range) else range(0)
