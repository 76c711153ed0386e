"""Cuts aligned by a trained model, a few at a time; `TrainedModel.align` is the way in."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import torch
from lhotse.cut import Cut
from torch.nn.utils.rnn import pad_sequence

from espnet_ottc.alignment.aligners import (
    Aligner,
    AlignmentBatch,
    AlignmentResult,
    TokenAlignment,
    make_aligner,
)
from espnet_ottc.alignment.boundary.aligner import of_recording
from espnet_ottc.alignment.boundary.beside import align_beside
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.wide import WideOutputs
from espnet_ottc.alignment.spans import (
    CHARACTER_SEPARATORS,
    Span,
    with_unaligned,
    words_from_tokens,
)
from espnet_ottc.alignment.steady_sound import without_steady_sound
from espnet_ottc.alignment.windows import FrameOutputs, frame_outputs, together
from espnet_ottc.alignment.writing import Times
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.ops.greedy_decoding import kept_frames

if TYPE_CHECKING:
    from espnet_ottc.espnet.trained_model import TrainedModel

# Cuts whose frames lie in memory together: at most so many, and so many seconds with padding.
_MOST_TOGETHER, _SECONDS_TOGETHER = 16, 640.0

# The text of an utterance, given what the model says about it.
TextOf = Callable[[Cut, FrameOutputs], str]


@dataclass(frozen=True, eq=False)
class BoundarySearch:
    """An aligner of cuts by a boundary head: one search over its scores and the model's own.

    Attributes:
        model: the head.
    """

    model: BoundaryModel


@dataclass
class AlignedCut:
    """One utterance with its alignments.

    Attributes:
        utterance: id of the cut.
        duration: of the cut, in seconds.
        text: what was aligned.
        frame_labels: the model's best token of each frame; `<blank>` for one that greedy decoding drops.
        alignments: by aligner of labels; none for a text without tokens.
        tokens: spans in seconds from the cut's start, by aligner; none where it is infeasible.
        words: the same.
        infeasible: aligner -> why it found no alignment.
    """

    utterance: str
    duration: float
    text: str
    frame_labels: list[str]
    alignments: dict[str, TokenAlignment] = field(default_factory=dict)
    tokens: dict[str, list[Span]] = field(default_factory=dict)
    words: dict[str, list[Span]] = field(default_factory=dict)
    infeasible: dict[str, str] = field(default_factory=dict)


@dataclass
class CutAlignments:
    """Alignments of a set of cuts.

    Attributes:
        times: spans in seconds of words and tokens, and what is infeasible, by aligner.
        frame_labels: the model's best token of each frame, by utterance id; `<blank>` for a frame
            that greedy decoding drops.
        durations: seconds, by utterance id.
        texts: what was aligned, by utterance id.
    """

    times: dict[str, Times]
    frame_labels: dict[str, list[str]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, found: AlignedCut) -> None:
        """Enter an utterance."""
        name = found.utterance
        self.durations[name] = found.duration
        self.frame_labels[name] = found.frame_labels
        self.texts[name] = found.text
        for aligner, times in self.times.items():
            if aligner in found.infeasible:
                times.infeasible[name] = found.infeasible[aligner]
            else:
                times.tokens[name] = found.tokens[aligner]
                times.words[name] = found.words[aligner]


def transcript(cut: Cut, _: FrameOutputs) -> str:
    """The text of the cut's one supervision.

    Raises:
        ValueError: none, or several.
    """
    if len(cut.supervisions) != 1:
        raise ValueError(
            f"{cut.id}: a cut must have one supervision, whose text is aligned; "
            f"got {len(cut.supervisions)}"
        )
    return cut.supervisions[0].text or ""


def aligned_cuts(
    model: "TrainedModel",
    cuts: Iterable[Cut],
    aligners: Mapping[str, Aligner | BoundarySearch],
    text: TextOf,
) -> Iterator[AlignedCut]:
    """See `TrainedModel.aligned`."""
    of_labels = {n: one for n, one in aligners.items() if not isinstance(one, BoundarySearch)}
    of_boundaries = {n: one.model for n, one in aligners.items() if isinstance(one, BoundarySearch)}
    for group in _grouped(cuts):
        posteriors = model.posteriors(group)
        texts = [text(cut, found) for cut, found in zip(group, posteriors, strict=True)]
        tokens = [model.token_ids(words, cut.id) for cut, words in zip(group, texts, strict=True)]
        batch = _batch(model, [cut.id for cut in group], tokens, posteriors)
        results = {
            name: AlignmentResult() if batch is None else aligner.align(batch)
            for name, aligner in of_labels.items()
        }
        for cut, words, said in zip(group, texts, posteriors, strict=True):
            found = _aligned_cut(model, cut, words, said, results)
            for name, boundary in of_boundaries.items():
                _find_boundaries(model, boundary, name, cut, said, found)
            yield found


def wide_outputs(model: "TrainedModel", posteriors: FrameOutputs) -> WideOutputs:
    """What a model says about an utterance, as a boundary model takes it beside its own scores."""
    silence = {i for i, token in enumerate(model.token_list) if token in CHARACTER_SEPARATORS}
    silence |= {one for one in (model.boundary, model.null) if one is not None}
    return WideOutputs(
        posteriors.log_probs,
        model.grid,
        model.token_list,
        frozenset(silence),
        model.blank if model.null is None else None,
    )


def _find_boundaries(
    model: "TrainedModel",
    boundary: BoundaryModel,
    name: str,
    cut: Cut,
    posteriors: FrameOutputs,
    found: AlignedCut,
) -> None:
    """Enter the spans by a boundary model under a name; long steady sound is left out for the search."""
    words = found.text.split()
    if not words:
        found.tokens[name], found.words[name] = [], []
        return
    samples = model.samples(cut)
    sound = without_steady_sound(samples, model.sampling_rate)
    if not torch.equal(sound.samples, samples):
        posteriors = frame_outputs(model, [sound.samples])[0]
    roughly = [(span.start, span.end) for span in _rough_words(model, cut, found.text, posteriors)]
    times = align_beside(
        boundary,
        sound.samples,
        model.sampling_rate,
        words,
        wide_outputs(model, posteriors),
        roughly if len(roughly) == len(words) else [],
        duration=cut.duration - sound.seconds_out(model.sampling_rate),
    )
    if isinstance(times, str):
        found.infeasible[name] = times
    else:
        times = of_recording(times, sound)
        found.words[name], found.tokens[name] = times.words, times.tokens


def _rough_words(
    model: "TrainedModel", cut: Cut, text: str, posteriors: FrameOutputs
) -> list[Span]:
    """Spans by the model alone; none where it finds none."""
    tokens = model.token_ids(text, cut.id)
    batch = _batch(model, [cut.id], [tokens], [posteriors])
    result = AlignmentResult() if batch is None else make_aligner(model.label_aligner).align(batch)
    found = result.alignments.get(cut.id)
    return [] if found is None else _spans(model, cut, text, found)[1]


def _grouped(cuts: Iterable[Cut]) -> Iterator[list[Cut]]:
    everything = iter(cuts)
    while group := list(islice(everything, _MOST_TOGETHER)):
        durations = [cut.duration for cut in group]
        for places in together(range(len(group)), durations, _SECONDS_TOGETHER):
            yield [group[place] for place in places]


def _aligned_cut(
    model: "TrainedModel",
    cut: Cut,
    text: str,
    posteriors: FrameOutputs,
    results: Mapping[str, AlignmentResult],
) -> AlignedCut:
    found = AlignedCut(cut.id, cut.duration, text, _frame_labels(model, posteriors))
    for name, result in results.items():
        if cut.id in result.infeasible:
            found.infeasible[name] = result.infeasible[cut.id]
        elif cut.id in result.alignments:
            alignment = result.alignments[cut.id]
            found.alignments[name] = alignment
            found.tokens[name], found.words[name] = _spans(model, cut, text, alignment)
        else:  # a text without tokens
            found.tokens[name], found.words[name] = [], []
    return found


def _batch(
    model: "TrainedModel",
    utterances: Sequence[str],
    tokens: Sequence[Sequence[int]],
    posteriors: Sequence[FrameOutputs],
) -> AlignmentBatch | None:
    """The utterances whose text has tokens; None without any."""
    spoken = [row for row, ids in enumerate(tokens) if ids]
    if not spoken:
        return None
    labels = model.labels([tokens[row] for row in spoken])
    said = [posteriors[row] for row in spoken]
    alphas = [alpha for found in said if (alpha := found.alpha) is not None]
    # Where the labels are: k2 aligns on a GPU.
    device = labels.targets.device
    return AlignmentBatch(
        [utterances[row] for row in spoken],
        pad_sequence([found.log_probs for found in said], True).to(device),
        torch.tensor([len(found.log_probs) for found in said], device=device),
        labels.targets,
        labels.lengths,
        pad_sequence(alphas, True).to(device) if alphas else None,
        labels.weights,
        model.null,
    )


def _spans(
    model: "TrainedModel", cut: Cut, text: str, alignment: TokenAlignment
) -> tuple[list[Span], list[Span]]:
    """Tokens and words."""
    tokens = alignment.spans(model.token_list, model.grid, cut.duration)
    if model.unaligned is not None:
        given = [model.token_list[token] for token in model.token_ids(text, cut.id)]
        tokens = with_unaligned(tokens, given, model.token_list[model.unaligned])
    try:
        return tokens, words_from_tokens(tokens, model.token_type, words=text.split())
    except ValueError as error:
        raise ValueError(f"{cut.id}: {error}") from error


def _frame_labels(model: "TrainedModel", posteriors: FrameOutputs) -> list[str]:
    best = posteriors.log_probs.argmax(1)[None]
    if isinstance(model.criterion, SequenceCriterion):
        threshold = model.criterion.drop_threshold
        alpha = None if posteriors.alpha is None else posteriors.alpha[None]
        kept = kept_frames(best, alpha, torch.tensor([best.shape[1]]), threshold)
        best = torch.where(kept, best, model.blank)
    return [model.token_list[token] for token in best[0].tolist()]
