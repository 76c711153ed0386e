"""From a corpus to cuts and tokens (stages 0 to 3)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ottc.recipe.audio_checks import check_audio
from espnet_ottc.recipe.corpora import Preparation
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.commands import say

if TYPE_CHECKING:
    from espnet_ottc.corpora.manifests import PartSummary, Problem

# Of a part's notes, how many are printed.
_SHOWN = 5


def find_corpus(recipe: Recipe) -> None:
    """Stage 0: say what the corpus has, or synthesise one where none was given."""
    corpus, given = recipe.corpus, recipe.options.corpus_dir
    if given is not None:
        say(f"stage 0: {given} with {' '.join(recipe.sets.parts)}")
        if recipe.sets.absent:
            absent = " ".join(recipe.sets.absent)
            say(f"stage 0: {given} has no {absent}, left out of this run")
        return
    out = recipe.corpus_dir
    where = f"--{corpus.option} DIR, or {corpus.variable} in the environment or db.sh"
    say(f"!! NO {corpus.name} WAS GIVEN ({where}).")
    say(f"!! A small corpus of SYNTHETIC speech in its layout takes its place: {out}")
    hours = recipe.synthetic_hours
    step = Step(
        title="stage 0: synthetic speech",
        mark=recipe.paths.data_mark("corpus"),
        options={"layout": corpus.layout, "hours": hours, "corpus": str(out)},
        outputs=(out,),
    )

    def work(_: bool) -> None:
        # Late: a corpus that is there needs no synthesiser.
        from espnet_ottc.synthesis.building import build_corpus, summary_table

        plan = corpus.synthetic_sets(**{name: float(text) for name, text in hours.items()})
        try:
            sessions = build_corpus(plan, layout=corpus.layout, out=out, nj=recipe.options.nj)
        except RuntimeError as fault:
            # Of the synthesiser: its library does not start, or a process of it died.
            raise StepError(f"stage 0: {fault}") from fault
        say(summary_table(sessions))
        say(f"Written to {out}. This is synthetic speech: see README.TXT there.")

    perform(step, work, say)


def make_manifests(recipe: Recipe) -> None:
    """Stage 1: Lhotse's manifests of recordings and supervisions, for each part of the corpus."""
    corpus, parts = recipe.corpus_dir, recipe.sets.parts
    preparation, folder = recipe.corpus.preparation, recipe.paths.manifests
    alignments: Path | None = recipe.options.alignments
    made_here = recipe.options.corpus_dir is None
    step = Step(
        title="stage 1: manifests",
        mark=recipe.paths.data_mark("manifests"),
        options={
            "corpus": str(corpus),
            "parts": parts,
            "alignments": None if alignments is None else str(alignments),
        },
        inputs=recipe.corpus_inputs(),
        outputs=_manifests(preparation, folder, parts),
        after={recipe.paths.data_mark("corpus"): "stage 0 (corpus)"} if made_here else {},
    )

    def work(_: bool) -> None:
        for done in preparation.prepare_parts(
            corpus, parts, folder, alignments=alignments, nj=recipe.options.nj
        ):
            say_part(done, folder)

    perform(step, work, say)


def make_cuts(recipe: Recipe) -> None:
    """Stage 2: the cuts and the transcripts of each set, every utterance checked."""
    paths, preparation = recipe.paths, recipe.corpus.preparation
    drop: bool = recipe.options.drop_bad_alignments
    for name, parts in recipe.sets.members.items():
        step = Step(
            title=f"stage 2: cuts of {name}",
            mark=paths.cuts_mark(name),
            options={"parts": parts, "drop_bad_alignments": drop},
            inputs=_manifests(preparation, paths.manifests, parts),
            outputs=(paths.cuts(name), paths.text(name)),
            after={paths.data_mark("manifests"): "stage 1 (manifests)"},
            resumable=True,
        )
        perform(step, _cutting(recipe, name, parts), say)


