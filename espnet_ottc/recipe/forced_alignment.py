"""Forced alignment of the training data, for systems that train on the stream `ali` (stage 6).

Writes `ali/<set>/` of --ali_system's trainings, or with --ali_from
`ali_from/<set>/` of --expdir: `ali`, the token id of every frame; `words.ctm`; and `infeasible`, the
utterances that cannot be aligned, with the reasons.
"""

import logging

from espnet_ottc.alignment.formats import read_manifest
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.alignment_source import AlignmentSource, alignment_source
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import align_log, configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.commands import log_to, quiet_imports, say


def align(recipe: Recipe) -> None:
    """Stage 6."""
    if not any(system.needs_alignment for system in recipe.systems):
        say("stage 6: no system trains on a forced alignment (label_weights: ali), skipped")
        return
    sources = [alignment_source(recipe, seed) for seed in recipe.seeds]
    # One model that is given aligns for all seeds.
    for source in {found.folder: found for found in sources}.values():
        _align(recipe, source)


def _align(recipe: Recipe, source: AlignmentSource) -> None:
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
    )

    def work(_: bool) -> None:
        # Late, since ESPnet takes long to import, and a skipped step needs none of it.
        log_to(align_log(source.folder))
        with quiet_imports():
            from lhotse import CutSet

            from espnet_ottc.alignment.aligners import make_aligner
            from espnet_ottc.espnet.forced_alignment import (
                check_alignment_source,
                write_forced_alignment,
            )
            from espnet_ottc.espnet.trained_model import TrainedModel
        trained = TrainedModel(source.model.parent, source.model.name, recipe.device)
        check_alignment_source(trained, recipe.paths.tokens)
        logging.info("aligner: %s", aligner)
        for name in sets:
            cuts = CutSet.from_cuts(read_manifest(recipe.paths.cuts(name), "cuts"))
            folder = source.stream(name).parent
            infeasible, count = write_forced_alignment(trained, cuts, make_aligner(aligner), folder)
            jobs.say_infeasible(infeasible, count, f"of {name} by {aligner}")

    perform(step, work, say)
