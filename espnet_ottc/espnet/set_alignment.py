"""Alignments of a set by a trained model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch.nn.utils.rnn import pad_sequence

from espnet_ottc.alignment.aligners import Aligner, AlignmentBatch, AlignmentResult, TokenAlignment
from espnet_ottc.alignment.formats import ctm_lines
from espnet_ottc.alignment.spans import Span, words_from_tokens
from espnet_ottc.alignment.writing import Times, write_infeasible
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.decoding.labels import kept_frames
from espnet_ottc.espnet.trained_model import Posteriors, TrainedModel
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

_ALIGNED_TOGETHER = 16

# The text of an utterance, given what the model says about it.
TextOf = Callable[[Cut, Posteriors], str]


@dataclass
class SetAlignment:
    """Alignments of a set.

    Attributes:
        times: by aligner.
        frame_labels: the model's best token of each frame, by utterance id; `<blank>` for a frame
            that greedy decoding drops.
        durations: seconds, by utterance id.
        texts: what was aligned, by utterance id.
    """

    times: dict[str, Times]
    frame_labels: dict[str, list[str]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def transcript(cut: Cut, _: Posteriors) -> str:
    """The text of the cut's supervision."""
    return cut.supervisions[0].text or ""


def align_set(
    model: TrainedModel,
    cuts: CutSet,
    aligners: Mapping[str, Aligner],
    title: str,
    text: TextOf = transcript,
) -> SetAlignment:
    """Align the texts of all cuts; a text without tokens has no spans.

    Args:
        model: with CTC or OTTC.
        cuts: mono cuts with recordings.
        aligners: by the name of their results.
        title: of the progress bar.
        text: gives each cut's.

    Raises:
        ValueError: what the model or an aligner refuses; it names the utterance.
    """
    result = SetAlignment({name: Times() for name in aligners})
    for group in _groups(model, cuts, title, text):
        for cut, posteriors in zip(group.cuts, group.posteriors, strict=True):
            result.durations[cut.id] = cut.duration
            result.frame_labels[cut.id] = _frame_labels(model, posteriors)
        result.texts |= group.texts
        for name, aligner in aligners.items():
            times = result.times[name]
            found = group.aligned(aligner)
            times.infeasible |= found.infeasible
            for cut in group.cuts:
                alignment = found.alignments.get(cut.id)
                if alignment is not None:
                    tokens, words = _spans(model, cut, group.texts[cut.id], alignment)
                    times.tokens[cut.id] = tokens
                    times.words[cut.id] = words
                elif cut.id not in found.infeasible:
                    times.tokens[cut.id] = times.words[cut.id] = []
    return result


def align_frames(
    model: TrainedModel, cuts: CutSet, aligner: Aligner, out: Path
) -> tuple[dict[str, str], int]:
    """Write what trainings on a forced alignment take: `ali`, `words.ctm`, `infeasible`.

    Each line of `ali` has an utterance and the token id of every frame.  Utterances that cannot be aligned
    are in `infeasible` alone, with the reason.

    Args:
        model: with CTC.
        cuts: of the set.
        aligner: for CTC.
        out: folder for the files.

    Returns:
        Why utterances have no alignment, by id; and the number of all utterances.

    Raises:
        ValueError: what the model or the aligner refuses; it names the utterance.
    """
    infeasible: dict[str, str] = {}
    count = 0
    with (
        written_aside(out / "ali") as ali,
        written_aside(out / "words.ctm") as ctm,
    ):
        # Line by line: the words of a large training set fill the memory.
        with ali.open("w", encoding="utf-8") as frames, ctm.open("w", encoding="utf-8") as times:
            title = f"forced alignment of {out.name}"
            for group in _groups(model, cuts, title, transcript):
                found = group.aligned(aligner)
                infeasible |= found.infeasible
                count += len(group.cuts)
                for cut in group.cuts:
                    if cut.id in found.alignments:
                        alignment = found.alignments[cut.id]
                        tokens = alignment.frame_tokens(model.blank).tolist()
                        frames.write(" ".join([cut.id, *map(str, tokens)]) + "\n")
                        _, words = _spans(model, cut, group.texts[cut.id], alignment)
                        times.writelines(ctm_lines(cut.id, words))
        write_infeasible(out / "infeasible", infeasible)
    return infeasible, count


