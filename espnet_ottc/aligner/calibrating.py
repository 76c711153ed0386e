"""How sure a model may be, learned from recordings with their right texts.

Each recording is aligned with its own text, with that of another one, with a third of its words deleted, and
with a third replaced by words of others.  Which words are then right is known, and a calibration is fitted to
that.  Nobody has to mark any time: what the right text gives is taken for where its words are said.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from espnet_ottc.aligner.aligner import Aligner
from espnet_ottc.aligner.search import InfeasibleError
from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.aligned import OK
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.confidence import Calibration, calibration_error, fit_calibration
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.steady_sound import without_steady_sound

RIGHT, OTHER, DELETED, REPLACED = KINDS = ("right", "other", "deleted", "replaced")
# Fewer say nothing about rare faults.
_LEAST = 10
# Of the recordings; what is fitted to the others is tried on each.
_PARTS = 5
# Words, texts: whether the constants of each are the fitted ones.
_CHOICES = ((True, True), (True, False), (False, True))


@dataclass(frozen=True)
class Trial:
    """One recording with one text.

    Attributes:
        kind: of the text, one of `KINDS`.
        text: that was aligned.
        words: for each word its evidence, its confidence, and whether it is said there.
        unexplained: the utterance's evidence; None where the text does not fit at all.
        confidence: of the utterance; 0 where the text does not fit at all.
        ok: whether its status is `ok`.
    """

    kind: str
    text: str
    words: tuple[tuple[float, float, bool], ...]
    unexplained: float | None
    confidence: float
    ok: bool


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and how far confidences were from the truth with it and with what was there before.

    Attributes:
        calibration: that was fitted; for words or for texts alone where the other was better before.
        recordings: how many took part.
        before: calibration errors of words and of texts as they were, in [0, 1].
        after: the same of what was fitted so, each time to four fifths of the recordings, on the others.
    """

    calibration: Calibration
    recordings: int
    before: tuple[float, float]
    after: tuple[float, float]


def calibrated(aligner: Aligner, utterances: Iterable[Utterance]) -> Calibrated:
    """Fit a calibration to a model.

    Args:
        aligner: with the model.
        utterances: with their right texts; those without text take no part.

    Raises:
        ValueError: too few recordings that have a text and can be read; nothing better than what the aligner
            has.
    """
    spoken = [one for one in utterances if one.text and one.text.split()]
    found = list(trials(aligner, spoken))
    recordings = sum(trial.kind == RIGHT for trial in found)
    if recordings < _LEAST:
        raise ValueError(
            f"a calibration needs at least {_LEAST} recordings with their right texts, got {recordings}"
        )
    before = errors(found)
    after = {choice: errors(_tried(found, aligner.calibration, choice)) for choice in _CHOICES}
    better = [
        choice
        for choice in _CHOICES
        if after[choice][0] <= before[0] and after[choice][1] <= before[1]
    ]
    if not better:
        changes = described(before, after[True, True])
        raise ValueError(
            f"a calibration must not be worse than the one before, by {recordings} recordings it is: "
            f"calibration error {changes}"
        )
    best = min(better, key=lambda choice: sum(after[choice]))
    calibration = _partly(aligner.calibration, _fitted(found), best)
    return Calibrated(calibration, recordings, before, after[best])


def described(before: tuple[float, float], after: tuple[float, float]) -> str:
    """Calibration errors of words and of texts, and what they have become."""
    changes = zip(("words", "texts"), before, after, strict=True)
    return ", ".join(
        f"of {what} from {100 * was:.1f} to {100 * now:.1f} %" for what, was, now in changes
    )


def _fitted(found: Iterable[Trial]) -> Calibration:
    found = list(found)
    return fit_calibration(
        [(evidence, right) for trial in found for evidence, _, right in trial.words],
        [
            (trial.unexplained, trial.kind == RIGHT)
            for trial in found
            # A text with some words replaced is neither right nor wrong.
            if trial.kind != REPLACED and trial.unexplained is not None
        ],
    )


