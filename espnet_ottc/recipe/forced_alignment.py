"""Forced alignment of the training data, for systems that train on the stream `ali` (stage 6).

Writes `ali/<set>/` of --ali_system's trainings, or with --ali_from
`ali_from/<set>/` of --expdir: `ali`, the token id of every frame; `words.ctm`; and `infeasible`, the
utterances that cannot be aligned, with the reasons.
"""

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.align_shards import AlignJob, align_shards, join_files
from espnet_ottc.recipe.alignment_source import AlignmentSource, alignment_source
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import remove_parts
from espnet_ottc.utils.commands import say


def align(recipe: Recipe) -> None:
    """Stage 6."""
    if not any(system.needs_alignment for system in recipe.systems):
        say("stage 6: no system trains on a forced alignment (label_weights: ali), skipped")
        return
    sources = [alignment_source(recipe, seed) for seed in recipe.seeds]
    # One model that is given aligns for all seeds.
    different = list({found.folder: found for found in sources}.values())
    jobs.run_parallel(lambda source: _align(recipe, source, len(different)), different)


def _align(recipe: Recipe, source: AlignmentSource, among: int) -> None:
    sets = (recipe.sets.train, recipe.sets.valid)
    aligner = recipe.aligner("forced_align")
    step = Step(
        title=f"stage 6: forced alignment by {source.title}",
        mark=source.mark,
        options={"aligner": aligner},
        inputs=(source.model, configuration_of(source.model), *map(recipe.paths.cuts, sets)),
        # What trainings take; words.ctm and infeasible are for readers.
        outputs=tuple(map(source.stream, sets)),
        after=source.after,
        resumable=True,
    )

    def work(resumed: bool) -> None:
        for name in sets:
            out = source.stream(name).parent
            folder = source.folder / ".shards" / name
            title = f"forced alignment of {name} by {source.title}"
            chosen = {"forced_align": aligner}
            cuts, text = recipe.paths.cuts(name), recipe.paths.text(name)
            job = AlignJob(title, source.model, cuts, text, chosen, among, recipe.paths.tokens)
            parts = align_shards(recipe, job, folder, resumed=resumed)
            for file in ("ali", "words.ctm", "infeasible"):
                join_files([part.folder / file for part in parts], out / file)
            lines = (out / "infeasible").read_text(encoding="utf-8").splitlines()
            infeasible = dict(line.split(" ", 1) for line in lines)
            jobs.say_infeasible(infeasible, parts[-1].stop, f"of {name} by {aligner}")
        for name in sets:
            remove_parts(source.folder / ".shards" / name)

    perform(step, work, say)
