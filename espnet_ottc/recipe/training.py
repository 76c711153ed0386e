"""Train the systems of one criterion with every seed (stages 5 and 7).

An interrupted training goes on from ESPnet's checkpoint.  Where the inputs of a training have
changed, what it had made is moved to `EXPDIR/.replaced/` and it starts anew.
"""

import hashlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.alignment_source import alignment_source, write_aligned_shapes
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.paths import configuration_of, provenance_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import TRAINING_STAGES, System
from espnet_ottc.recipe.training_progress import Progress
from espnet_ottc.utils.commands import quiet_imports, say
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object
from espnet_ottc.utils.provenance import provenance
from espnet_ottc.utils.training_checkpoints import KEPT_CHECKPOINT, restore_checkpoint


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
    trainings = [(system, seed) for system in systems for seed in recipe.seeds]
    together = min(recipe.options.train_nj, len(trainings))
    jobs.run_parallel(lambda job: _train(recipe, *job), trainings, together)
    for system, seed in trainings:
        if system.auxiliary is not None:
            _export(recipe, system, system.auxiliary, seed)


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
        options={"seed": seed, "more": recipe.training_options},
        inputs=tuple(inputs),
        # Not the model to decode with: another choice of it must not train again.
        outputs=(configuration_of(checkpoint), checkpoint),
        after=after,
        resumable=True,
    )


def training_command(recipe: Recipe, system: System, seed: int) -> list[str]:
    """ESPnet's training with its options."""
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_train"]
    command += ["--config", str(recipe.paths.trained_on(system.name, seed))]
    command += ["--output_dir", str(recipe.paths.experiment(system.name, seed)), "--resume", "true"]
    command += ["--keep_checkpoint", "true"]
    command += [*recipe.token_options(), "--seed", str(seed), "--ngpu", str(recipe.options.ngpu)]
    if recipe.options.ngpu > 1:
        command += ["--multiprocessing_distributed", "true"]
    for part, name in (("train", recipe.sets.train), ("valid", recipe.sets.valid)):
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
        restore_checkpoint(experiment)
        before = _read_provenance(about_file)
        about = {
            **provenance(),
            "config": str(config),
            "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
            "config_made_of": list(map(str, system.made_of.files)),
            "command": shlex.join(["python", *command[1:]]),
            "seed": seed,
            "threads": _threads(),
        }
        begun = time.monotonic()
        seconds = before.get("train_seconds", 0.0)
        with Progress(f"{system.name}, seed {seed}", experiment) as progress:
            try:
                jobs.run_logged(
                    command,
                    recipe.paths.train_log(system.name, seed),
                    prefix=jobs.TRAIN,
                    environment={"OMP_NUM_THREADS": str(_threads())},
                )
            finally:
                about["train_seconds"] = round(seconds + time.monotonic() - begun, 1)
                progress.look()
                about["epochs"] = max(progress.epochs, before.get("epochs", 0))
                _write_provenance(about_file, about)

    write(system.made_of, recipe.paths.configuration(system.name))
    perform(training_step(recipe, system, seed), work, say)
    # Not before it is done: whoever is killed until then resumes from it.
    (experiment / KEPT_CHECKPOINT).unlink(missing_ok=True)


def _threads() -> int:
    """Threads of a training: 1 unless the user's environment says how many.

    Sums over several threads round otherwise, and the same seed then ends elsewhere.

    Raises:
        StepError: a number that is none.
    """
    text = os.environ.get("OMP_NUM_THREADS", "1")
    if not (text.isdecimal() and int(text) > 0):
        raise StepError(f"OMP_NUM_THREADS must be a positive number, got {text!r}")
    return int(text)


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
        about = _read_provenance(provenance_of(model))
        _write_provenance(provenance_of(out), {**about, "head_of": system.name})

    perform(step, work, say)


def _move_aside(recipe: Recipe, system: System, seed: int) -> None:
    experiment = recipe.paths.experiment(system.name, seed)
    if not experiment.exists():
        return
    target = recipe.paths.replaced(system.name, seed, time.strftime("%Y%m%d-%H%M%S"))
    target.parent.mkdir(parents=True, exist_ok=True)
    experiment.rename(target)
    say(f"  {experiment} was trained with other inputs: moved to {target}")


def _write_provenance(path: Path, about: dict[str, Any]) -> None:
    try:
        write_json(path, about)
    except OSError as fault:
        raise StepError(f"{path} cannot be written: {fault}") from fault


def _read_provenance(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return read_json_object(path)