def _cutting(recipe: Recipe, name: str, parts: Sequence[str]) -> Callable[[bool], None]:
    def work(resumed: bool) -> None:
        write_sets(
            recipe.corpus.preparation,
            recipe.paths.manifests,
            recipe.paths.datadir,
            {name: parts},
            drop_bad_alignments=recipe.options.drop_bad_alignments,
            check=lambda path, count: check_audio(recipe, name, path, count, resumed=resumed),
        )

    return work


def make_tokens(recipe: Recipe) -> None:
    """Stage 3: ESPnet's token list, and SentencePiece's model for BPE."""
    paths, train = recipe.paths, recipe.sets.train
    model = paths.bpe_model
    vocabulary: dict[str, Any] = {"token_type": recipe.token_type}
    if model is not None:
        vocabulary["nbpe"] = recipe.options.nbpe
    step = Step(
        title="stage 3: tokens",
        mark=paths.tokens_mark,
        options=vocabulary,
        inputs=(paths.text(train),),
        outputs=(paths.tokens, *([] if model is None else [model])),
        after={paths.cuts_mark(train): "stage 2 (cuts)"},
    )

    def work(_: bool) -> None:
        from espnet_ottc.recipe.tokens import write_tokens

        count = write_tokens(
            paths.text(train),
            paths.tokens,
            token_type=recipe.token_type,
            nbpe=recipe.options.nbpe,
            bpe_model=model,
        )
        say(f"{count} tokens in {paths.tokens}")

    perform(step, work, say)


def say_part(done: "PartSummary", folder: Path) -> None:
    """Tell the user what a part's manifests hold, and the first notes on it.

    Args:
        done: what was written.
        folder: of the manifests, where all notes are.
    """
    for note in done.notes[:_SHOWN]:
        say(f"  {note}")
    if len(done.notes) > _SHOWN:
        say(f"  ... {len(done.notes)} notes, all in {folder}")
    say(
        f"{done.part}: {done.utterances} utterances, {done.hours:.2f} h, "
        f"{done.aligned} with word times"
    )


def write_sets(
    preparation: Preparation,
    manifests: Path,
    out: Path,
    sets: Mapping[str, Sequence[str]],
    *,
    nj: int = 1,
    drop_bad_alignments: bool = False,
    decode: bool = True,
    check: "Callable[[Path, int], Iterable[Problem]] | None" = None,
) -> None:
    """Write the cuts and transcripts of sets and tell the user what they hold.

    Args:
        preparation: the corpus's module.
        manifests: folder of the manifests.
        out: folder of the sets, which get one each.
        sets: name -> parts of the corpus.
        nj: threads.
        drop_bad_alignments: keep an utterance whose word times do not match its text, without them.
        decode: read all audio to find broken files.
        check: does it; see `write_cuts`.

    Raises:
        FileNotFoundError: a part has no manifests.
        CorpusError: with every problem of a set.
    """
    # Late, as elsewhere in this module: what is done is skipped without it.
    from espnet_ottc.corpora.manifests import write_cuts

    # All sets are looked for before the first is read: that takes long.
    streams = {name: preparation.cuts_of(manifests, parts) for name, parts in sets.items()}
    for name, cuts in streams.items():
        done = write_cuts(
            cuts,
            out / name,
            nj=nj,
            decode=decode,
            drop_bad_alignments=drop_bad_alignments,
            check_audio=check,
        )
        for problem in done.dropped_alignments:
            say(f"alignment dropped: {problem}")
        say(
            f"{name}: {done.cuts} cuts, {done.hours:.2f} h, {done.aligned} with word times, "
            f"{len(done.dropped_alignments)} alignments dropped"
        )


def _manifests(preparation: Preparation, folder: Path, parts: Sequence[str]) -> tuple[Path, ...]:
    kinds = ("recordings", "supervisions")
    return tuple(preparation.manifest_paths(folder, part)[kind] for part in parts for kind in kinds)
