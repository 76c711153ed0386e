"""Forced alignments as the data stream `ali`, which other trainings take."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from lhotse.cut import Cut

from espnet_ottc.alignment.aligners import Aligner
from espnet_ottc.alignment.formats import ctm_lines
from espnet_ottc.alignment.writing import write_infeasible
from espnet_ottc.espnet.criteria.sequence import SequenceCriterion
from espnet_ottc.espnet.cut_alignment import BoundarySearch
from espnet_ottc.espnet.trained_model import TrainedModel
from espnet_ottc.utils.files import written_aside

_ALIGNER = "forced_align"


def write_forced_alignment(
    model: TrainedModel, cuts: Iterable[Cut], aligner: Aligner | BoundarySearch, out: Path
) -> Iterator[str]:
    """Write what trainings on a forced alignment take: `ali`, `words.ctm`, `infeasible`.

    Each line of `ali` has an utterance and the token id of every frame.  Utterances that cannot be aligned
    are in `infeasible` alone, with the reason.

    Args:
        model: with CTC.
        cuts: of the set.
        aligner: for CTC.
        out: folder for the files.

    Yields:
        The id of each utterance, once it is through.

    Raises:
        ValueError: what the model or the aligner refuses; it names the utterance.
    """
    infeasible: dict[str, str] = {}
    # Line by line: the words of a large training set fill the memory.
    with written_aside(out / "ali") as ali, written_aside(out / "words.ctm") as ctm:
        with ali.open("w", encoding="utf-8") as frames, ctm.open("w", encoding="utf-8") as times:
            for found in model.aligned(cuts, {_ALIGNER: aligner}):
                if _ALIGNER in found.infeasible:
                    infeasible[found.utterance] = found.infeasible[_ALIGNER]
                alignment = found.alignments.get(_ALIGNER)
                if alignment is not None:
                    tokens = alignment.frame_tokens(model.blank).tolist()
                    frames.write(" ".join([found.utterance, *map(str, tokens)]) + "\n")
                    times.writelines(ctm_lines(found.utterance, found.words[_ALIGNER]))
                yield found.utterance
        write_infeasible(out / "infeasible", infeasible)


def check_alignment_source(model: TrainedModel, tokens: Path) -> None:
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
