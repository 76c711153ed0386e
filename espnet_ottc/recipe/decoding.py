"""Decode every set with every system, seed and decoder (stage 8).

Writes `decode_<decoder>/<set>/text` of each training.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from espnet_ottc.alignment.formats import read_text
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.paths import configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import System
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

# Fewer are not worth a process, which takes seconds to start.
_LEAST = 200
# What ESPnet logs of each utterance.
_UTTERANCE = "speech length: "


@dataclass(frozen=True)
class Job:
    """One set to decode; `splits` processes share it, each on a GPU of `gpus` if there are any."""

    recipe: Recipe
    system: System
    seed: int
    decoder: str
    set_name: str
    splits: int
    gpus: "Queue[str] | None"

    @property
    def out(self) -> Path:
        """Where its results lie."""
        return self.recipe.paths.decoded(self.system.name, self.seed, self.decoder, self.set_name)


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
    workers = recipe.options.ngpu or recipe.options.nj
    splits = max(1, workers // len(units))
    gpus = _gpus(recipe.options.ngpu)
    work = [Job(recipe, *unit, splits, gpus) for unit in units]
    jobs.run_parallel(_decode, work, workers)


def _gpus(count: int) -> "Queue[str] | None":
    """This machine's first GPUs, for one process at a time each; None where there is nothing to share."""
    if count < 2 or os.environ.get(jobs.DECODE):
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    gpus: Queue[str] = Queue()
    for name in names[:count]:
        gpus.put(name)
    return gpus


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
    )

    def work(_: bool) -> None:
        ids = list(read_text(recipe.paths.text(job.set_name)))
        count = max(1, min(job.splits, len(ids) // _LEAST))
        shutil.rmtree(job.out / "splits", ignore_errors=True)
        splits = []
        for number in range(count):
            first, last = (len(ids) * n // count for n in (number, number + 1))
            split = job.out / "splits" / str(number)
            split.mkdir(parents=True)
            (split / "keys").write_text("".join(f"{name}\n" for name in ids[first:last]))
            splits.append(split)
        title = f"decode {job.set_name}, {job.system.name}, seed {job.seed}, {job.decoder}"
        with progress(title=title, unit="utterance", total=len(ids)) as bar:

            def watch(line: str) -> None:
                if _UTTERANCE in line:
                    bar.update()

            jobs.run_parallel(lambda split: _decode_split(job, split, watch), splits, count)
        _merge(job, splits, ids)

    perform(step, work, say)


def _decode_split(job: Job, split: Path, watch: Callable[[str], None]) -> None:
    recipe = job.recipe
    model = recipe.paths.model(job.system.name, job.seed)
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_inference"]
    command += ["--config", str(recipe.decoders[job.decoder])]
    command += ["--asr_train_config", str(configuration_of(model))]
    command += ["--asr_model_file", str(model)]
    command += ["--data_path_and_name_and_type", f"{recipe.paths.cuts(job.set_name)},speech,lhotse"]
    command += ["--key_file", str(split / "keys"), "--output_dir", str(split)]
    command += ["--ngpu", str(min(recipe.options.ngpu, 1))]
    gpu = None if job.gpus is None else job.gpus.get()
    try:
        jobs.run_logged(
            command,
            split / "log",
            prefix=jobs.DECODE,
            environment={"OMP_NUM_THREADS": "1"} | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
            watch=watch,
        )
    finally:
        if job.gpus is not None and gpu is not None:
            job.gpus.put(gpu)


def _merge(job: Job, splits: Sequence[Path], ids: Sequence[str]) -> None:
    for name in ("text", "token", "score"):
        lines: dict[str, str] = {}
        for split in splits:
            for line in (split / "1best_recog" / name).read_text(encoding="utf-8").splitlines():
                lines[line.split(maxsplit=1)[0]] = line
        missing = [utterance for utterance in ids if utterance not in lines]
        if missing:
            raise StepError(
                f"{missing[0]}: no hypothesis ({len(missing)} of {len(ids)} without) in {job.out}"
            )
        with written_aside(job.out / name) as aside:
            aside.write_text("".join(f"{lines[u]}\n" for u in ids), encoding="utf-8")
