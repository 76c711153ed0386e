"""Run a recipe: all stages that the options ask for, or one of them.

    python -m espnet_ottc.recipe OPTIONS          every stage from --stage to --stop_stage
    python -m espnet_ottc.recipe check OPTIONS    only check the options, and note what the folders are for
    python -m espnet_ottc.recipe STAGE OPTIONS    this stage, if it is from --stage to --stop_stage

`OPTIONS` are those of `run.sh`; `espnet_ottc.recipe.stages` has the names of the stages.  Exit status: 0;
1 for options that cannot be and for what goes wrong; 2 for unknown options.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.stages import STAGES, Stage
from espnet_ottc.utils.commands import say

if TYPE_CHECKING:
    from espnet_ottc.recipe.recipe import Recipe

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

    return jobs.run(lambda: _run(options, wanted, words))


def _within(options: argparse.Namespace, stage: Stage) -> bool:
    first, last = int(options.stage), int(options.stop_stage)
    return first <= stage.number <= last


def _run(options: argparse.Namespace, wanted: Sequence[Stage], words: Sequence[str]) -> None:
    from espnet_ottc.recipe.checks import check
    from espnet_ottc.recipe.recipe import Recipe

    recipe = Recipe(options)
    check(recipe)
    for stage in wanted:
        _run_stage(stage, recipe, words)


def _run_stage(stage: Stage, recipe: "Recipe", words: Sequence[str]) -> None:
    from espnet_ottc.recipe import jobs

    if not jobs.on_cluster():
        say(f"== stage {stage.number}: {stage.title} ==")
    if stage.on_cluster and jobs.goes_to_cluster():
        jobs.run_on_cluster([sys.executable, "-m", "espnet_ottc.recipe", stage.name, *words])
        return
    try:
        stage.load()(recipe)
    finally:
        _close_logs()


def _close_logs() -> None:
    """Leave a log that the stage opened (`log_to`) to it."""
    logging.captureWarnings(False)
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()
