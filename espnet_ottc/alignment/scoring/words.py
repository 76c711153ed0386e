"""Word, phone and character error rates of a set of utterances."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import (
    holds_times,
    read_spans,
    read_stm,
    read_transcripts,
    read_trn,
)
from espnet_ottc.alignment.metrics import ErrorCounts, Interval, bootstrap_ratios
from espnet_ottc.alignment.scoring.options import ScoringOptions
from espnet_ottc.alignment.scoring.parts import (
    UTTERANCES,
    UnorderedError,
    count_parts,
    parts_of,
)
from espnet_ottc.alignment.scoring.sides import both_sides
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table
from espnet_ottc.alignment.scoring.word_counts import (
    CountedWords,
    WordCounter,
    WordScoringOptions,
    WordSums,
)
from espnet_ottc.utils.files import kept
from espnet_ottc.utils.forks import work_on_parts

_SETTINGS = ("level", "resamples", "seed", "sclite_costs", "ignore_case", "skip", "normalize")
Texts = Mapping[str, Sequence[str]]
# Their words in parentheses may be missing.
_NIST = (".trn", ".stm")


@dataclass(frozen=True)
class ErrorRate:
    """An error rate, with what it was counted from.

    Attributes:
        unit: `word`, `phone` or `char`.
        counts: of all utterances.
        interval: bootstrap interval of the rate over utterances, a fraction; None without reference
            words.
    """

    unit: str
    counts: ErrorCounts
    interval: Interval | None

    @property
    def percent(self) -> float | None:
        """Errors of 100 reference words; None without reference words."""
        return None if self.counts.rate is None else 100 * self.counts.rate


@dataclass(frozen=True)
class WordReport:
    """What `score_words` found.

    Attributes:
        words: the error rate of words, or with a folding of phones.
        characters: that of characters; None for phones.
        options: under which it was scored.
        reference, hypothesis: names of what was scored, as of files.
        notes: what the user should know of how it was read.
    """

    words: ErrorRate
    characters: ErrorRate | None
    options: WordScoringOptions
    reference: str = ""
    hypothesis: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values: rates and intervals in percent, counts, settings."""
        result: dict[str, Any] = {
            "ref": self.reference,
            "hyp": self.hypothesis,
            "unit": self.words.unit,
        }
        for name, rate in (("wer", self.words), ("cer", self.characters)):
            if rate is not None:
                result[name] = rate.percent
                result[f"{name}_interval"] = interval_list(rate.interval, 100)
                result[f"{name}_counts"] = asdict(rate.counts)
        result["settings"] = self.options.settings(_SETTINGS)
        return result | ({"notes": list(self.notes)} if self.notes else {})

    def as_text(self) -> str:
        """The report as a table with sclite's columns."""
        header = ["unit", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "rate %"]
        rows = [[*header, f"{100 * self.options.level:g} % interval"]]
        for rate in (self.words, self.characters):
            if rate is not None:
                numbers = (number(rate.percent), interval_text(rate.interval, 100))
                rows.append([rate.unit, *map(str, _columns(rate.counts)), *numbers])
        return "\n".join([table(rows), *(f"note: {note}" for note in self.notes)])


def score_words(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, Sequence[str]],
    options: WordScoringOptions | None = None,
    *,
    names: tuple[str, str] = ("", ""),
    cores: int | None = None,
) -> WordReport:
    """Score words against a reference.

    Args:
        references: words (or phones) by utterance id.
        hypotheses: likewise.
        options: None takes the defaults.
        names: of references and hypotheses, for the report.
        cores: that many utterances may keep busy; None: all that this process may use.

    Raises:
        ValueError: no reference; an utterance on one side only that no option allows; a level or a
            number of resamples out of range.
        ImportError: kaldialign or NumPy is not installed.
    """
    chosen = options or WordScoringOptions()
    return _score(references, hypotheses, chosen, names, cores)


def _score(
    references: Texts,
    hypotheses: Texts,
    options: WordScoringOptions,
    names: tuple[str, str],
    cores: int | None,
) -> WordReport:
    """Score what is in memory."""
    symbols = _symbols(references), _symbols(hypotheses)
    options, notes = options.settled(*symbols)
    counter = WordCounter(options)
    renamed = counter.renames(chain(*symbols))
    pairs = list(options.pairs(references, hypotheses).values())
    some = [pairs[first : first + UTTERANCES] for first in range(0, len(pairs), UTTERANCES)]
    sums = WordSums()
    for totals in work_on_parts(lambda one: counter.totals(one, renamed=renamed), some, cores):
        sums.add_totals(totals)
    return _report(sums, options, notes, names)


