"""Lengths of all utterances and statistics of their features, by ESPnet (stage 4).

ESPnet's collection runs in --nj processes, each on a part of the
utterances; the parts are then put together.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_ottc.alignment.formats import read_text
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.commands import quiet_imports, say
from espnet_ottc.utils.progress import progress

# Fewer are not worth a process, which takes seconds to start.
_LEAST = 200
# What ESPnet logs now and then.
_BATCHES = re.compile(r"Niter: (\d+)")


def collect(recipe: Recipe) -> None:
    """Stage 4."""
    if not recipe.recognisers:
        say("stage 4: no system trains a recogniser, skipped")
        return
    system = recipe.recognisers[0]
    sets = {"train": recipe.sets.train, "valid": recipe.sets.valid}
    names = tuple(sets.values())
    token_files = [
        recipe.paths.tokens,
        *([recipe.paths.bpe_model] if recipe.paths.bpe_model else []),
    ]
    step = Step(
        title="stage 4: statistics",
        mark=recipe.paths.stats_mark,
        options={
            "features": system.features,
            "tokens": recipe.token_options(),
            "more": recipe.feature_options,
        },
        inputs=(*token_files, *map(recipe.paths.cuts, names), *map(recipe.paths.text, names)),
        outputs=(recipe.paths.stats,),
        after={
            recipe.paths.tokens_mark: "stage 3 (tokens)",
            **{recipe.paths.cuts_mark(name): "stage 2 (cuts)" for name in names},
        },
    )

    def work(_: bool) -> None:
        write(system.made_of, recipe.paths.configuration(system.name))
        aside = recipe.paths.unfinished_stats
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(recipe.paths.stats, ignore_errors=True)
        ids = {part: list(read_text(recipe.paths.text(name))) for part, name in sets.items()}
        count = max(1, min(recipe.options.nj, len(ids["train"]) // _LEAST, len(ids["valid"])))
        splits = [aside / f"split{number}" for number in range(count)]
        for number, split in enumerate(splits):
            split.mkdir(parents=True)
            for part, utterances in ids.items():
                lines = "".join(f"{name} 0\n" for name in _share(utterances, number, count))
                (split / f"{part}.keys").write_text(lines, encoding="utf-8")
        with progress(title="statistics", unit="batch") as bar:
            jobs.run_parallel(lambda split: _collect_split(recipe, split, bar), splits, count)
        whole = aside / "whole"
        _aggregate(splits, whole)
        whole.rename(recipe.paths.stats)
        shutil.rmtree(aside)

    perform(step, work, say)


def _share(utterances: Sequence[str], number: int, count: int) -> Sequence[str]:
    first, last = (len(utterances) * n // count for n in (number, number + 1))
    return utterances[first:last]


def _collect_split(recipe: Recipe, split: Path, bar: tqdm) -> None:
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_train", "--collect_stats", "true"]
    config = recipe.paths.configuration(recipe.recognisers[0].name)
    command += ["--config", str(config), "--output_dir", str(split)]
    for part, name in (("train", recipe.sets.train), ("valid", recipe.sets.valid)):
        command += recipe.data_options(part, name)
        command += [f"--{part}_shape_file", str(split / f"{part}.keys")]
    # The statistics that a global_mvn of the YAML needs do not exist yet.
    command += [*recipe.token_options(), *recipe.training_options]
    command += ["--normalize", "none", "--ngpu", "0", "--multiprocessing_distributed", "false"]
    log = recipe.paths.stats_log(split.name)
    log.unlink(missing_ok=True)
    seen = 0

    def watch(line: str) -> None:
        nonlocal seen
        if batches := _BATCHES.search(line):
            # Counted for the training set, then anew for the validation set.
            now = int(batches[1])
            bar.update(now - seen if now > seen else now)
            seen = now

    jobs.run_logged(
        command,
        log,
        prefix=jobs.DECODE,
        environment={"OMP_NUM_THREADS": "1"},
        watch=watch,
    )


def _aggregate(splits: Sequence[Path], out: Path) -> None:
    # Late, since ESPnet takes long to import.
    with quiet_imports():
        from espnet2.bin.aggregate_stats_dirs import aggregate_stats_dirs
    aggregate_stats_dirs(splits, out, log_level="WARNING", skip_sum_stats=False)
