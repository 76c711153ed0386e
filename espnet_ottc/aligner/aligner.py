"""The aligner as one class: recordings and texts in, times of words out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espnet_ottc.aligner import audio as sound
from espnet_ottc.aligner.boundaries import with_boundaries
from espnet_ottc.aligner.models import SpeechModel, load_model
from espnet_ottc.aligner.recognition import DEFAULT_DECODER
from espnet_ottc.aligner.search import aligned_words, default_search
from espnet_ottc.aligner.speech_activity import (
    KEPT_END,
    LONG_END,
    misleading_pauses,
    somebody_speaks,
    spoken_frames,
    spoken_part,
)
from espnet_ottc.aligner.tuning import is_tuned, recogniser_of
from espnet_ottc.aligner.utterance import Recording, Utterance
from espnet_ottc.alignment.aligned import (
    DOUBTFUL,
    NOT_FOUND,
    OK,
    AlignedUtterance,
    AlignedWord,
)
from espnet_ottc.alignment.aligners import ALIGNERS, BOUNDARY
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.background import with_background
from espnet_ottc.alignment.boundary.model import BoundaryModel, is_boundary_model
from espnet_ottc.alignment.confidence import Calibration
from espnet_ottc.alignment.steady_sound import Shortened, without_steady_sound, without_stretches
from espnet_ottc.alignment.text import Speller, check_language
from espnet_ottc.alignment.windows import FrameOutputs, Windows, check_length, frame_outputs
from espnet_ottc.ops.viterbi_decoding import check_decoder

# Beside a model's files: how sure it may be.
CALIBRATION = "calibration.json"
# A recording that has less than this between the long ends without words is sought in without them.
_MOST_OF_ALL = 0.75
# (N,) samples of one channel.
OneChannel = npt.NDArray[np.floating] | Tensor


@dataclass(frozen=True)
class AlignerOptions:
    """How an aligner works.

    Attributes:
        search: `boundary`, or a name of `espnet_ottc.alignment.aligners.ALIGNERS`; None: the one that suits
            the model, which is `boundary` where it has a boundary model, and no gaps are allowed.
        decoder: how words are recognised where there is no text: `viterbi` or `greedy`.
        language: of the text, in which its numbers are read: `en`, `de`, `pt-BR`, ...; None: English, or what
            the aligner's model is asked for.
        allow_gaps: let speech without text lie at the ends and between sentences.
        vad: seek words outside of long steady sound; recognise them only where a detector of voice activity
            hears speech, and seek given ones between the long ends of a recording where it hears none, unless
            a word beside them is doubtful.  A text without words is doubtful where it hears speech.
        windows: how long recordings are cut.
        calibration: makes confidences of evidence; None: the model's own, or the default of its kind.
    """

    search: str | None = None
    decoder: str = DEFAULT_DECODER
    language: str | None = None
    allow_gaps: bool = False
    vad: bool = True
    windows: Windows = field(default_factory=Windows)
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        check_decoder(self.decoder)
        if self.search is not None and self.search not in (*ALIGNERS, BOUNDARY):
            raise ValueError(
                f"the search must be one of {', '.join((*ALIGNERS, BOUNDARY))}; got {self.search}"
            )
        if self.search == BOUNDARY and self.allow_gaps:
            raise ValueError("the search boundary knows no gaps in the text")
        if self.language is not None:
            check_language(self.language)

    @property
    def text_language(self) -> str:
        """The language of the text."""
        return self.language or "en"


def _with_calibration(options: AlignerOptions, model: Path) -> AlignerOptions:
    """With the calibration that lies beside a model, where none was given."""
    path = (model if model.is_dir() else model.parent) / CALIBRATION
    if options.calibration is not None or not (model.exists() and path.is_file()):
        return options
    return replace(options, calibration=Calibration.load(path))


@dataclass(frozen=True, eq=False)
class _Part:
    """Where the words of an utterance are sought.

    Attributes:
        sound: of the utterance, without steady sound.
        first, last: samples of it in which the words are sought.
    """

    sound: Shortened
    first: int
    last: int

    @property
    def samples(self) -> Tensor:
        """(last - first,)."""
        return self.sound.samples[self.first : self.last]

    @property
    def cut(self) -> bool:
        """Whether the ends of the sound are left out."""
        return len(self.samples) < len(self.sound.samples)

    def lacks(self, words: Sequence[AlignedWord]) -> bool:
        """Whether a word beside an end that is left out may have been said in it."""
        first = self.first > 0 and any(map(_is_doubtful, words[:1]))
        return first or (self.last < len(self.sound.samples) and any(map(_is_doubtful, words[-1:])))


class Aligner:
    """Finds the times of words in recordings, by a model with CTC or OTTC.

    Args:
        model: as `load_model` gives it.
        options: how it works.

    Raises:
        ValueError: the search of a boundary model, without one.
    """

    def __init__(self, model: SpeechModel, options: AlignerOptions | None = None) -> None:
        self.model = model
        self.options = options or AlignerOptions()
        sharp = model.boundary_model is not None and not self.options.allow_gaps
        self.search = self.options.search or (BOUNDARY if sharp else default_search(model))
        if self.search == BOUNDARY and not sharp:
            raise ValueError(f"{model.name} has no boundary model; trainings with OTTC leave one")
        self.speller = Speller(model.alphabet, self.options.text_language, model.romanize)

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        options: AlignerOptions | None = None,
        *,
        device: str = "cpu",
        language: str | None = None,
        weights: str | Path | None = None,
    ) -> "Aligner":
        """An aligner with a model by name; the other arguments and what is raised are those of `load_model`.

        Args:
            name: of the model.
            options: how it works.
            device: where the model computes.
            language: of the model's adapters, and of the text where the options say no other; None: what a
                tuned model was made for.
            weights: a file of parameters in place of the model's own.
        """
        file = None if weights is None else Path(weights)
        options = _with_calibration(options or AlignerOptions(), Path(name))
        if is_tuned(Path(name)):
            # Its recogniser's words are as sure as before.
            recogniser = recogniser_of(Path(name))
            options = _with_calibration(options, Path(recogniser.place(Path(name))))
            language = language or recogniser.language
        options = replace(options, language=options.language or language)
        if is_boundary_model(Path(name)):
            # late, since it is a kind of this class
            from espnet_ottc.aligner.boundary import BoundaryAligner

            if weights is not None:
                raise ValueError(f"{name} is a boundary model: it takes no other parameters")
            return BoundaryAligner(BoundaryModel.load(Path(name)), name, options)
        return cls(load_model(name, device=device, language=language, weights=file), options)

    @property
    def sampling_rate(self) -> int:
        """Hz at which it takes samples."""
        return self.model.sampling_rate

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def model_name(self) -> str:
        """The model as it was named."""
        return self.model.name

    @property
    def calibration(self) -> Calibration:
        """What makes its confidences."""
        return self.options.calibration or Calibration()

    def align(
        self,
        audio: str | Path | npt.NDArray[np.floating] | Tensor,
        text: str | None = None,
        *,
        sampling_rate: int | None = None,
        channel: str | int = "mix",
        start: float = 0.0,
        end: float | None = None,
    ) -> AlignedUtterance:
        """Times of the words of a text in a recording.

        Args:
            audio: a file that an installed decoder reads; or samples in [-1, 1], (N,) or (channels, N).
            text: what is said, as people write it; None: the model recognises it.
            sampling_rate: Hz of samples that are given; of a file it is the file's.
            channel: `mix`, `left`, `right`, or a number from 1.
            start: seconds at which the stretch begins in which the text lies.
            end: seconds at which it ends; None: with the recording.

        Returns:
            The words with their times, in seconds from `start`.

        Raises:
            ValueError: sound that cannot be read or is too short, a text that cannot lie in it, no such
                channel; samples in another shape.
        """
        channel = sound.channel_of(channel)
        if isinstance(audio, str | Path):
            path = Path(audio)
            recording = Recording(path.stem, path)
            return self.align_utterance(Utterance(path.stem, recording, channel, start, end, text))
        if sampling_rate is None:
            raise ValueError("samples need their sampling_rate")
        samples = np.atleast_2d(np.asarray(audio, dtype=np.float32))
        if samples.ndim != 2 or samples.shape[0] > samples.shape[1] > 0:
            raise ValueError(
                "samples must be (N,) or (channels, N), channels first (.T of what soundfile reads), got "
                f"{tuple(np.shape(audio))}"
            )
        first, last = (
            round(start * sampling_rate),
            None if end is None else round(end * sampling_rate),
        )
        one = sound.mixed(samples.T[first:last], channel)
        one = sound.resampled(one, sampling_rate, self.sampling_rate)
        utterance = Utterance("audio", Recording("audio"), channel, start, end, text)
        return self._aligned(utterance, self._part(utterance, np.ascontiguousarray(one)))

    def align_utterance(self, utterance: Utterance) -> AlignedUtterance:
        """The same for an utterance as `espnet_ottc.aligner.inputs` gathers them."""
        return self._aligned(utterance, self._heard(utterance))

    def align_together(
        self, utterances: Sequence[Utterance]
    ) -> Iterator[AlignedUtterance | Exception]:
        """The same for several, which share forward passes where the model allows.

        Yields:
            For each its words, or why it has none, in their order.
        """
        failed: dict[int, Exception] = {}
        heard: dict[int, _Part] = {}
        for place, utterance in enumerate(utterances):
            try:
                heard[place] = self._heard(utterance)
                self._check(heard[place].samples)
            except Exception as error:  # whatever one does, the others are done
                heard.pop(place, None)
                failed[place] = error
        try:
            parts = [part.samples for part in heard.values()]
            outputs = dict(zip(heard, self._outputs(parts), strict=True))
        except Exception:  # each alone, so that the fault is that of its own utterance
            outputs = {}
        for place, utterance in enumerate(utterances):
            if place in failed:
                yield failed[place]
                continue
            try:
                result = self._aligned(utterance, heard.pop(place), outputs.pop(place, None))
            except Exception as error:
                yield error
            else:
                yield result

    def samples(self, utterance: Utterance) -> Tensor:
        """(N,) samples of an utterance at the model's rate.

        Raises:
            ValueError: sound that cannot be read.
        """
        return torch.from_numpy(sound.load(utterance, self.sampling_rate))

    def outputs(self, samples: OneChannel) -> FrameOutputs:
        """What the model says about (N,) samples, by windows where they are many."""
        return frame_outputs(self.model, [_tensor(samples)], self.options.windows)[0]

    def heard(self, samples: OneChannel) -> FrameOutputs | None:
        """What `words_of` needs to know of (N,) samples, so that several texts can share it."""
        return self._outputs([_tensor(samples)])[0]

    def words_of(
        self, samples: OneChannel, text: str | None, heard: FrameOutputs | None = None
    ) -> Assembled:
        """The words of a text in (N,) samples, with what speaks for them.

        Args:
            samples: at the model's rate.
            text: as in `align`.
            heard: of the same samples; None: it is found.

        Raises:
            ValueError: samples that are too short, a text that cannot lie in them.
        """
        samples = _tensor(samples)
        return self._found(samples, text, len(samples) / self.sampling_rate, heard)

    def recognised(self, samples: OneChannel, outputs: FrameOutputs) -> str:
        """What is said, words apart by spaces; empty where nobody speaks.

        Args:
            samples: (N,) at the model's rate.
            outputs: of the model for them.
        """
        if self.options.vad:
            outputs = spoken_frames(outputs, _tensor(samples), self.sampling_rate, self.model.grid)
            if not len(outputs.log_probs):
                return ""
        return self.model.recognise(outputs, self.options.decoder)

    def _check(self, samples: Tensor) -> None:
        check_length(self.model, samples)

    def _outputs(self, recordings: Sequence[Tensor]) -> Sequence[FrameOutputs | None]:
        return frame_outputs(self.model, recordings, self.options.windows)

    def _heard(self, utterance: Utterance) -> "_Part":
        return self._part(utterance, sound.load(utterance, self.sampling_rate))

    def _part(self, utterance: Utterance, samples: npt.NDArray[np.float32]) -> "_Part":
        """Of an utterance's samples those in which its text is sought."""
        rate = self.sampling_rate
        whole = torch.from_numpy(samples)
        if not self.options.vad:
            whole = with_background(whole, rate)
            return _Part(Shortened(whole, (0.0,), (0.0,), len(whole) / rate), 0, len(whole))
        sound = without_steady_sound(whole, rate)
        del samples, whole  # hours of them are not held twice
        if utterance.text is None:
            return _Part(sound, 0, len(sound.samples))
        return _Part(sound, *spoken_part(sound.samples, rate))

    def _aligned(
        self, utterance: Utterance, part: "_Part", outputs: FrameOutputs | None = None
    ) -> AlignedUtterance:
        rate = self.sampling_rate
        length = len(part.samples) / rate
        found = self._found(part.samples, utterance.text, length, outputs, noisy=part.cut)
        if self.options.vad and utterance.text is not None:
            found = self._without_misleading_pauses(found, part, utterance.text)
            if not found.words and somebody_speaks(part.sound.samples, rate):
                found = replace(found, status=DOUBTFUL)
        found = found.moved(part.first / rate)
        if part.lacks(found.words):
            # The detector does not hear every quiet word.
            sound = part.sound.samples
            everywhere = self._found(sound, utterance.text, len(sound) / rate, None)
            found = max(found, everywhere, key=lambda one: _count_ok(one.words))
        words = tuple(map(part.sound.word, found.words))
        gaps = tuple(gap.retimed(part.sound.time) for gap in found.gaps)
        path = utterance.recording.path
        return AlignedUtterance(
            id=utterance.id,
            recording=utterance.recording.id,
            offset=utterance.start,
            duration=part.sound.duration,
            words=words,
            confidence=found.confidence,
            status=found.status,
            channel=utterance.channel,
            speaker=utterance.speaker,
            recognised=utterance.text is None,
            gaps=gaps,
            search=self.search,
            model=self.model_name,
            source=None if path is None else str(path),
        )

    def _without_misleading_pauses(self, found: Assembled, part: "_Part", text: str) -> Assembled:
        """The words again, where a long pause of music or the like may have misled them; else as they are."""
        rate = self.sampling_rate
        spans = [(word.start, word.end) for word in found.words]
        if found.status == DOUBTFUL:
            doubtful = [(0.0, len(part.samples) / rate)]
        else:
            doubtful = [(word.start, word.end) for word in found.words if _is_doubtful(word)]
            if doubtful:
                doubtful += [(gap.start, gap.end) for gap in found.gaps]
        pauses = misleading_pauses(spans, part.samples, rate, doubtful)
        if not pauses:
            return found
        sound = without_stretches(part.samples, rate, pauses)
        try:
            length = len(sound.samples) / rate
            again = self._found(sound.samples, text, length, None, noisy=part.cut)
        except ValueError:  # too little is left for the text
            return found
        again = replace(
            again,
            words=tuple(map(sound.word, again.words)),
            gaps=tuple(gap.retimed(sound.time) for gap in again.gaps),
        )
        # The detector does not hear every quiet word.
        return max(again, found, key=lambda one: _count_ok(one.words))

    def _found(
        self,
        samples: Tensor,
        text: str | None,
        duration: float,
        outputs: FrameOutputs | None,
        *,
        noisy: bool = False,
    ) -> Assembled:
        """The words of a text; `noisy` where the ends of the samples are sound without speech."""
        if outputs is None:
            outputs = self.outputs(samples)
        if text is None:
            text = self.recognised(samples, outputs)
        words = self.speller.spell_text(text)
        boundary = self.model.boundary_model if self.search == BOUNDARY else None
        found = aligned_words(
            self.model,
            outputs,
            words,
            search=self.search if boundary is None else default_search(self.model),
            duration=duration,
            gaps=self.options.allow_gaps,
            calibration=self.options.calibration,
        )
        if boundary is None:
            return found
        # To it, noise beside the words is speech.  Its features are normalised by the utterance, too.
        first, last = _part_of_words(found.words, duration, len(samples), noisy)
        rate = self.sampling_rate
        if not noisy and last - first < _MOST_OF_ALL * len(samples):
            part = samples[first:last]
            inner = self._found(part, text, len(part) / rate, None, noisy=True)
            return inner.moved(first / rate)
        length = min(last / rate, duration) - first / rate
        return with_boundaries(
            found,
            words,
            boundary,
            samples[first:last],
            self.model,
            outputs,
            duration=length,
            start=first / rate,
        )


def _tensor(samples: OneChannel) -> Tensor:
    """(N,) samples in the type that models take.

    Raises:
        ValueError: samples in another shape.
    """
    found = torch.as_tensor(samples, dtype=torch.float32)
    if found.ndim != 1:
        raise ValueError(f"samples must be of one channel, (N,), got {tuple(found.shape)}")
    return found


def _is_doubtful(word: AlignedWord) -> bool:
    return word.status in (DOUBTFUL, NOT_FOUND)


def _count_ok(words: Sequence[AlignedWord]) -> int:
    return sum(word.status == OK for word in words)


def _part_of_words(
    words: Sequence[AlignedWord], duration: float, count: int, noisy: bool
) -> tuple[int, int]:
    """The first sample of the words, and the one behind the last; all where no end without words is long."""
    longest = KEPT_END if noisy else LONG_END
    if not words or max(words[0].start, duration - words[-1].end) <= longest:
        return 0, count
    first, last = max(words[0].start - KEPT_END, 0.0), min(words[-1].end + KEPT_END, duration)
    return round(first / duration * count), round(last / duration * count)
