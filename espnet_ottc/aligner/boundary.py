"""Aligning with a boundary model, and training one on the recordings at hand."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from espnet_ottc.aligner import audio as sound
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.aligner.boundaries import boundary_word, said_for, tokens_of_words
from espnet_ottc.aligner.calibrating import calibrated
from espnet_ottc.aligner.search import InfeasibleError
from espnet_ottc.aligner.utterance import Utterance
from espnet_ottc.alignment.aligned import OK
from espnet_ottc.alignment.aligners import BOUNDARY
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import SAMPLING_RATE, BoundaryModel
from espnet_ottc.alignment.boundary.pieces import align_alone
from espnet_ottc.alignment.boundary.session import Trained, train_into
from espnet_ottc.alignment.boundary.units import ANYTHING, OTHER, Pronunciations, read_lexicon
from espnet_ottc.alignment.confidence import Calibration, Evidence
from espnet_ottc.alignment.sound_files import probe
from espnet_ottc.alignment.steady_sound import without_steady_sound
from espnet_ottc.alignment.text import Alphabet, Speller, without_notes
from espnet_ottc.alignment.text.spelling import APOSTROPHES
from espnet_ottc.alignment.windows import FrameOutputs

# For models without one of their own: near to what 60 real sentences gave; it doubts whole texts later.
DEFAULT_CALIBRATION = Calibration(
    word_slope=2.1, word_offset=-1.8, utterance_slope=-10.0, utterance_offset=-10.0
)
# In a model's folder: how sure it may be of the recordings that it was trained on.
TRAINING_CALIBRATION = "training_calibration.json"
# More recordings change the calibration little.
_CALIBRATED_ON = 60


class BoundaryAligner(Aligner):
    """Finds the times of given words by a boundary model; it recognises nothing.

    The evidence of a word is the mean of log p(state | frame) − log p(state) over its frames, and that of an
    utterance over all of them.

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
        if self.options.search not in (None, BOUNDARY) or self.options.allow_gaps:
            raise ValueError(f"{name} is a boundary model: it has a search of its own, and no gaps")
        self.search = BOUNDARY
        self.speller = _speller(self.options.text_language, model.units.lexicon)

    @property
    def sampling_rate(self) -> int:
        """Hz at which it takes samples."""
        return self.boundary.sampling_rate

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device("cpu")

    @property
    def model_name(self) -> str:
        """The model's folder."""
        return self.name

    @property
    def calibration(self) -> Calibration:
        """What makes its confidences."""
        return self.options.calibration or DEFAULT_CALIBRATION

    def _check(self, samples: Tensor) -> None:
        """Its search says what is too short."""

    def _outputs(self, recordings: Sequence[Tensor]) -> Sequence[None]:
        """What it hears is small, and searched at once."""
        return [None] * len(recordings)

    def _found(
        self,
        samples: Tensor,
        text: str | None,
        duration: float,
        _outputs: FrameOutputs | None,
        *,
        noisy: bool = False,
    ) -> Assembled:
        if text is None:
            raise ValueError(
                "it has no text, and a boundary model recognises nothing: give one, or another model"
            )
        words = self.speller.spell_text(text)
        if not words:
            return Assembled((), (), Evidence((), 0.0, 0), None, OK)
        features = self.boundary.features(samples, self.sampling_rate)
        said = [said_for(word) for word in words]
        found = align_alone(self.boundary, features, said, duration)
        if isinstance(found, str):
            raise InfeasibleError(f"the text does not fit the sound: {found}")
        calibration = self.calibration
        tokens = tokens_of_words(found)
        unknown = {ANYTHING} if self.boundary.knows_other else {ANYTHING, OTHER}
        spelled = [[one.symbol not in unknown for one in units] for units in tokens]
        confidences = [
            calibration.word(score) if any(known) else None
            for score, known in zip(found.word_scores, spelled, strict=True)
        ]
        aligned = tuple(
            boundary_word(
                found,
                number,
                word,
                units,
                confidence=confidence,
                status=calibration.word_status(confidence, wildcard=not all(known)),
            )
            for number, (word, units, known, confidence) in enumerate(
                zip(words, tokens, spelled, confidences, strict=True)
            )
        )
        evidence = Evidence(tuple(found.word_scores), -found.score, len(features))
        confidence = calibration.utterance(confidences, evidence.unexplained)
        status = calibration.utterance_status(confidence, confidences)
        return Assembled(aligned, (), evidence, confidence, status)