def _report(
    sums: WordSums, options: WordScoringOptions, notes: tuple[str, ...], names: tuple[str, str]
) -> WordReport:
    intervals = bootstrap_ratios(
        sums.ratios(), level=options.level, resamples=options.resamples, seed=options.seed
    )
    rates = [
        ErrorRate(unit, counts, interval)
        for (unit, counts), interval in zip(sums.counts.items(), intervals, strict=True)
    ]
    return WordReport(rates[0], rates[1] if rates[1:] else None, options, *names, notes=notes)


def _symbols(words: Texts) -> frozenset[str]:
    return frozenset(chain.from_iterable(words.values()))


def score_word_files(
    reference: str | Path,
    hypothesis: str | Path,
    options: WordScoringOptions | None = None,
    *,
    cores: int | None = None,
    counted: Callable[[WordScoringOptions], Iterable[CountedWords | None]] | None = None,
) -> WordReport:
    """Score the words of two files; see `score_words`.

    Two files of Kaldi text that have their utterances in the same order are read in parts, so that it does
    not matter how many they have.

    Args:
        reference: Kaldi text, sclite's `*.trn`, `*.stm`, or a file of times that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.
        cores: as there.
        counted: gives the parts, scored under these options; None: they are scored here.

    Raises:
        ValueError: a malformed file, or what `score_words` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    reference = Path(reference)
    hypothesis = Path(hypothesis)
    options = word_file_options(reference, hypothesis, options or WordScoringOptions())
    names = (str(reference), str(hypothesis))
    with kept(reference) as ours, kept(hypothesis) as theirs:
        if are_texts(ours, theirs, options):
            try:
                found = count_parts(options, counted or _counted(ours, theirs, cores), WordSums)
                return _report(*found, names)
            except UnorderedError:
                pass  # the whole says what is wrong, if anything is
        channels = (options.channel, options.hyp_channel or options.channel)
        read_ours, read_theirs = (
            partial(_read_words, options=options, channel=channel) for channel in channels
        )
        references, hypotheses = both_sides(
            (ours, read_ours), (theirs, read_theirs), lambda found: found
        )
        return _score(
            references,
            hypotheses,
            options,
            names,
            cores,
        )


def _counted(
    reference: Path, hypothesis: Path, cores: int | None
) -> Callable[[WordScoringOptions], Iterable[CountedWords | None]]:
    parts = parts_of({"reference": reference, "hypothesis": hypothesis})
    return lambda options: work_on_parts(WordCounter(options).part, parts, cores)


def word_file_options(
    reference: Path, hypothesis: Path, options: WordScoringOptions
) -> WordScoringOptions:
    """The options with what goes by the kinds of the files.

    Args:
        reference: the file.
        hypothesis: the file.
        options: as they are given.
    """
    nist = any(path.suffix.lower() in _NIST for path in (reference, hypothesis))
    return replace(options, optional_words=True) if nist or options.mapping is not None else options


def are_texts(reference: Path, hypothesis: Path, options: ScoringOptions) -> bool:
    """Whether both files are Kaldi text in UTF-8, going by their names and the options.

    Args:
        reference: the file.
        hypothesis: the file.
        options: with an encoding.
    """
    if options.encoding is not None:
        return False
    paths = (reference, hypothesis)
    return not any(path.suffix.lower() in _NIST or holds_times(path) for path in paths)


def _columns(counts: ErrorCounts) -> tuple[int, ...]:
    return (
        counts.sentences,
        counts.words,
        counts.correct,
        counts.substitutions,
        counts.deletions,
        counts.insertions,
        counts.errors,
        counts.wrong_sentences,
    )


def _read_words(
    path: Path, like: Collection[str], options: ScoringOptions, channel: str | None
) -> Mapping[str, Sequence[str]]:
    suffix = path.suffix.lower()
    if suffix == ".trn":
        return read_trn(path, options.encoding)
    if suffix == ".stm":
        return read_stm(path, channel, options.encoding)
    if not holds_times(path):
        return read_transcripts(path, options.encoding)
    spans = read_spans(path, options.tier, channel, options.encoding, like=like)
    return {name: [span.symbol for span in items] for name, items in spans.items()}
