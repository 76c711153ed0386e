"""Run a recipe: all stages that the options ask for, or one of them.

    python -m espnet_ottc.recipe OPTIONS          every stage from --stage to --stop_stage
    python -m espnet_ottc.recipe check OPTIONS    only check the options, and note what the folders are for
    python -m espnet_ottc.recipe STAGE OPTIONS    this stage, if it is from --stage to --stop_stage

`OPTIONS` are those of `run.sh`; `espnet_ottc.recipe.stages` has the names of the stages.  Exit status: 0;
1 for options that cannot be and for what goes wrong; 2 for unknown options.
"""

import argparse
import sys
from collections.abc import Sequence

from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.stages import STAGES, Stage
from espnet_ottc.utils.commands import say

CHECK = "check"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else None
    if name not in (None, CHECK, *(stage.name for stage in STAGES)):
        known = ", ".join(stage.name for stage in STAGES)
        print(f"error: there is no stage {name!r}; there are {known}", file=sys.stderr)
        return 2
    options = parse(words)
    wanted = [stage for stage in STAGES if name in (None, stage.name) and _within(options, stage)]
    if name is not None and name != CHECK and not wanted:
        # Before anything is imported that takes long: `ottc.sh` comes by here once for each stage.
        return 0
    from espnet_ottc.recipe import jobs

    return jobs.run(lambda: _run(options, wanted))


def _within(options: argparse.Namespace, stage: Stage) -> bool:
    first, last = int(options.stage), int(options.stop_stage)
    return first <= stage.number <= last


def _run(options: argparse.Namespace, wanted: Sequence[Stage]) -> None:
    from espnet_ottc.recipe import jobs
    from espnet_ottc.recipe.checks import check
    from espnet_ottc.recipe.clusters import Clusters
    from espnet_ottc.recipe.recipe import Recipe
    from espnet_ottc.recipe.training_record import threads

    recipe = Recipe(options)
    check(recipe)
    jobs.use(
        Clusters(options.cluster),
        cores=options.nj,
        gpus=options.ngpu,
        trainings=options.train_nj,
        threads=threads(),
        processes=recipe.processes,
    )
    for stage in wanted:
        say(f"== stage {stage.number}: {stage.title} ==")
        stage.load()(recipe)