def train_on(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    language: str = "en",
    lexicon: Path | None = None,
    config: BoundaryConfig | None = None,
    start: BoundaryModel | None = None,
    anyway: bool = False,
    again: bool = False,
) -> Trained:
    """Train a boundary model on utterances with texts, or adapt one to them, and keep it in a folder.

    Args:
        folder: for the model.
        utterances: those without text take no part.
        language: in which numbers are read.
        lexicon: a file of `word phone phone ...` lines; None spells by letters.
        config: None takes what suits the texts.
        start: a model that is adapted; its configuration and pronunciations go before the others.
        anyway: keep a model that did not converge.
        again: train anew where the folder has such a model, or a part of its training.

    Raises:
        NotConvergedError: the training did not find the words; nothing is kept.
        ValueError: no utterance has a text, or none can be learned from.
        OSError: a file that cannot be read or written.
    """
    texts = {one.id: one.text for one in utterances if one.text and one.text.strip()}
    if not texts:
        raise ValueError("there are no texts to learn from: none of the recordings has one")
    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    if start is not None:
        pronunciations = start.units.lexicon
    speller = _speller(language, pronunciations)
    spoken = [
        SpokenText(
            one.id,
            tuple(said_for(word) for word in speller.spell_text(texts[one.id] or "")),
            lambda one=one: _load(one),  # type: ignore[misc]
        )
        for one in utterances
        if one.id in texts
    ]
    trained = train_into(
        folder, spoken, config, pronunciations, start=start, anyway=anyway, again=again
    )
    if not (folder / TRAINING_CALIBRATION).exists():
        _calibrate(folder, trained.model, [one for one in utterances if one.id in texts], language)
    return trained


def _calibrate(
    folder: Path, model: BoundaryModel, utterances: Sequence[Utterance], language: str
) -> None:
    """On some of the recordings, evenly chosen; too few, or what is no better, leave the default."""
    aligner = BoundaryAligner(model, str(folder), AlignerOptions(language=language))
    step = max(len(utterances) // _CALIBRATED_ON, 1)
    try:
        found = calibrated(aligner, utterances[::step][:_CALIBRATED_ON])
    except ValueError:
        return
    found.calibration.save(folder / TRAINING_CALIBRATION)


def for_the_trained(options: AlignerOptions, folder: Path) -> AlignerOptions:
    """With the calibration for the recordings that a model was trained on, where none was given.

    Others fit a model less well than what it has learned: to them it says nothing.
    """
    path = folder / TRAINING_CALIBRATION
    if options.calibration is not None or not path.is_file():
        return options
    return replace(options, calibration=Calibration.load(path))


class _EveryLetter(Alphabet):
    """Letters and marks of every script, besides its characters: the units decide which of them are one.

    Unicode takes some apostrophes for letters; they are none.
    """

    def __contains__(self, character: str) -> bool:
        if character in self.characters:
            return True
        return unicodedata.category(character)[0] in "LM" and character not in APOSTROPHES


def _speller(language: str, lexicon: Pronunciations | None) -> Speller:
    """For training and for aligning alike: digits are read out, and a lexicon's words keep what they have."""
    words = frozenset(lexicon or ())
    notes = frozenset(word for word in words if without_notes(word) != word)
    return Speller(_EveryLetter(frozenset("".join(words))), language, notes=notes)


def _load(one: Utterance) -> tuple[Tensor, int]:
    """Without long steady sound; at the recording's own rate where that is low: there is nothing above."""
    rate = SAMPLING_RATE
    if one.recording.path is not None:
        rate = min(probe(one.recording.path).rate, SAMPLING_RATE)
    samples = torch.from_numpy(sound.load(one, rate))
    return without_steady_sound(samples, rate).samples, rate
