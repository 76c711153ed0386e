"""Sets in shards of utterances, each a unit of work; what they give does not depend on how many there are."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.clusters import Clusters
from espnet_ottc.recipe.options import LEAST
from espnet_ottc.recipe.recipe import Recipe

# Utterances that are aligned together: a shard holds whole groups, so that each meets the same others.
TOGETHER = 16


@dataclass(frozen=True)
class Shard:
    """Utterances `first` to `stop` - 1 of a set, by their place in it.

    Attributes:
        first: the first.
        stop: after the last.
        folder: what it makes lies here, once it is whole.
    """

    first: int
    stop: int
    folder: Path

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder.with_suffix(".log")


def shards(
    recipe: Recipe, count: int, folder: Path, among: int = 1, least: int = LEAST
) -> list[Shard]:
    """Divide the utterances of a set.

    Args:
        recipe: with `--shard_utts`, or else cores and GPUs.
        count: utterances of the set.
        folder: for what the shards make.
        among: sets that share the workers.
        least: utterances that are worth a unit, without `--shard_utts`.
    """
    size: int | None = recipe.options.shard_utts
    if size is None:
        slots = max(1, _slots(recipe) // among)
        size = max(least, -(-count // slots))
    size = -(-size // TOGETHER) * TOGETHER
    bounds = [(first, min(first + size, count)) for first in range(0, count, size)]
    return [Shard(first, stop, folder / f"{first}-{stop}") for first, stop in bounds]


def run_shards(
    wanted: Sequence[Shard], folder: Path, work: Callable[[Shard], None], *, resumed: bool
) -> None:
    """Do what is not done of the shards of a set, at the same time.

    Args:
        wanted: all of the set.
        folder: where they lie; nothing else does.
        work: does a shard.
        resumed: whether what is there was made of the same inputs.
    """
    if not resumed:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    jobs.run_parallel(work, [shard for shard in wanted if not shard.folder.is_dir()])


def does_itself(recipe: Recipe, count: int) -> bool:
    """Whether this process goes through a set: it is small, and no cluster and no words say where else."""
    here = not (Clusters(recipe.options.cluster).elsewhere or os.environ.get(jobs.DECODE))
    return here and count <= (recipe.options.shard_utts or LEAST)


def remove_parts(folder: Path) -> None:
    """Remove what the shards in a folder have made, once it is put together; what they said stays."""
    for path in list(folder.iterdir()):
        if path.is_dir():
            # First out of sight: half a shard must not be taken for a whole one.
            hidden = path.with_name(f".{path.name.lstrip('.')}.removed")
            path.rename(hidden)
            shutil.rmtree(hidden)


def _slots(recipe: Recipe) -> int:
    """Units that run at the same time."""
    options = recipe.options
    clusters = Clusters(options.cluster)
    if not clusters.elsewhere:
        return int(options.ngpu or options.nj)
    there = clusters.workers("")
    if there.cluster == "address":
        return int(options.nj)
    return there.workers * (there.gpus if options.ngpu else there.cores)
