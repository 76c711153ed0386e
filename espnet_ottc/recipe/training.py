"""Train the systems of one criterion with every seed (stages 5 and 7).

An interrupted training goes on from ESPnet's checkpoint.  Where the inputs of a training have
changed, what it had made is moved to `EXPDIR/.replaced/` and it starts anew.
"""

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_ottc.recipe import boundary_models, jobs
from espnet_ottc.recipe.alignment_source import alignment_source, write_aligned_shapes
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import configuration_of, provenance_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import TRAINING_STAGES, System
from espnet_ottc.recipe.training_progress import Progress
from espnet_ottc.recipe.training_record import (
    read_record,
    threads,
    training_record,
    write_record,
)
from espnet_ottc.recipe.units import MEETING
from espnet_ottc.utils.commands import quiet_imports, say
from espnet_ottc.utils.holding import hold
from espnet_ottc.utils.training_checkpoints import (
    KEPT_CHECKPOINT,
    WRITER_LOCK,
    restore_checkpoint,
)


def train_ctc(recipe: Recipe) -> None:
    """Stage 5."""
    _train_all(recipe, "ctc")


def train_ottc(recipe: Recipe) -> None:
    """Stage 7."""
    _train_all(recipe, "ottc")


def _train_all(recipe: Recipe, criterion: str) -> None:
    stage = TRAINING_STAGES[criterion]
    systems = [system for system in recipe.systems if system.stage == stage]
    if not systems:
        say(f"stage {stage}: no system with {criterion} among --systems")
    # What tunes a recogniser needs it trained.
    for kind, train in ((False, _train), (True, boundary_models.train)):
        _train_together(recipe, [one for one in systems if one.times_only is kind], train)
    for system, seed in itertools.product(systems, recipe.seeds):
        if system.auxiliary is not None:
            _export(recipe, system, system.auxiliary, seed)


def _train_together(
    recipe: Recipe, systems: Sequence[System], train: Callable[[Recipe, System, int], None]
) -> None:
    trainings = list(itertools.product(systems, recipe.seeds))
    # On a cluster all are in its queue at once.
    at_once = recipe.options.train_nj if recipe.options.cluster is None else len(trainings)
    together = min(at_once, len(trainings))
    jobs.run_parallel(lambda job: train(recipe, *job), trainings, together)


def training_step(recipe: Recipe, system: System, seed: int) -> Step:
    """The step that trains one system with one seed."""
    sets = (recipe.sets.train, recipe.sets.valid)
    inputs = [
        recipe.paths.configuration(system.name),
        recipe.paths.tokens,
        *map(recipe.paths.cuts, sets),
        *map(recipe.paths.text, sets),
    ]
    inputs += [recipe.paths.bpe_model] if recipe.paths.bpe_model else []
    inputs += map(recipe.paths.lengths, ("train", "valid"))
    after = {recipe.paths.stats_mark: "stage 4 (statistics)"}
    if system.needs_alignment:
        source = alignment_source(recipe, seed)
        inputs += map(source.stream, sets)
        after[source.mark] = "stage 6 (forced alignment)"
    if system.needs_teacher:
        inputs.append(recipe.paths.teacher)
        after[recipe.paths.teacher_mark] = "stage 4 (teacher)"
    checkpoint = recipe.paths.checkpoint(system.name, seed)
    return Step(
        title=f"stage {system.stage}: train {system.name}, seed {seed}",
        mark=recipe.paths.train_mark(system.name, seed),
        options={"seed": seed, "more": recipe.training_options, **_source(recipe)},
        inputs=tuple(inputs),
        # Not the model to decode with: another choice of it must not train again.
        outputs=(configuration_of(checkpoint), checkpoint),
        after=after,
        resumable=True,
    )


def _source(recipe: Recipe) -> dict[str, str]:
    """What of a training's data lies elsewhere."""
    return {} if recipe.options.shar is None else {"shar": recipe.options.shar}


def training_command(recipe: Recipe, system: System, seed: int) -> list[str]:
    """ESPnet's training with its options, by as many processes and machines as it has."""
    module = "espnet_ottc.bin.asr_train"
    launcher = _launcher(recipe) if _is_shared(recipe) else [sys.executable, "-m"]
    command = [*launcher, module]
    command += ["--config", str(recipe.paths.trained_on(system.name, seed))]
    command += ["--output_dir", str(recipe.paths.experiment(system.name, seed)), "--resume", "true"]
    command += ["--keep_checkpoint", "true"]
    command += [*recipe.token_options(), "--seed", str(seed)]
    # Each process has one.
    command += ["--ngpu", str(min(recipe.options.ngpu, 1))]
    if _is_shared(recipe):
        command += ["--multiprocessing_distributed", "false"]
        command += ["--dist_backend", "nccl" if recipe.options.ngpu else "gloo"]
    for part, name in (("train", recipe.sets.train), ("valid", recipe.sets.valid)):
        if recipe.shar(name) is not None:
            # A stream that is drawn from has the texts, too.
            command += [f"--{part}_data_path_and_name_and_type", recipe.speech(name)]
            continue
        command += recipe.data_options(part, name)
        shapes = recipe.paths.lengths(part)
        if system.needs_alignment:
            shapes = recipe.paths.aligned_lengths(system.name, seed, part)
            stream = f"{alignment_source(recipe, seed).stream(name)},ali,text_int"
            command += [f"--{part}_data_path_and_name_and_type", stream]
        command += [f"--{part}_shape_file", str(shapes)]
    if system.needs_teacher:
        command += ["--model_conf", f"transfer_conf.teacher_path={recipe.paths.teacher}"]
    if system.config.get("normalize") == "global_mvn":
        command += ["--normalize_conf", f"stats_file={recipe.paths.feature_stats}"]
    return command + recipe.training_options


