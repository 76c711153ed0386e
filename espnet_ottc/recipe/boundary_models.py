"""Systems of times alone: a boundary model is trained, and aligns by itself or beside a recogniser.

They are trained in stage 5, or 7 where they tune a recogniser, aligned in stage 9 and scored in stage 10.
"""

import logging
import sys

from espnet_ottc.aligner.tuning import Recogniser, write_recogniser
from espnet_ottc.alignment.formats import read_manifest
from espnet_ottc.alignment.writing import Times, write_times
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import align_log, configuration_of, provenance_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.training_record import threads, training_record
from espnet_ottc.utils.commands import log_to, quiet_imports, say

TIMES_FILES = ("words.ctm", "tokens.ctm", "words.jsonl.gz", "textgrid", "infeasible")


def train(recipe: Recipe, system: System, seed: int) -> None:
    """Train the boundary model of a system on the recipe's training set."""
    paths, train_set = recipe.paths, recipe.sets.train
    config, model = (
        paths.trained_on(system.name, seed),
        paths.boundary_model(system.name, seed),
    )
    step = Step(
        title=f"stage {system.stage}: train {system.name}, seed {seed}",
        mark=paths.train_mark(system.name, seed),
        options={"seed": seed},
        inputs=(paths.configuration(system.name), paths.cuts(train_set)),
        outputs=(config, model),
        after={paths.cuts_mark(train_set): "stage 2 (cuts)"},
        resumable=True,
    )
    command = [sys.executable, "-m", "espnet_ottc.bin.train_boundary_model"]
    command += ["--cuts", str(paths.cuts(train_set)), "--config", str(config)]
    command += ["--out", str(model), "--seed", str(seed)]
    command += ["--whole_words"] if recipe.token_type == "word" else []

    def work(_: bool) -> None:
        write(system.made_of, config)
        with training_record(
            provenance_of(model), config, system.made_of.files, command, seed
        ) as about:
            about["times_only"] = True
            jobs.run_logged(
                command,
                paths.train_log(system.name, seed),
                prefix=jobs.TRAIN,
                environment={"OMP_NUM_THREADS": str(threads())},
            )

        if system.tunes is not None:
            # So that the folder is a model for ottc-align.
            folder, recogniser = model.parent, paths.model(system.tunes, seed)
            write_recogniser(folder, Recogniser.of(str(recogniser), folder))

    write(system.made_of, paths.configuration(system.name))
    perform(step, work, say)


def align(recipe: Recipe, system: System, seed: int, set_name: str) -> None:
    """Times of a set's words by the boundary model, beside the recogniser that it tunes, if any."""
    paths, training = recipe.paths, (system.name, seed)
    model, (decoder,) = paths.boundary_model(*training), system.aligners
    folder = paths.aligned(*training, decoder, set_name)
    inputs = [model, paths.cuts(set_name)]
    after = {
        paths.train_mark(*training): system.trained,
        paths.cuts_mark(set_name): "stage 2 (cuts)",
    }
    if system.tunes is not None:
        recogniser = paths.model(system.tunes, seed)
        inputs += [recogniser, configuration_of(recogniser)]
        mark = paths.train_mark(system.tunes, seed)
        after[mark] = f"the training of {system.tunes}, which {system.name} tunes"
    step = Step(
        title=f"stage 9: align {set_name} by {system.name}, seed {seed}",
        mark=paths.align_mark(*training, set_name),
        options={"aligner": decoder},
        inputs=tuple(inputs),
        outputs=tuple(folder / file for file in TIMES_FILES),
        after=after,
    )

    def work(_: bool) -> None:
        log_to(align_log(model.parent))
        times, durations = _times(recipe, system, seed, set_name)
        write_times(folder, times, durations)
        jobs.say_infeasible(times.infeasible, len(durations), f"by {decoder}")

    perform(step, work, say)


def _times(
    recipe: Recipe, system: System, seed: int, set_name: str
) -> tuple[Times, dict[str, float]]:
    # Late, since they take long to import, and a skipped step needs none of it.
    from lhotse import CutSet

    from espnet_ottc.alignment.aligners import BOUNDARY
    from espnet_ottc.alignment.boundary.cuts import align_cuts
    from espnet_ottc.alignment.boundary.model import BoundaryModel
    from espnet_ottc.utils.progress import progress

    boundary = BoundaryModel.load(recipe.paths.boundary_model(system.name, seed))
    cuts = CutSet.from_cuts(read_manifest(recipe.paths.cuts(set_name), "cuts"))
    title = f"align {set_name}, {system.name}, seed {seed}"
    logging.info("%s", title)
    if system.tunes is None:
        return align_cuts(boundary, progress(cuts, title=title, unit="utterance"))
    with quiet_imports():
        from espnet_ottc.espnet.cut_alignment import BoundarySearch
        from espnet_ottc.espnet.trained_model import TrainedModel
    model = recipe.paths.model(system.tunes, seed)
    trained = TrainedModel(model.parent, model.name, recipe.device)
    found = trained.align(cuts, {BOUNDARY: BoundarySearch(boundary)}, title=title)
    return found.times[BOUNDARY], found.durations
