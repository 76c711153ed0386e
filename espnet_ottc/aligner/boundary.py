"""Aligning with a boundary model, and training one on the recordings at hand."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.aligner import audio as sound
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.aligner.search import InfeasibleError
from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.aligned import DOUBTFUL, OK, AlignedWord
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.model import SAMPLING_RATE, BoundaryModel
from espnet_ottc.alignment.boundary.session import Trained, train_into
from espnet_ottc.alignment.boundary.training import SpokenText
from espnet_ottc.alignment.boundary.units import letters, read_lexicon
from espnet_ottc.alignment.confidence import Evidence
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.text import Alphabet, SpelledWord, Speller
from espnet_ottc.alignment.windows import FrameOutputs

SEARCH = "boundary"


class BoundaryAligner(Aligner):
    """Finds the times of given words by a boundary model; it recognises nothing.

    A word is `doubtful` where its frames speak against it: log p(state | frame) − log p(state) is below 0 on
    average.  There is no confidence: nothing of this model is calibrated as a probability of words.

    Args:
        model: as `BoundaryModel.load` reads it.
        name: its folder.
        options: how it works; a decoder and windows have no use here.

    Raises:
        ValueError: options that ask for another search, or for gaps.
    """

    def __init__(
        self, model: BoundaryModel, name: str, options: AlignerOptions | None = None
    ) -> None:
        self.boundary, self.name = model, name
        self.options = options or AlignerOptions()
        if self.options.search not in (None, SEARCH) or self.options.allow_gaps:
            raise ValueError(f"{name} is a boundary model: it has a search of its own, and no gaps")
        self.search = SEARCH
        self.speller = Speller(Alphabet(model.units.characters), self.options.language)

    @property
    def sampling_rate(self) -> int:
        """Hz at which it takes samples."""
        return self.boundary.sampling_rate

    @property
    def model_name(self) -> str:
        """The model's folder."""
        return self.name

    def _check(self, samples: Tensor) -> None:
        """Its search says what is too short."""

    def _outputs(self, recordings: Sequence[Tensor]) -> Sequence[None]:
        """What it hears is small, and searched at once."""
        return [None] * len(recordings)

    def _found(
        self, samples: Tensor, text: str | None, duration: float, _outputs: FrameOutputs | None
    ) -> Assembled:
        if text is None:
            raise ValueError(
                "it has no text, and a boundary model recognises nothing: give one, or another model"
            )
        words = self.speller.spell_text(text)
        if not words:
            return Assembled((), (), Evidence((), 0.0, 0), None, OK)
        features = self.boundary.features(samples, self.sampling_rate)
        found = align_features(self.boundary, features, [_said(word) for word in words], duration)
        if isinstance(found, str):
            raise InfeasibleError(f"the text does not fit the sound: {found}")
        aligned = tuple(_word(found, number, word) for number, word in enumerate(words))
        status = DOUBTFUL if found.score < 0 else OK
        return Assembled(aligned, (), Evidence((), 0.0, 0), None, status)


def train_on(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    language: str = "en",
    lexicon: Path | None = None,
    config: BoundaryConfig | None = None,
    anyway: bool = False,
) -> Trained:
    """Train a boundary model on utterances with texts, and keep it in a folder.

    Args:
        folder: for the model.
        utterances: those without text take no part.
        language: in which numbers are read.
        lexicon: a file of `word phone phone ...` lines; None spells by letters.
        config: None takes the defaults.
        anyway: keep a model that did not converge.

    Raises:
        NotConvergedError: the training did not find the words; nothing is kept.
        ValueError: no utterance has a text, or none can be learned from.
        OSError: a file that cannot be read or written.
    """
    texts = {one.id: one.text for one in utterances if one.text and one.text.strip()}
    if not texts:
        raise ValueError("--train needs texts: none of the recordings has one")
    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    found = {one for text in texts.values() for word in text.split() for one in letters(word)}
    characters = frozenset("".join(one for one in found if not one.isnumeric()))
    if pronunciations is not None:
        characters |= frozenset("".join(pronunciations))
    speller = Speller(Alphabet(characters), language)
    spoken = [
        SpokenText(
            one.id,
            tuple(_said(word) for word in speller.spell_text(texts[one.id] or "")),
            lambda one=one: _load(one),  # type: ignore[misc]
        )
        for one in utterances
        if one.id in texts
    ]
    return train_into(folder, spoken, config, pronunciations, anyway=anyway)


def _load(one: Utterance) -> tuple[Tensor, int]:
    """At the recording's own rate where that is low: there is nothing above."""
    rate = SAMPLING_RATE
    if one.recording.path is not None:
        rate = min(sound.probe(one.recording.path).rate, SAMPLING_RATE)
    return torch.from_numpy(sound.load(one, rate)), rate


def _said(word: SpelledWord) -> str:
    return " ".join(word.spoken)


def _word(found: BoundaryAlignment, number: int, word: SpelledWord) -> AlignedWord:
    span = found.words[number]
    tokens = tuple(
        Span(
            one.symbol, min(max(one.start, span.start), span.end), min(one.end, span.end), one.score
        )
        for one, owner in zip(found.tokens, found.token_words, strict=True)
        if owner == number and one.end >= span.start
    )
    return AlignedWord(
        word.given,
        span.start,
        span.end,
        None,
        DOUBTFUL if found.word_scores[number] < 0 else OK,
        _said(word),
        tokens,
        word.sentence,
        word.glued,
        found.start_intervals[number],
        found.end_intervals[number],
    )