def _is_shared(recipe: Recipe) -> bool:
    return recipe.processes * recipe.training_machines > 1


def _launcher(recipe: Recipe) -> list[str]:
    """The words that start a training's processes on each of its machines."""
    launcher = [sys.executable, "-m", "espnet_ottc.bin.train_processes"]
    launcher += ["--nproc", str(recipe.processes)]
    machines = recipe.training_machines
    if machines == 1:
        return launcher
    # A worker is a job of so many machines, and runs on the first of them.
    start = ["srun", f"--nodes={machines}", f"--ntasks={machines}", "--ntasks-per-node=1"]
    start += ["--kill-on-bad-exit=1"]
    return [*start, *launcher, "--nnodes", str(machines), "--meeting", MEETING]


def _leave_out_unaligned(recipe: Recipe, system: System, seed: int) -> None:
    for part, name in (("train", recipe.sets.train), ("valid", recipe.sets.valid)):
        kept, count = write_aligned_shapes(
            recipe.paths.lengths(part),
            alignment_source(recipe, seed).stream(name),
            recipe.paths.aligned_lengths(system.name, seed, part),
        )
        if kept < count:
            say(
                f"  {count - kept} of {count} utterances of {name} have no forced alignment and "
                "are left out"
            )


def _make_ready(experiment: Path) -> None:
    """Let a training start at its last whole epoch; on a lost machine one may still be about to end."""

    def wait(holder: str) -> None:
        say(f"  {experiment}: waiting for the end of {holder}, which trains into it")

    with hold(experiment / WRITER_LOCK, wait):
        restore_checkpoint(experiment)


def _train(recipe: Recipe, system: System, seed: int) -> None:
    experiment = recipe.paths.experiment(system.name, seed)
    config = recipe.paths.trained_on(system.name, seed)
    about_file = provenance_of(recipe.paths.checkpoint(system.name, seed))
    command = training_command(recipe, system, seed)

    def work(resumed: bool) -> None:
        if not resumed:
            _move_aside(recipe, system, seed)
        if system.needs_alignment:
            _leave_out_unaligned(recipe, system, seed)
        write(system.made_of, config)
        _make_ready(experiment)
        before = read_record(about_file)
        tried_at = 0

        def gone_on() -> bool:
            nonlocal tried_at
            progress.look()
            last, tried_at = tried_at, progress.epochs
            _make_ready(experiment)
            return tried_at > last

        with (
            training_record(about_file, config, system.made_of.files, command, seed) as about,
            Progress(f"{system.name}, seed {seed}", experiment) as progress,
        ):
            try:
                jobs.run_logged(
                    command,
                    recipe.paths.train_log(system.name, seed),
                    prefix=jobs.TRAIN,
                    key=f"train {system.name}, seed {seed}",
                    cores=threads(),
                    processes=recipe.processes,
                    gpus=recipe.options.ngpu,
                    on_retry=gone_on,
                )
            finally:
                progress.look()
                about["epochs"] = max(progress.epochs, before.get("epochs", 0))

    write(system.made_of, recipe.paths.configuration(system.name))
    perform(training_step(recipe, system, seed), work, say)
    # Not before it is done: whoever is killed until then resumes from it.
    (experiment / KEPT_CHECKPOINT).unlink(missing_ok=True)


def _export(recipe: Recipe, system: System, head: System, seed: int) -> None:
    """Make a model of its own of an auxiliary CTC head."""
    model, out = recipe.paths.model(system.name, seed), recipe.paths.model(head.name, seed)
    step = Step(
        title=f"stage {system.stage}: the auxiliary CTC head of {system.name}, seed {seed}",
        mark=recipe.paths.train_mark(head.name, seed),
        options={},
        inputs=(model, configuration_of(model)),
        outputs=(out, configuration_of(out)),
        after={recipe.paths.train_mark(system.name, seed): system.trained},
    )

    def work(_: bool) -> None:
        with quiet_imports():
            from espnet_ottc.espnet.auxiliary_ctc import export_auxiliary_ctc
        export_auxiliary_ctc(model.parent, model.name, out.parent)
        about = read_record(provenance_of(model))
        write_record(provenance_of(out), {**about, "head_of": system.name})

    perform(step, work, say)


def _move_aside(recipe: Recipe, system: System, seed: int) -> None:
    experiment = recipe.paths.experiment(system.name, seed)
    if not experiment.exists():
        return
    target = recipe.paths.replaced(system.name, seed, time.strftime("%Y%m%d-%H%M%S"))
    target.parent.mkdir(parents=True, exist_ok=True)
    experiment.rename(target)
    say(f"  {experiment} was trained with other inputs: moved to {target}")
