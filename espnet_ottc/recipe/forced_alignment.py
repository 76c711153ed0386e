"""Forced alignment of the training data, for systems that train on the stream `ali` (stage 6).

Takes the options of `run.sh`; writes `ali/<set>/` of --ali_system's trainings, or with --ali_from
`ali_from/<set>/` of --expdir: `ali`, the token id of every frame; `words.ctm`; and `infeasible`, the
utterances that cannot be aligned, with the reasons.
"""

import logging
import sys
from collections.abc import Sequence

from lhotse import CutSet

from espnet_ottc.alignment.aligners import make_aligner
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.teacher import Teacher, teacher


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    jobs.go_to_cluster("forced_alignment", arguments)
    return jobs.run(lambda: _align_all(Recipe(options)))


def _align_all(recipe: Recipe) -> None:
    if not any(system.needs_alignment for system in recipe.systems):
        jobs.say("stage 6: no system trains on a forced alignment (label_weights: ali), skipped")
        return
    teachers = [teacher(recipe, seed) for seed in recipe.seeds]
    # One model that is given teaches all seeds.
    for model in {found.folder: found for found in teachers}.values():
        _align(recipe, model)


def _align(recipe: Recipe, model: Teacher) -> None:
    sets = (recipe.sets.train, recipe.sets.valid)
    aligner = recipe.aligner("forced_align")
    step = Step(
        title=f"stage 6: forced alignment by {model.title}",
        mark=model.mark,
        options={"aligner": aligner},
        inputs=(model.model, model.model.with_name("config.yaml"), *map(recipe.paths.cuts, sets)),
        # What trainings take; words.ctm and infeasible are for readers.
        outputs=tuple(map(model.stream, sets)),
        after=model.after,
    )

    def work(_: bool) -> None:
        # Late, since ESPnet takes long to import, and a skipped step needs none of it.
        jobs.log_to(model.folder / "align.log")
        with jobs.hushed():
            from espnet_ottc.espnet.forced_alignment import check_teacher, write_forced_alignment
            from espnet_ottc.espnet.trained_model import TrainedModel
        trained = TrainedModel(model.model.parent, model.model.name, recipe.device)
        check_teacher(trained, recipe.paths.tokens)
        logging.info("aligner: %s", aligner)
        for name in sets:
            cuts = CutSet.from_file(recipe.paths.cuts(name))
            folder = model.stream(name).parent
            infeasible, count = write_forced_alignment(trained, cuts, make_aligner(aligner), folder)
            jobs.say_infeasible(infeasible, count, f"of {name} by {aligner}")

    perform(step, work, jobs.say)


if __name__ == "__main__":
    sys.exit(main())