def _tried(found: Sequence[Trial], before: Calibration, choice: tuple[bool, bool]) -> list[Trial]:
    """The trials, judged by what is fitted to those of other recordings."""
    # Every recording has one trial of each kind.
    owners = [place // len(KINDS) % _PARTS for place in range(len(found))]
    fits = [
        _fitted(trial for trial, owner in zip(found, owners, strict=True) if owner != part)
        for part in range(_PARTS)
    ]
    return [
        _judged_anew(trial, _partly(before, fits[owner], choice))
        for trial, owner in zip(found, owners, strict=True)
    ]


def _partly(before: Calibration, fitted: Calibration, choice: tuple[bool, bool]) -> Calibration:
    """The constants of words and of texts that are chosen of the fitted ones; the others as before."""
    words, texts = (fitted if chosen else before for chosen in choice)
    return Calibration(
        words.word_slope, words.word_offset, texts.utterance_slope, texts.utterance_offset
    )


def trials(
    aligner: Aligner,
    utterances: Sequence[Utterance],
    references: Sequence[Sequence[Span]] | None = None,
) -> Iterator[Trial]:
    """Every recording with each kind of text.

    Args:
        aligner: with the model.
        utterances: with their right texts.
        references: where the words of each are said, in seconds from its start; None: where the right text
            puts them.  A recording that cannot be aligned with its own text then takes no part.
    """
    texts = [one.text or "" for one in utterances]
    draw = random.Random(0)
    for place, one in enumerate(utterances):
        try:
            samples = aligner.samples(one)
            if references is None:
                # As it is sought; times do not count here.
                samples = without_steady_sound(samples, aligner.sampling_rate).samples
            heard = aligner.heard(samples)
            right = aligner.words_of(samples, texts[place], heard)
        except ValueError:
            if references is None:
                continue
            raise
        reference = [word.span for word in right.words]
        if references is not None:
            reference = list(references[place])
        yield _judged(RIGHT, texts[place], right, reference)
        for kind in (OTHER, DELETED, REPLACED):
            text = changed(texts, place, kind, draw)
            try:
                found = aligner.words_of(samples, text, heard)
            except InfeasibleError:
                yield Trial(kind, text, (), None, 0.0, False)
            else:
                yield _judged(kind, text, found, reference)


def changed(texts: Sequence[str], place: int, kind: str, draw: random.Random) -> str:
    """The text of an utterance, made wrong as the kind says.

    Args:
        texts: of all utterances.
        place: of the one.
        kind: of `KINDS`.
        draw: chance.
    """
    words = texts[place].split()
    if kind == OTHER:
        # Of its neighbour, which gets its own: a swapped pair.
        partner = min(place ^ 1, len(texts) - 2)
        others = [texts[partner], *texts]
        return next((one for one in others if one.split() != words), " ".join(reversed(words)))
    count = max(1, round(len(words) / 3))
    chosen = set(draw.sample(range(len(words)), count))
    if kind == DELETED:
        return " ".join(word for n, word in enumerate(words) if n not in chosen) or words[0]
    if kind == REPLACED:
        everything = [word for text in texts for word in text.split()]
        return " ".join(draw.choice(everything) if n in chosen else w for n, w in enumerate(words))
    return texts[place]


def errors(found: Sequence[Trial]) -> tuple[float, float]:
    """Calibration errors of words and of texts, in [0, 1]; texts with words replaced are left out."""
    words = [(confidence, right) for trial in found for _, confidence, right in trial.words]
    texts = [(trial.confidence, trial.kind == RIGHT) for trial in found if trial.kind != REPLACED]
    return calibration_error(words), calibration_error(texts)


def _judged(kind: str, text: str, found: Assembled, reference: Sequence[Span]) -> Trial:
    words = tuple(
        (evidence, word.confidence, any(_is_said(word.span, span) for span in reference))
        for evidence, word in zip(found.evidence.words, found.words, strict=True)
        if evidence is not None and word.confidence is not None
    )
    confidence = found.confidence or 0.0
    return Trial(kind, text, words, found.evidence.unexplained, confidence, found.status == OK)


def _judged_anew(trial: Trial, calibration: Calibration) -> Trial:
    words = tuple((e, calibration.word(e) or 0.0, right) for e, _, right in trial.words)
    confidence = 0.0
    if trial.unexplained is not None:
        confidence = calibration.utterance([c for _, c, _ in words], trial.unexplained) or 0.0
    return replace(trial, words=words, confidence=confidence)


def _is_said(word: Span, span: Span) -> bool:
    shared = min(word.end, span.end) - max(word.start, span.start)
    same = word.symbol.casefold() == span.symbol.casefold()
    return same and shared > 0.3 * min(word.duration, span.duration)
