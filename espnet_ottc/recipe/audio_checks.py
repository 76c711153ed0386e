"""All audio of a set is read and decoded, in shards (stage 2)."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import Shard, does_itself, remove_parts, run_shards, shards
from espnet_ottc.recipe.units import FOLDER
from espnet_ottc.utils.progress import progress

if TYPE_CHECKING:
    from espnet_ottc.corpora.manifests import Problem

# What a worker says now and then.
_CHECKED = "checked: "


def check_audio(
    recipe: Recipe, name: str, manifest: Path, count: int, *, resumed: bool
) -> "Iterator[Problem]":
    """What is wrong with the audio of a set, in its order.

    Args:
        recipe: the run.
        name: of the set.
        manifest: its cuts.
        count: how many.
        resumed: whether shards that are there were made of the same cuts.
    """
    # Late: it imports Lhotse.
    from espnet_ottc.corpora.manifests import AUDIO_PROBLEMS, Problem, audio_problems_of

    folder, source = recipe.paths.cut_checks(name), recipe.shar(name)
    with progress(title=f"audio of {name}", unit="cut", total=count) as bar:
        if does_itself(recipe, count):
            # It is ready in the time that another takes to start.
            yield from audio_problems_of(
                manifest, nj=recipe.options.nj, shar=source, done=bar.update
            )
            return

        parts = shards(recipe, count, folder)

        def watch(line: str) -> None:
            if line.startswith(_CHECKED):
                bar.update(int(line.removeprefix(_CHECKED)))

        def work(part: Shard) -> None:
            command = [sys.executable, "-m", "espnet_ottc.bin.check_audio", "--out", FOLDER]
            command += ["--cuts", str(manifest)]
            command += ["--shar", source] if source is not None else []
            command += ["--first", str(part.first), "--stop", str(part.stop)]
            jobs.run_logged(
                command,
                part.log,
                key=f"audio of {name}, {part.folder.name}",
                folder=part.folder,
                watch=watch,
            )

        run_shards(parts, folder, work, resumed=resumed)
    for part in parts:
        with (part.folder / AUDIO_PROBLEMS).open(encoding="utf-8") as file:
            yield from (Problem(*json.loads(line)) for line in file)
    remove_parts(folder)
