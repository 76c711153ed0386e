"""Sets aligned in shards, by workers (stages 6 and 9)."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.alignment.formats import text_ids
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import Shard, run_shards, shards
from espnet_ottc.recipe.units import FOLDER
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

# What a worker says of each utterance.
_UTTERANCE = "aligned: "


@dataclass(frozen=True)
class AlignJob:
    """One set to align by one model.

    Attributes:
        title: names it to the user.
        model: parameters of a recogniser; None: a boundary model alone aligns.
        cuts: of the set.
        text: of the set.
        aligners: by the name of their results.
        among: sets that share the workers.
        tokens: of trainings that take the alignment; None where none does.
        boundary: a boundary model in the place of the recogniser's own, or alone.
    """

    title: str
    model: Path | None
    cuts: Path
    text: Path
    aligners: Mapping[str, str]
    among: int
    tokens: Path | None = None
    boundary: Path | None = None


def align_shards(recipe: Recipe, job: AlignJob, folder: Path, *, resumed: bool) -> list[Shard]:
    """Align a set in shards.

    Args:
        recipe: the run.
        job: what to align.
        folder: for the shards, and nothing else.
        resumed: whether shards that are there were made of the same inputs.

    Returns:
        The shards, in the set's order.
    """
    count = sum(1 for _ in text_ids(job.text))
    parts = shards(recipe, count, folder, job.among)
    with progress(title=job.title, unit="utterance", total=count) as bar:

        def watch(line: str) -> None:
            if line.startswith(_UTTERANCE):
                bar.update()

        def work(part: Shard) -> None:
            command = [sys.executable, "-m", "espnet_ottc.bin.align_part", "--out", FOLDER]
            command += ["--cuts", str(job.cuts)]
            if (source := recipe.shar(job.cuts.parent.name)) is not None:
                command += ["--shar", source]
            command += ["--model", str(job.model)] if job.model is not None else []
            command += ["--boundary", str(job.boundary)] if job.boundary is not None else []
            command += ["--first", str(part.first), "--stop", str(part.stop)]
            command += ["--device", recipe.device]
            command += ["--aligner", *(f"{name}={one}" for name, one in job.aligners.items())]
            if job.tokens is not None:
                command += ["--tokens", str(job.tokens)]
            jobs.run_logged(
                command,
                part.log,
                key=f"{job.title}, {part.folder.name}",
                gpus=min(recipe.options.ngpu, 1),
                folder=part.folder,
                watch=watch,
            )

        run_shards(parts, folder, work, resumed=resumed)
    return parts


def join_files(parts: Sequence[Path], out: Path) -> None:
    """Write one file after the other into one.

    Args:
        parts: what to join.
        out: the file.
    """
    with written_aside(out) as aside, aside.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
