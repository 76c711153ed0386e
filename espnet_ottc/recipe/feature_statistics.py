"""Lengths of all utterances and statistics of their features, by ESPnet (stage 4).

ESPnet's collection runs on shards of the sets.  Sums of features are put together utterance by utterance, in
the order of the set, so that they are the same for any shards.  Where a model needs lengths alone, these are
read from the cuts, and no audio is.
"""

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ottc.alignment.formats import text_ids
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.align_shards import join_files
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import Shard, remove_parts, run_shards, shards
from espnet_ottc.recipe.units import FOLDER
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.progress import progress

# As `espnet_ottc.espnet.feature_sums` leaves them.
_SUMS = "_sums.npz"
# What ESPnet logs now and then.
_BATCHES = re.compile(r"Niter: (\d+)")


def collect(recipe: Recipe) -> None:
    """Stage 4."""
    if not recipe.recognisers:
        say("stage 4: no system trains a recogniser, skipped")
        return
    names = (recipe.sets.train, recipe.sets.valid)
    token_files = [
        recipe.paths.tokens,
        *([recipe.paths.bpe_model] if recipe.paths.bpe_model else []),
    ]
    step = Step(
        title="stage 4: statistics",
        mark=recipe.paths.stats_mark,
        options={
            "features": recipe.recognisers[0].features,
            "tokens": recipe.token_options(),
            "more": recipe.feature_options,
        },
        inputs=(*token_files, *map(recipe.paths.cuts, names), *map(recipe.paths.text, names)),
        outputs=(recipe.paths.stats,),
        after={
            recipe.paths.tokens_mark: "stage 3 (tokens)",
            **{recipe.paths.cuts_mark(name): "stage 2 (cuts)" for name in names},
        },
        resumable=True,
    )
    perform(step, lambda resumed: _collect(recipe, resumed), say)


def _collect(recipe: Recipe, resumed: bool) -> None:
    """Write the folder of statistics aside, then rename it."""
    system, sets = recipe.recognisers[0], {"train": recipe.sets.train, "valid": recipe.sets.valid}
    write(system.made_of, recipe.paths.configuration(system.name))
    aside = recipe.paths.unfinished_stats
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(recipe.paths.stats, ignore_errors=True)
    if system.lengths_alone:
        # Late: it imports Lhotse.
        from espnet_ottc.recipe.lengths import write_lengths

        for part, name in sets.items():
            write_lengths(recipe.paths.cuts(name), aside / part / recipe.paths.lengths(part).name)
        aside.rename(recipe.paths.stats)
        return
    counts = {part: _count(recipe.paths.text(name)) for part, name in sets.items()}
    folder = recipe.paths.stats_shards
    # Of both sets, one after the other, so that little data need one process.
    parts = shards(recipe, sum(counts.values()), folder)
    with progress(title="statistics", unit="utterance", total=parts[-1].stop) as bar:

        def collect_part(shard: Shard) -> None:
            _collect_part(recipe, shard, counts, _counter(bar.update))

        run_shards(parts, folder, collect_part, resumed=resumed)
    for part in sets:
        found = [shard.folder / part for shard in parts if _members(shard, counts)[part]]
        _put_together(found, aside / part)
    aside.rename(recipe.paths.stats)
    remove_parts(folder)


def _count(text: Path) -> int:
    return sum(1 for _ in text_ids(text))


def _members(shard: Shard, counts: Mapping[str, int]) -> dict[str, range]:
    """The places of a shard's utterances, by set."""
    found, before = {}, 0
    for part, count in counts.items():
        bounds = (min(max(0, place - before), count) for place in (shard.first, shard.stop))
        found[part] = range(*bounds)
        before += count
    return found


def _collect_part(
    recipe: Recipe,
    shard: Shard,
    counts: Mapping[str, int],
    watch: Callable[[str], None],
) -> None:
    command = [sys.executable, "-m", "espnet_ottc.bin.collect_statistics"]
    command += ["--collect_stats", "true", "--output_dir", FOLDER]
    command += ["--config", str(recipe.paths.configuration(recipe.recognisers[0].name))]
    for part, name in (("train", recipe.sets.train), ("valid", recipe.sets.valid)):
        # ESPnet wants two sets: one utterance stands for none, and is left out.
        places = _members(shard, counts)[part] or range(1)
        utterances = islice(text_ids(recipe.paths.text(name)), places.start, places.stop)
        keys = shard.folder.with_suffix(f".{part}.keys")
        with written_aside(keys) as aside:
            aside.write_text("".join(f"{one} 0\n" for one in utterances), encoding="utf-8")
        command += recipe.data_options(part, name)
        command += [f"--{part}_shape_file", str(keys)]
    # The statistics that a global_mvn of the YAML needs do not exist yet.
    command += [*recipe.token_options(), *recipe.training_options]
    command += ["--normalize", "none", "--ngpu", "0", "--multiprocessing_distributed", "false"]
    # Alone, so that no utterance's features know of the others'.
    command += ["--batch_size", "1", "--valid_batch_size", "1"]
    if recipe.options.shar is not None:
        # Each would read the stream.
        command += ["--num_workers", "1"]
    jobs.run_logged(
        command,
        shard.log,
        key=f"statistics, {shard.folder.name}",
        folder=shard.folder,
        watch=watch,
    )


def _counter(update: Callable[[int], object]) -> Callable[[str], None]:
    """Counts the utterances of one shard, as far as ESPnet says."""
    seen = 0

    def watch(line: str) -> None:
        nonlocal seen
        if batches := _BATCHES.search(line):
            now = int(batches[1])
            update(max(0, now - seen))
            seen = max(seen, now)

    return watch


def _put_together(parts: Sequence[Path], out: Path) -> None:
    """Write a set's files as ESPnet would have, of those of its shards in the set's order."""
    out.mkdir(parents=True)
    names = {
        kind: (parts[0] / kind).read_text(encoding="utf-8").split()
        for kind in ("batch_keys", "stats_keys")
    }
    for kind in names:
        shutil.copyfile(parts[0] / kind, out / kind)
    for name in names["batch_keys"]:
        shapes = f"{name}_shape"
        join_files([part / shapes for part in parts], out / shapes)
    for name in names["stats_keys"]:
        totals: dict[str, Any] = {}
        types: dict[str, Any] = {}
        for part in parts:
            with np.load(part / f"{name}{_SUMS}") as sums:
                for kind in sums.files:
                    rows = sums[kind]
                    total = totals.get(kind, np.zeros((), np.float64))
                    for row in rows.astype(np.float64):
                        total = total + row
                    totals[kind] = total
                    types[kind] = rows.dtype
        whole = {kind: total.astype(types[kind]) for kind, total in totals.items()}
        np.savez(out / f"{name}_stats.npz", **whole)