def check_teacher(model: TrainedModel, tokens: Path) -> None:
    """Refuse a model whose frame labels mean nothing to trainings with these tokens.

    Args:
        model: that aligns.
        tokens: ESPnet's token list of the trainings.

    Raises:
        ValueError: not a CTC model, or one with other tokens.
    """
    if isinstance(model.criterion, SequenceCriterion):
        raise ValueError(
            f"{model.directory}: forced alignment needs a model with CTC, this one has "
            f"{type(model.criterion).__name__}"
        )
    with tokens.open(encoding="utf-8") as file:
        ours = [line.rstrip("\n") for line in file]
    if model.token_list != ours:
        pairs = enumerate(zip_longest(model.token_list, ours))
        place, (theirs, own) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"{model.directory}: a model whose alignments are trained on must have the tokens of "
            f"{tokens}; token {place} is {theirs!r} there and {own!r} here"
        )


@dataclass(frozen=True)
class _Group:
    """Some utterances, and what the model says about each."""

    cuts: list[Cut]
    posteriors: list[Posteriors]
    texts: dict[str, str]  # by id
    batch: AlignmentBatch | None  # of those whose text has tokens

    def aligned(self, aligner: Aligner) -> AlignmentResult:
        return AlignmentResult() if self.batch is None else aligner.align(self.batch)


def _groups(model: TrainedModel, cuts: CutSet, title: str, text: TextOf) -> Iterator[_Group]:
    """All utterances, some at a time."""
    everything = iter(progress(cuts, title=title, unit="utterance"))
    while group := list(islice(everything, _ALIGNED_TOGETHER)):
        # One by one, as in decoding: ESPnet's features depend a little on the batch.
        posteriors = [model.posteriors([cut]) for cut in group]
        pairs = zip(group, posteriors, strict=True)
        texts = {cut.id: text(cut, found) for cut, found in pairs}
        yield _Group(group, posteriors, texts, _batch(model, texts, posteriors))


def _batch(
    model: TrainedModel, texts: Mapping[str, str], posteriors: Sequence[Posteriors]
) -> AlignmentBatch | None:
    tokens = {utterance: model.token_ids(text, utterance) for utterance, text in texts.items()}
    spoken = [found for found, ids in zip(posteriors, tokens.values(), strict=True) if ids]
    if not spoken:
        return None
    labels = model.labels([ids for ids in tokens.values() if ids])
    alphas = [found.alpha[0] for found in spoken if found.alpha is not None]
    return AlignmentBatch(
        [utterance for utterance, ids in tokens.items() if ids],
        pad_sequence([found.log_probs[0] for found in spoken], True),
        torch.cat([found.lengths for found in spoken]),
        labels.targets,
        labels.lengths,
        pad_sequence(alphas, True) if alphas else None,
        labels.weights,
    )


def _spans(
    model: TrainedModel, cut: Cut, text: str, alignment: TokenAlignment
) -> tuple[list[Span], list[Span]]:
    """Tokens and words."""
    tokens = alignment.spans(model.token_list, model.grid, cut.duration)
    try:
        return tokens, words_from_tokens(tokens, model.token_type, words=text.split())
    except ValueError as error:
        raise ValueError(f"{cut.id}: {error}") from error


def _frame_labels(model: TrainedModel, posteriors: Posteriors) -> list[str]:
    best = posteriors.log_probs.argmax(2)
    if isinstance(model.criterion, SequenceCriterion):
        threshold = model.criterion.drop_threshold
        kept = kept_frames(best, posteriors.alpha, posteriors.lengths, threshold)
        best = torch.where(kept, best, model.blank)
    return [model.token_list[token] for token in best[0, : int(posteriors.lengths[0])].tolist()]
