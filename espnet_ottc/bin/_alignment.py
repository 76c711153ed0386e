"""Alignments of a set by a trained model, and the files that hold them."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from tqdm import tqdm

from espnet_ottc.aligners import Aligner, AlignmentBatch, TokenAlignment
from espnet_ottc.espnet.decoding import kept_frames
from espnet_ottc.espnet.posteriors import Posteriors, TrainedModel
from espnet_ottc.espnet.sequence import SequenceCriterion
from espnet_ottc.formats import (
    SpansById,
    write_ctm,
    write_supervisions,
    write_textgrid,
    written_aside,
)
from espnet_ottc.spans import Span, words_from_tokens

# A TextGrid's times are whole tenths of a millisecond, and an interval lasts one at least.
_TEXTGRID_DECIMALS = 4
_TEXTGRID_STEPS = 10_000


@dataclass
class Times:
    """What one aligner found: spans by utterance id, and why others have none."""

    words: SpansById = field(default_factory=dict)
    tokens: SpansById = field(default_factory=dict)
    infeasible: dict[str, str] = field(default_factory=dict)


@dataclass
class SetAlignment:
    """Alignments of a set.

    Attributes:
        times: by aligner.
        frame_labels: the model's best token of each frame, by utterance id; `<blank>` for a frame
            that greedy decoding drops.
        durations: seconds, by utterance id.
    """

    times: dict[str, Times]
    frame_labels: dict[str, list[str]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)


def align_set(
    model: TrainedModel, cuts: Path, aligners: Mapping[str, Aligner], token_type: str, title: str
) -> SetAlignment:
    """Align the transcripts of all cuts, one utterance at a time, as decoding does.

    Args:
        model: with CTC or OTTC.
        cuts: manifest.
        aligners: by the name of their results.
        token_type: char or bpe.
        title: of the progress bar.

    Raises:
        ValueError: what the model or an aligner refuses; it names the utterance.
    """
    result = SetAlignment({name: Times() for name in aligners})
    for cut in _cuts(cuts, title):
        posteriors, batch, text = batch_of(model, cut)
        result.durations[cut.id] = cut.duration
        result.frame_labels[cut.id] = _frame_labels(model, posteriors)
        for name, aligner in aligners.items():
            times = result.times[name]
            found = aligner.align(batch)
            times.infeasible |= found.infeasible
            if cut.id not in found.alignments:
                continue
            alignment = found.alignments[cut.id]
            tokens = alignment.spans(model.token_list, posteriors.grid, cut.duration)
            times.tokens[cut.id] = tokens
            try:
                times.words[cut.id] = words_from_tokens(tokens, token_type, words=text.split())
            except ValueError as error:
                raise ValueError(f"{cut.id}: {error}") from error
    return result


def frame_alignments(
    model: TrainedModel, cuts: Path, aligner: Aligner, title: str
) -> Iterator[tuple[str, list[int]]]:
    """The token id of every frame of each cut, by its id.

    Raises:
        ValueError: an utterance that cannot be aligned.
    """
    for cut in _cuts(cuts, title):
        _, batch, _ = batch_of(model, cut)
        found = aligner.align(batch)
        if cut.id in found.infeasible:
            raise ValueError(f"{cut.id}: cannot be aligned: {found.infeasible[cut.id]}")
        alignment: TokenAlignment = found.alignments[cut.id]
        yield cut.id, alignment.frame_tokens(model.blank).tolist()


def batch_of(model: TrainedModel, cut: Cut) -> tuple[Posteriors, AlignmentBatch, str]:
    """The model's view of one cut, the batch of one to align, and its transcript."""
    text = cut.supervisions[0].text or ""
    posteriors = model.posteriors([cut])
    labels = model.labels([model.token_ids(text, cut.id)])
    alpha = posteriors.alpha
    batch = AlignmentBatch(
        [cut.id],
        posteriors.log_probs.cpu(),
        posteriors.lengths.cpu(),
        labels.targets.cpu(),
        labels.lengths.cpu(),
        None if alpha is None else alpha.cpu(),
        None if labels.weights is None else labels.weights.cpu(),
    )
    return posteriors, batch, text


def _cuts(path: Path, title: str) -> Iterator[Cut]:
    yield from tqdm(CutSet.from_file(path), desc=title, unit="utt", disable=None, leave=False)


def _frame_labels(model: TrainedModel, posteriors: Posteriors) -> list[str]:
    best = posteriors.log_probs.argmax(2)
    if isinstance(model.criterion, SequenceCriterion):
        threshold = model.criterion.drop_threshold
        kept = kept_frames(best, posteriors.alpha, posteriors.lengths, threshold)
        best = torch.where(kept, best, model.blank)
    return [model.token_list[token] for token in best[0, : int(posteriors.lengths[0])].tolist()]


def write_times(out: Path, times: Times, durations: Mapping[str, float]) -> tuple[Path, ...]:
    """Write `words.ctm`, `tokens.ctm`, `words.jsonl.gz`, `textgrid/` and `infeasible`; their paths."""
    paths = tuple(
        out / name
        for name in ("words.ctm", "tokens.ctm", "words.jsonl.gz", "textgrid", "infeasible")
    )
    words, tokens, supervisions, grids, infeasible = paths
    write_ctm(words, times.words)
    write_ctm(tokens, times.tokens)
    write_supervisions(supervisions, times.words, durations)
    aside = out / ".textgrid.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name, spans in times.words.items():
        drawn = drawable(spans, durations[name])
        write_textgrid(aside / f"{name}.TextGrid", {"words": drawn}, durations[name])
    shutil.rmtree(grids, ignore_errors=True)
    aside.rename(grids)
    with written_aside(infeasible) as path:
        path.write_text("".join(f"{name} {why}\n" for name, why in times.infeasible.items()))
    return paths


def write_columns(path: Path, rows: Mapping[str, Sequence[object]]) -> None:
    """Write Kaldi text: an id and its columns."""
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for name, columns in rows.items():
            file.write(" ".join([name, *map(str, columns)]) + "\n")


def drawable(spans: Sequence[Span], duration: float) -> list[Span]:
    """Spans on a TextGrid's grid of 0.1 ms, each at least one step long and none over another."""
    last = _textgrid_steps(duration)
    starts, ends = [], []
    now = 0
    for number, span in enumerate(spans):
        # Those that follow need a step each.
        latest = last - (len(spans) - number)
        starts.append(min(max(_textgrid_steps(span.start), now), latest))
        now = min(max(_textgrid_steps(span.end), starts[-1] + 1), latest + 1)
        ends.append(now)
    return [
        Span(span.symbol, start / _TEXTGRID_STEPS, end / _TEXTGRID_STEPS, span.score)
        for span, start, end in zip(spans, starts, ends, strict=True)
    ]


def _textgrid_steps(seconds: float) -> int:
    # Rounded as the writer of TextGrids rounds: in decimals.
    return round(round(seconds, _TEXTGRID_DECIMALS) * _TEXTGRID_STEPS)
