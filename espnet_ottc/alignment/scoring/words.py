"""Word, phone and character error rates of a set of utterances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from espnet_ottc.alignment.metrics import (
    ErrorCounts,
    ErrorTotals,
    Interval,
    bootstrap_ratios,
    count_edits,
    count_errors,
)
from espnet_ottc.alignment.metrics.edit_distance import edit_alignment
from espnet_ottc.alignment.metrics.words import edit_costs
from espnet_ottc.alignment.scoring.glm import GlobalMapping
from espnet_ottc.alignment.scoring.options import Names, Pair, ScoringOptions
from espnet_ottc.alignment.scoring.tables import interval_list, interval_text, number, table
from espnet_ottc.utils.forks import work_in_parts

_SETTINGS = ("level", "resamples", "seed", "sclite_costs", "ignore_case", "skip", "normalize")
Texts = Mapping[str, Sequence[str]]
# Their words in parentheses may be missing.
_NIST = (".trn", ".stm")
# Utterances; fewer are counted before another process has started.
_WORTH_A_PROCESS = 5_000


@dataclass(frozen=True, kw_only=True)
class WordScoringOptions(ScoringOptions):
    """Options of `score_words`.

    Attributes:
        sclite_costs: align with sclite's costs (substitution 4, others 3) instead of equal ones.
        mapping: spellings that count as the same; None where all words count as they are.
        optional_words: words in parentheses may be missing on either side, as in files of sclite; true for
            trn, stm and a mapping.
        characters: also the error rate of characters.
    """

    sclite_costs: bool = False
    mapping: GlobalMapping | None = None
    optional_words: bool = False
    characters: bool = True

    def as_json(self) -> dict[str, Any]:
        """All options as JSON values; the folding and the mapping by their names."""
        values = ScoringOptions.as_json(replace(self, mapping=None))
        return values | {"mapping": self.mapping and self.mapping.name}


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
    return _score(lambda: references, lambda: hypotheses, chosen, names, cores)


def _score(
    reference: Callable[[], Texts],
    hypothesis: Callable[[], Texts],
    options: WordScoringOptions,
    names: tuple[str, str],
    cores: int | None,
) -> WordReport:
    references = reference()
    hypotheses = hypothesis()
    symbols = _symbols(references), _symbols(hypotheses)
    options, notes = options.settled(*symbols)
    compared = Names(options)
    counting = _Counting(options, compared, not compared.are(chain(*symbols)))
    totals: dict[str, ErrorTotals] = {}
    pairs = list(options.pairs(references, hypotheses).values())
    for part in work_in_parts(counting.totals, pairs, _WORTH_A_PROCESS, cores):
        for unit, total in part.items():
            totals.setdefault(unit, ErrorTotals()).extend(total)
    intervals = bootstrap_ratios(
        [(one.errors, one.words) for one in totals.values()],
        level=options.level,
        resamples=options.resamples,
        seed=options.seed,
    )
    rates = [
        ErrorRate(unit, total.counts, interval)
        for (unit, total), interval in zip(totals.items(), intervals, strict=True)
    ]
    return WordReport(rates[0], rates[1] if rates[1:] else None, options, *names, notes=notes)


@dataclass(frozen=True)
class _Counting:
    """Counts the errors of utterances.

    Attributes:
        options: under which they count.
        names: of words.
        renamed: whether some words are compared under others than their own, or left out.
    """

    options: WordScoringOptions
    names: Names
    renamed: bool

    def totals(self, pairs: Sequence[Pair[str]]) -> dict[str, ErrorTotals]:
        """The counts of some utterances, by what is counted.

        Args:
            pairs: words of the reference and of the hypothesis, of each.
        """
        units = [self.options.unit]
        if self.options.characters and self.options.folding is None:
            units.append("char")
        totals = {unit: ErrorTotals() for unit in units}
        for pair in pairs:
            ref, hyp = map(self._words, pair)
            for unit, total in totals.items():
                total.add(*_count(ref, hyp, unit, self.options.sclite_costs))
        return totals

    def _words(self, given: Sequence[str]) -> "_Words":
        options = self.options
        named = self.names.of(given) if self.renamed else list(given)
        if options.mapping is not None:
            named = self.names.of(options.mapping.of(named))
        if not options.optional_words:
            return _Words(named)
        optional = frozenset(
            place
            for place, word in enumerate(named)
            if len(word) > 2 and word[0] + word[-1] == "()"
        )
        words = [word[1:-1] if place in optional else word for place, word in enumerate(named)]
        return _Words(words, optional)


def _count(
    ref: "_Words", hyp: "_Words", unit: str, sclite_costs: bool
) -> tuple[int, tuple[int, int, int]]:
    """Words of the reference, or characters, and its edits."""
    if unit == "char":
        # As `characters` gives them.
        letters, others = map(" ".join, _needed(ref, hyp, sclite_costs))
        return len(letters), count_edits(letters, others, sclite_costs)
    if not (ref.optional or hyp.optional):
        return len(ref.words), count_edits(ref.words, hyp.words, sclite_costs)
    found = count_errors(
        ref.words,
        hyp.words,
        sclite_costs=sclite_costs,
        optional=ref.optional,
        optional_hypothesis=hyp.optional,
    )
    return found.words, (found.substitutions, found.deletions, found.insertions)


def _needed(ref: "_Words", hyp: "_Words", sclite_costs: bool) -> tuple[list[str], list[str]]:
    """The words of both without those that may be missing and are, on the other side."""
    if not (ref.optional or hyp.optional):
        return ref.words, hyp.words
    free = (ref.optional, hyp.optional)
    pairs = edit_alignment(ref.words, hyp.words, edit_costs(sclite_costs), free=free)
    left = [ref.words[i] for i, j in pairs if i is not None and (j is not None or i not in free[0])]
    right = [
        hyp.words[j] for i, j in pairs if j is not None and (i is not None or j not in free[1])
    ]
    return left, right


@dataclass(frozen=True)
class _Words:
    """The words of an utterance as they are compared, and the places of those that may be missing."""

    words: list[str]
    optional: frozenset[int] = frozenset()


def _symbols(words: Mapping[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(words.values()))


def score_word_files(
    reference: Path,
    hypothesis: Path,
    options: WordScoringOptions | None = None,
    *,
    cores: int | None = None,
) -> WordReport:
    """Score the words of two files; see `score_words`.

    Args:
        reference: Kaldi text, sclite's `*.trn`, `*.stm`, or a file of times that `read_spans` takes.
        hypothesis: likewise.
        options: None takes the defaults.
        cores: as there.

    Raises:
        ValueError: a malformed file, or what `score_words` refuses.
        OSError: a file cannot be read.
        ImportError: a package that the format or the scoring needs is not installed.
    """
    options = options or WordScoringOptions()
    if options.mapping is not None or any(
        path.suffix.lower() in _NIST for path in (reference, hypothesis)
    ):
        options = replace(options, optional_words=True)
    return _score(
        lambda: _read_words(reference, options, options.channel),
        lambda: _read_words(hypothesis, options, options.hyp_channel or options.channel),
        options,
        (str(reference), str(hypothesis)),
        cores,
    )


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
    path: Path, options: ScoringOptions, channel: str | None
) -> Mapping[str, Sequence[str]]:
    suffix = path.suffix.lower()
    if suffix == ".trn":
        return read_trn(path, options.encoding)
    if suffix == ".stm":
        return read_stm(path, channel, options.encoding)
    if not holds_times(path):
        return read_transcripts(path, options.encoding)
    spans = read_spans(path, options.tier, channel, options.encoding)
    return {name: [span.symbol for span in items] for name, items in spans.items()}
