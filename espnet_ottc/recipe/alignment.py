"""Align every set with every system, seed and decoder in time (stage 9).

Writes `align_<decoder>/<set>/` of each training: words and tokens as
CTM, words as Lhotse supervisions and TextGrids, and in `frames/<set>/` the label of each frame.
"""

import json
import logging

from lhotse import CutSet

from espnet_ottc.alignment.formats import read_manifest, write_columns
from espnet_ottc.alignment.writing import write_times
from espnet_ottc.recipe import boundary_models, jobs
from espnet_ottc.recipe.boundary_models import TIMES_FILES
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import align_log, configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import System
from espnet_ottc.utils.commands import log_to, quiet_imports, say
from espnet_ottc.utils.files import written_aside


def align(recipe: Recipe) -> None:
    """Stage 9."""
    for system in recipe.models:
        for seed in recipe.seeds:
            for set_name in recipe.sets.evaluated:
                align_set = boundary_models.align if system.times_only else _align
                align_set(recipe, system, seed, set_name)


def _align(recipe: Recipe, system: System, seed: int, set_name: str) -> None:
    paths, training = recipe.paths, (system.name, seed)
    model, grid_file = paths.model(*training), paths.frame_grid(*training)
    labels = paths.frame_labels(*training, set_name)
    durations = paths.durations(*training, set_name)
    decoders = recipe.time_decoders(system, seed)
    folders = {name: paths.aligned(*training, name, set_name) for name in decoders}
    chosen = {name: recipe.aligner(name) for name in decoders}
    step = Step(
        title=f"stage 9: align {set_name} by {system.name}, seed {seed}",
        mark=paths.align_mark(*training, set_name),
        options={"aligners": chosen},
        inputs=(model, configuration_of(model), paths.cuts(set_name)),
        outputs=(
            grid_file,
            labels,
            durations,
            *(folder / file for folder in folders.values() for file in TIMES_FILES),
        ),
        after={
            paths.train_mark(*training): system.trained,
            paths.cuts_mark(set_name): "stage 2 (cuts)",
        },
    )

    def work(_: bool) -> None:
        # Late, since ESPnet takes long to import, and a skipped step needs none of it.
        log_to(align_log(model.parent))
        logging.info("aligners of %s: %s", set_name, chosen)
        with quiet_imports():
            from espnet_ottc.espnet.trained_model import TrainedModel
        trained = TrainedModel(model.parent, model.name, recipe.device)
        with written_aside(grid_file) as aside:
            grid = {"shift": trained.grid.shift, "offset": trained.grid.offset}
            aside.write_text(json.dumps(grid) + "\n", encoding="utf-8")
        aligners = {name: trained.aligner(aligner) for name, aligner in chosen.items()}
        title = f"align {set_name}, {system.name}, seed {seed}"
        cuts = CutSet.from_cuts(read_manifest(paths.cuts(set_name), "cuts"))
        found = trained.align(cuts, aligners, title=title)
        write_columns(labels, found.frame_labels)
        write_columns(durations, {u: [s] for u, s in found.durations.items()})
        for name, times in found.times.items():
            write_times(folders[name], times, found.durations)
            jobs.say_infeasible(times.infeasible, len(found.durations), f"by {name}")

    perform(step, work, say)
