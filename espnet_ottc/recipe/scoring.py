"""Score words and times of everything that was decoded and aligned (stage 10).

Writes `score.json` and `score.txt` beside each hypothesis, and from the score files alone
`EXPDIR/results.jsonl`.  Scores against a forced alignment (`--reference forced`) have `_by_<ali_system>` in
these names.
"""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from espnet_ottc.alignment.formats import read_manifest, spans_of, text_tier, write_ctm
from espnet_ottc.alignment.scoring import (
    Folding,
    ScoringOptions,
    TimesReport,
    TimesScoringOptions,
    WordReport,
    WordScoringOptions,
    read_folding,
    score_time_files,
    score_word_files,
)
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.other_tools import OTHER_DECODER, OTHER_SEED, other_tools, take_times
from espnet_ottc.recipe.paths import score_file
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.results import collect_rows
from espnet_ottc.recipe.systems import System
from espnet_ottc.report.records import results_text
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import write_json, written_aside

# What is no letter in any corpus: CTC's blank, and the word separators of characters and of SentencePiece.
SPECIAL = ("<blank>", "<space>", "▁")


def score(recipe: Recipe) -> None:
    """Stage 10."""
    timed = set(recipe.sets.evaluated)
    if recipe.paths.reference_system is None:
        timed = {name for name in timed if _write_reference(recipe, name)}
    for system in recipe.models:
        for seed in recipe.seeds:
            for set_name in recipe.sets.evaluated:
                for decoder in () if system.times_only else recipe.decoders:
                    _score_words(recipe, system, seed, decoder, set_name)
                # Nothing is scored against itself.
                if set_name in timed and system.name != recipe.paths.reference_system:
                    for aligner in recipe.time_decoders(system, seed):
                        _score_times(recipe, system, seed, aligner, set_name)
    for tool, set_name in itertools.product(other_tools(recipe), sorted(timed)):
        if take_times(recipe, tool, set_name):
            _score_times(recipe, tool, OTHER_SEED, OTHER_DECODER, set_name)
    rows = collect_rows(
        recipe.paths.expdir, next(iter(recipe.decoders)), recipe.paths.reference_system
    )
    path = recipe.paths.results
    text = results_text(rows)
    # Left alone where nothing changed, so that the report need not be made again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with written_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
    say(f"stage 10: {len(rows)} rows in {path}")


def _write_reference(recipe: Recipe, set_name: str) -> bool:
    """Write the times that came with a set's words, or phones, as a CTM; whether it has any."""
    cuts, out = recipe.paths.cuts(set_name), recipe.paths.annotation(set_name)
    step = Step(
        title=f"stage 10: reference times of {set_name}",
        mark=recipe.paths.data_mark(f"reference_{set_name}"),
        options={},
        inputs=(cuts,),
        outputs=(out,),
        after={recipe.paths.cuts_mark(set_name): "stage 2 (cuts)"},
    )

    def work(_: bool) -> None:
        spans = {}
        count = 0
        for cut in read_manifest(cuts, "cuts"):
            count += 1
            supervision = cut.supervisions[0]
            if tier := text_tier(supervision):
                spans[cut.id] = spans_of(supervision, tier)
        write_ctm(out, spans)
        if len(spans) < count:
            say(
                f"  {count - len(spans)} of {count} utterances of {set_name} have no word "
                "times: they take no part in the scores of times"
            )

    perform(step, work, say)
    return out.stat().st_size > 0


def _score_words(recipe: Recipe, system: System, seed: int, decoder: str, set_name: str) -> None:
    out = recipe.paths.decoded(system.name, seed, decoder, set_name)
    text = recipe.paths.text(set_name)
    hypothesis = recipe.paths.hypotheses(system.name, seed, decoder, set_name)
    options = WordScoringOptions(folding=_folding(recipe))
    _score(
        recipe,
        title=f"words of {set_name} by {system.name}, seed {seed}, {decoder}",
        out=out,
        mark=recipe.paths.score_mark(system.name, seed, out, ""),
        inputs=(text, hypothesis),
        options=options,
        score=lambda: score_word_files(text, hypothesis, options),
        after={
            recipe.paths.decode_mark(system.name, seed, decoder, set_name): "stage 8 (decoding)"
        },
    )


def _score_times(
    recipe: Recipe, system: System | str, seed: int, aligner: str, set_name: str
) -> None:
    """Score what a system found, or another tool of this name."""
    name = system if isinstance(system, str) else system.name
    out = recipe.paths.aligned(name, seed, aligner, set_name)
    hypothesis = recipe.paths.word_times(name, seed, aligner, set_name)
    reference = recipe.paths.reference(set_name, seed)
    source = recipe.paths.reference_system
    after = {recipe.paths.align_mark(name, seed, set_name): "stage 9 (alignment)"}
    if source is not None:
        mark = recipe.paths.align_mark(source, seed, set_name)
        after[mark] = f"the alignment by {source}, the reference (stage 9)"
    options = TimesScoringOptions(
        # No line for an utterance that could not be aligned; no reference for some, perhaps.
        missing_is_empty=True,
        ignore_extra=True,
        special=(*SPECIAL, *recipe.corpus.silences),
        folding=_folding(recipe),
    )
    files = {}
    if (inner := _inner_reference(recipe, set_name)) is not None:
        files["inner"] = inner
    if isinstance(system, System) and not system.times_only:
        files["frames"] = recipe.paths.frame_labels(name, seed, set_name)
        files["durations"] = recipe.paths.durations(name, seed, set_name)
    _score(
        recipe,
        title=f"times of {set_name} by {name}, seed {seed}, {aligner}",
        out=out,
        mark=recipe.paths.score_mark(name, seed, out, recipe.paths.suffix),
        inputs=(reference, hypothesis, *files.values()),
        options=options,
        score=lambda: score_time_files(reference, hypothesis, options, **files),
        after=after,
        reference_system=source,
    )


def _score(
    recipe: Recipe,
    *,
    title: str,
    out: Path,
    mark: Path,
    inputs: tuple[Path, ...],
    options: ScoringOptions,
    score: Callable[[], WordReport | TimesReport],
    after: Mapping[Path, str],
    reference_system: str | None = None,
) -> None:
    if recipe.corpus.folding_path is not None:
        inputs = (*inputs, recipe.corpus.folding_path)
    json_path = out / score_file(reference_system)
    text_path = json_path.with_suffix(".txt")
    step = Step(
        title=f"stage 10: {title}",
        mark=mark,
        options={"scoring": options.as_json()},
        inputs=inputs,
        outputs=(json_path, text_path),
        after=after,
    )

    def work(_: bool) -> None:
        try:
            report = score()
        except ValueError as fault:
            raise StepError(f"{title}: {fault}") from fault
        write_json(json_path, report.as_json())
        with written_aside(text_path) as aside:
            aside.write_text(f"{report.as_text()}\n", encoding="utf-8")

    perform(step, work, say)


def _inner_reference(recipe: Recipe, set_name: str) -> Path | None:
    """The second reference of a set, inside of the corpus's own."""
    folder: Path | None = recipe.options.inner_times
    path = None if folder is None else folder / f"{set_name}.ctm"
    return path if path is not None and path.is_file() else None


def _folding(recipe: Recipe) -> Folding | None:
    path = recipe.corpus.folding_path
    return None if path is None else read_folding(path)
