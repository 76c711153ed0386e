"""Decode every set with every system, seed and decoder (stage 8).

Writes `decode_<decoder>/<set>/text` of each training.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.alignment.formats import text_ids
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.paths import configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import Shard, remove_parts, run_shards, shards
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.units import FOLDER
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

# What ESPnet logs of each utterance.
_UTTERANCE = "speech length: "


@dataclass(frozen=True)
class Job:
    """One set to decode; `among` sets share the workers."""

    recipe: Recipe
    system: System
    seed: int
    decoder: str
    set_name: str
    among: int

    @property
    def out(self) -> Path:
        """Where its results lie."""
        return self.recipe.paths.decoded(self.system.name, self.seed, self.decoder, self.set_name)

    @property
    def title(self) -> str:
        """Names it to the user."""
        return f"decode {self.set_name}, {self.system.name}, seed {self.seed}, {self.decoder}"


def decode(recipe: Recipe) -> None:
    """Stage 8."""
    units = [
        (system, seed, decoder, set_name)
        for system in recipe.decoded
        for seed in recipe.seeds
        for decoder in recipe.decoders
        for set_name in recipe.sets.evaluated
    ]
    if not units:
        say("stage 8: no system recognises words, skipped")
        return
    jobs.run_parallel(_decode, [Job(recipe, *unit, len(units)) for unit in units])


def _decode(job: Job) -> None:
    recipe = job.recipe
    model = recipe.paths.model(job.system.name, job.seed)
    config = recipe.decoders[job.decoder]
    step = Step(
        title=f"stage 8: decode {job.set_name} by {job.system.name}, seed {job.seed}, {job.decoder}",
        mark=recipe.paths.decode_mark(job.system.name, job.seed, job.decoder, job.set_name),
        options={},
        inputs=(model, configuration_of(model), config, recipe.paths.cuts(job.set_name)),
        outputs=(recipe.paths.hypotheses(job.system.name, job.seed, job.decoder, job.set_name),),
        after={
            recipe.paths.train_mark(job.system.name, job.seed): job.system.trained,
            recipe.paths.cuts_mark(job.set_name): "stage 2 (cuts)",
        },
        resumable=True,
    )

    def work(resumed: bool) -> None:
        ids = list(text_ids(recipe.paths.text(job.set_name)))
        what = f"decode_{job.decoder}_{job.set_name}"
        folder = recipe.paths.shards(job.system.name, job.seed, what)
        parts = shards(recipe, len(ids), folder, job.among)
        with progress(title=job.title, unit="utterance", total=len(ids)) as bar:

            def watch(line: str) -> None:
                if _UTTERANCE in line:
                    bar.update()

            def decode_part(part: Shard) -> None:
                _decode_part(job, part, ids[part.first : part.stop], watch)

            run_shards(parts, folder, decode_part, resumed=resumed)
        try:
            _merge(job, [part.folder for part in parts], ids)
        finally:
            remove_parts(folder)

    perform(step, work, say)


def _decode_part(job: Job, part: Shard, ids: Sequence[str], watch: Callable[[str], None]) -> None:
    recipe = job.recipe
    model = recipe.paths.model(job.system.name, job.seed)
    keys = part.folder.with_suffix(".keys")
    with written_aside(keys) as aside:
        aside.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_inference"]
    command += ["--config", str(recipe.decoders[job.decoder])]
    command += ["--asr_train_config", str(configuration_of(model))]
    command += ["--asr_model_file", str(model)]
    command += ["--data_path_and_name_and_type", recipe.speech(job.set_name)]
    command += ["--key_file", str(keys), "--output_dir", FOLDER]
    command += ["--ngpu", str(min(recipe.options.ngpu, 1))]
    jobs.run_logged(
        command,
        part.log,
        key=f"{job.title}, {part.folder.name}",
        gpus=min(recipe.options.ngpu, 1),
        folder=part.folder,
        watch=watch,
    )


def _merge(job: Job, parts: Sequence[Path], ids: Sequence[str]) -> None:
    for name in ("text", "token", "score"):
        lines: dict[str, str] = {}
        for part in parts:
            for line in (part / "1best_recog" / name).read_text(encoding="utf-8").splitlines():
                lines[line.split(maxsplit=1)[0]] = line
        missing = [utterance for utterance in ids if utterance not in lines]
        if missing:
            raise StepError(
                f"{missing[0]}: no hypothesis ({len(missing)} of {len(ids)} without) in {job.out}"
            )
        with written_aside(job.out / name) as aside:
            aside.write_text("".join(f"{lines[u]}\n" for u in ids), encoding="utf-8")
