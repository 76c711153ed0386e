"""Align every set with every system, seed and decoder in time (stage 9).

Writes `align_<decoder>/<set>/` of each training: words and tokens as
CTM, words as Lhotse supervisions and TextGrids, and in `frames/<set>/` the label of each frame.
"""

import shutil

from espnet_ottc.alignment.formats import write_columns
from espnet_ottc.alignment.parts import GRID, read_parts
from espnet_ottc.alignment.writing import write_times
from espnet_ottc.recipe import boundary_models, jobs
from espnet_ottc.recipe.align_shards import AlignJob, align_shards
from espnet_ottc.recipe.boundary_models import TIMES_FILES
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import remove_parts
from espnet_ottc.recipe.systems import System
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside


def align(recipe: Recipe) -> None:
    """Stage 9."""
    sets = [
        (system, seed, set_name)
        for system in recipe.models
        for seed in recipe.seeds
        for set_name in recipe.sets.evaluated
    ]

    def align_set(job: tuple[System, int, str]) -> None:
        do = boundary_models.align if job[0].times_only else _align
        do(recipe, *job, among=len(sets))

    jobs.run_parallel(align_set, sets)


def _align(recipe: Recipe, system: System, seed: int, set_name: str, *, among: int) -> None:
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
        resumable=True,
    )

    def work(resumed: bool) -> None:
        folder = paths.shards(*training, f"align_{set_name}")
        title = f"align {set_name}, {system.name}, seed {seed}"
        job = AlignJob(title, model, paths.cuts(set_name), paths.text(set_name), chosen, among)
        parts = align_shards(recipe, job, folder, resumed=resumed)
        found = read_parts([part.folder for part in parts], chosen)
        with written_aside(grid_file) as aside:
            shutil.copyfile(parts[0].folder / GRID, aside)
        write_columns(labels, found.frame_labels)
        write_columns(durations, {u: [s] for u, s in found.durations.items()})
        for name, times in found.times.items():
            write_times(folders[name], times, found.durations)
            jobs.say_infeasible(times.infeasible, len(found.durations), f"by {name}")
        remove_parts(folder)

    perform(step, work, say)
