"""Word, phone and character error rates of a set of utterances."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.formats import holds_times, read_spans, read_text
from espnet_ottc.alignment.metrics import (
    ErrorCounts,
    Interval,
    characters,
    count_errors,
    error_interval,
)
from espnet_ottc.alignment.scoring.options import ScoringOptions, kept
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table

_SETTINGS = ("level", "resamples", "seed", "sclite_costs", "ignore_case", "skip")


@dataclass(frozen=True, kw_only=True)
class WordScoringOptions(ScoringOptions):
    """Options of `score_words`.

    Attributes:
        sclite_costs: align with sclite's costs (substitution 4, others 3) instead of equal ones.
    """

    sclite_costs: bool = False


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
    """

    words: ErrorRate
    characters: ErrorRate | None
    options: WordScoringOptions
    reference: str = ""
    hypothesis: str = ""

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
        return result

    def as_text(self) -> str:
        """The report as a table with sclite's columns."""
        header = ["unit", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "rate %"]
        rows = [[*header, f"{100 * self.options.level:g} % interval"]]
        for rate in (self.words, self.characters):
            if rate is not None:
                numbers = (number(rate.percent), interval_text(rate.interval, 100))
                rows.append([rate.unit, *map(str, _columns(rate.counts)), *numbers])
        return table(rows)


def score_words(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, Sequence[str]],
    options: WordScoringOptions | None = None,
    *,
    names: tuple[str, str] = ("", ""),
) -> WordReport:
    """Score words against a reference.

    Args:
        references: words (or phones) by utterance id.
        hypotheses: likewise.
        options: None takes the defaults.
        names: of references and hypotheses, for the report.

    Raises:
        ValueError: no reference; an utterance on one side only that no option allows; a level or a
            number of resamples out of range.
        ImportError: kaldialign or NumPy is not installed.
    """
    options = options or WordScoringOptions()
    pairs = [
        (list(kept(reference, options)), list(kept(hypothesis, options)))
        for reference, hypothesis in options.pairs(references, hypotheses).values()
    ]
    letters = [(characters(ref), characters(hyp)) for ref, hyp in pairs]
    return WordReport(
        _rate(options.unit, pairs, options),
        _rate("char", letters, options) if options.folding is None else None,
        options,
        *names,
    )


def score_word_files(
    reference: Path, hypothesis: Path, options: WordScoringOptions | None = None
) -> WordReport:
    """Score the words of two files; see `score_words`.

    Args:
        reference: Kaldi text, or a file of times that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.

    Raises:
        ValueError: a malformed file, or what `score_words` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    options = options or WordScoringOptions()
    return score_words(
        _read_words(reference, options),
        _read_words(hypothesis, options),
        options,
        names=(str(reference), str(hypothesis)),
    )


def _rate(
    unit: str, pairs: Sequence[tuple[list[str], list[str]]], options: WordScoringOptions
) -> ErrorRate:
    costs = options.sclite_costs
    counts = [count_errors(ref, hyp, sclite_costs=costs) for ref, hyp in pairs]
    interval = error_interval(
        counts, level=options.level, resamples=options.resamples, seed=options.seed
    )
    return ErrorRate(unit, sum(counts, ErrorCounts()), interval)


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


def _read_words(path: Path, options: ScoringOptions) -> dict[str, list[str]]:
    if not holds_times(path):
        return read_text(path)
    spans = read_spans(path, options.tier, options.channel)
    return {name: [span.symbol for span in items] for name, items in spans.items()}
