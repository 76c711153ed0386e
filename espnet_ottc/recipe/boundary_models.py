"""Systems of times alone: a boundary model is trained, and aligns by itself or beside a recogniser.

They are trained in stage 5, or 7 where they tune a recogniser, aligned in stage 9 and scored in stage 10.
"""

import sys

from espnet_ottc.aligner.tuning import Recogniser, write_recogniser
from espnet_ottc.alignment.parts import read_parts
from espnet_ottc.alignment.writing import write_times
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.align_shards import AlignJob, align_shards
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import configuration_of, provenance_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import remove_parts
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.training_record import threads, training_record
from espnet_ottc.utils.commands import say

# The key of `espnet_ottc.alignment.aligners`, which imports torch.
BOUNDARY = "boundary"
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
    source = recipe.shar(train_set)
    command += ["--shar", source] if source is not None else []

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
                key=f"train {system.name}, seed {seed}",
                cores=threads(),
            )

        if system.tunes is not None:
            # So that the folder is a model for ottc-align.
            folder, recogniser = model.parent, paths.model(system.tunes, seed)
            write_recogniser(folder, Recogniser.of(str(recogniser), folder))

    write(system.made_of, paths.configuration(system.name))
    perform(step, work, say)


def align(recipe: Recipe, system: System, seed: int, set_name: str, *, among: int) -> None:
    """Times of a set's words by the boundary model, beside the recogniser that it tunes, if any.

    Args:
        recipe: the run.
        system: that has times alone.
        seed: of its training.
        set_name: what is aligned.
        among: sets that share the workers.
    """
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
        resumable=True,
    )

    def work(resumed: bool) -> None:
        shards = paths.shards(*training, f"align_{set_name}")
        title = f"align {set_name}, {system.name}, seed {seed}"
        cuts, text = paths.cuts(set_name), paths.text(set_name)
        wide = None if system.tunes is None else paths.model(system.tunes, seed)
        job = AlignJob(title, wide, cuts, text, {decoder: BOUNDARY}, among, boundary=model)
        parts = align_shards(recipe, job, shards, resumed=resumed)
        found = read_parts([part.folder for part in parts], [decoder])
        times = found.times[decoder]
        write_times(folder, times, found.durations)
        jobs.say_infeasible(times.infeasible, len(found.durations), f"by {decoder}")
        remove_parts(shards)

    perform(step, work, say)
