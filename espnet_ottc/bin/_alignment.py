"""Alignments of a set by a trained model, and the files that hold them."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch.nn.utils.rnn import pad_sequence

from espnet_ottc.aligners import Aligner, AlignmentBatch, TokenAlignment
from espnet_ottc.espnet.decoding import kept_frames
from espnet_ottc.espnet.posteriors import Posteriors, TrainedModel
from espnet_ottc.espnet.sequence import SequenceCriterion
from espnet_ottc.formats import (
    SpansById,
    ctm_lines,
    write_ctm,
    write_supervisions,
    write_textgrid,
    written_aside,
)
from espnet_ottc.progress import progress
from espnet_ottc.spans import Span, words_from_tokens

# A TextGrid's times are whole tenths of a millisecond, and an interval lasts one at least.
_TEXTGRID_DECIMALS = 4
_TEXTGRID_STEPS = 10_000
_ALIGNED_TOGETHER = 16


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
    """Align the transcripts of all cuts.

    Args:
        model: with CTC or OTTC.
        cuts: manifest.
        aligners: by the name of their results.
        token_type: char, bpe or word.
        title: of the progress bar.

    Raises:
        ValueError: what the model or an aligner refuses; it names the utterance.
    """
    result = SetAlignment({name: Times() for name in aligners})
    for group in _groups(model, cuts, title):
        for cut, posteriors in zip(group.cuts, group.posteriors, strict=True):
            result.durations[cut.id] = cut.duration
            result.frame_labels[cut.id] = _frame_labels(model, posteriors)
        for name, aligner in aligners.items():
            times = result.times[name]
            found = aligner.align(group.batch)
            times.infeasible |= found.infeasible
            for cut in group.cuts:
                if cut.id in found.alignments:
                    tokens, words = _spans(model, cut, found.alignments[cut.id], token_type)
                    times.tokens[cut.id] = tokens
                    times.words[cut.id] = words
    return result


def align_frames(
    model: TrainedModel, cuts: Path, aligner: Aligner, token_type: str, out: Path
) -> tuple[dict[str, str], int]:
    """Write what trainings on a forced alignment take: `ali`, `words.ctm`, `infeasible`.

    Each line of `ali` has an utterance and the token id of every frame.  Utterances that cannot be aligned
    are in `infeasible` alone, with the reason.

    Args:
        model: with CTC.
        cuts: manifest of the set.
        aligner: for CTC.
        token_type: char, bpe or word.
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
        written_aside(out / "infeasible") as reasons,
    ):
        # Line by line: the words of a large training set fill the memory.
        with ali.open("w", encoding="utf-8") as frames, ctm.open("w", encoding="utf-8") as times:
            for group in _groups(model, cuts, f"forced alignment of {out.name}"):
                found = aligner.align(group.batch)
                infeasible |= found.infeasible
                count += len(group.cuts)
                for cut in group.cuts:
                    if cut.id in found.alignments:
                        alignment = found.alignments[cut.id]
                        tokens = alignment.frame_tokens(model.blank).tolist()
                        frames.write(" ".join([cut.id, *map(str, tokens)]) + "\n")
                        _, words = _spans(model, cut, alignment, token_type)
                        times.writelines(ctm_lines(cut.id, words))
        _write_infeasible(reasons, infeasible)
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
    batch: AlignmentBatch


def _groups(model: TrainedModel, cuts: Path, title: str) -> Iterator[_Group]:
    """All utterances of a manifest, some at a time."""
    bar = progress(CutSet.from_file(cuts), title=title, unit="utterance")
    everything = iter(bar)
    while group := list(islice(everything, _ALIGNED_TOGETHER)):
        # One by one, as in decoding: ESPnet's features depend a little on the batch.
        posteriors = [model.posteriors([cut]) for cut in group]
        labels = model.labels([model.token_ids(_text(cut), cut.id) for cut in group])
        alphas = [found.alpha[0] for found in posteriors if found.alpha is not None]
        batch = AlignmentBatch(
            [cut.id for cut in group],
            pad_sequence([found.log_probs[0] for found in posteriors], True),
            torch.cat([found.lengths for found in posteriors]),
            labels.targets,
            labels.lengths,
            pad_sequence(alphas, True) if alphas else None,
            labels.weights,
        )
        yield _Group(group, posteriors, batch)


def _spans(
    model: TrainedModel, cut: Cut, alignment: TokenAlignment, token_type: str
) -> tuple[list[Span], list[Span]]:
    """Tokens and words."""
    tokens = alignment.spans(model.token_list, model.grid, cut.duration)
    try:
        return tokens, words_from_tokens(tokens, token_type, words=_text(cut).split())
    except ValueError as error:
        raise ValueError(f"{cut.id}: {error}") from error


def _text(cut: Cut) -> str:
    return cut.supervisions[0].text or ""


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
    write_supervisions(supervisions, times.words, durations, others={"token": times.tokens})
    aside = out / ".textgrid.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name, spans in times.words.items():
        tiers = {"words": spans, "tokens": times.tokens[name]}
        drawn = {tier: drawable(content, durations[name]) for tier, content in tiers.items()}
        write_textgrid(aside / f"{name}.TextGrid", drawn, durations[name])
    shutil.rmtree(grids, ignore_errors=True)
    aside.rename(grids)
    with written_aside(infeasible) as path:
        _write_infeasible(path, times.infeasible)
    return paths


def _write_infeasible(path: Path, infeasible: Mapping[str, str]) -> None:
    lines = "".join(f"{name} {why}\n" for name, why in infeasible.items())
    path.write_text(lines, encoding="utf-8")


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
