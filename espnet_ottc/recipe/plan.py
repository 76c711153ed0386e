"""Check the options of a recipe before anything runs, and say what they amount to, for the shell.

    eval "$(python -m espnet_ottc.recipe.plan "$@")"

Standard output is nothing but assignments.  Exit status: 0; 1 for options that cannot be; 2 for
unknown ones.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from espnet_ottc.alignment.aligners.k2_ctc import import_k2
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import TRAINING_STAGES
from espnet_ottc.recipe.teacher import teacher
from espnet_ottc.utils.files import written_aside


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # Help is for the user's eyes; the shell shall go no further.
        with contextlib.redirect_stdout(sys.stderr):
            options = parse(words)
    except SystemExit as end:
        if end.code:
            raise
        print("exit 0")
        return 0
    return jobs.run(lambda: print(plan(Recipe(options))))


def plan(recipe: Recipe) -> str:
    """Shell assignments of what the stages need; binds the folders, and writes the configurations.

    Raises:
        ValueError: a folder that was made for other data or configurations, too few GPUs,
            --ali_from without a model, nobody to align for a system that needs it.
        ImportError: --ctc_aligner k2 without k2.
    """
    options, paths = recipe.options, recipe.paths
    synthetic = _synthetic_options(recipe)
    corpus = options.corpus_dir
    made_here = corpus is None
    if corpus is None:
        sizes = zip(synthetic[::2], synthetic[1::2], strict=True)
        names = ["synthetic", *(name.removeprefix("--") + value for name, value in sizes)]
        corpus = Path("downloads", "-".join(names))
    _check_machine(recipe)
    _check_teachers(recipe)
    sets = recipe.sets
    preparation = recipe.corpus.preparation
    inputs = list(preparation.inputs(corpus, sets.parts))
    alignments, drop_bad = _alignment_options(recipe)
    if alignments:
        inputs += [Path(alignments[1], part) for part in sets.parts]
    bind(
        paths.datadir,
        {"corpus": str(corpus.resolve()), "training set": sets.train},
        "--datadir",
    )
    bind(
        paths.expdir,
        {
            "data": str(paths.datadir.resolve()),
            "configurations": str(recipe.conf.resolve()),
            "tokens": paths.token_dir.name,
        },
        "--expdir",
    )
    for system in recipe.systems:
        write(system.made_of, paths.configuration(system.name))
    values: dict[str, object] = {
        "stage": options.stage,
        "stop_stage": options.stop_stage,
        "nj": options.nj,
        "corpus": corpus,
        "synthesise": "yes" if made_here else "",
        "synthetic": synthetic,
        "layout": options.corpus,
        "parts": sets.parts,
        "absent": " ".join(sets.absent),
        "alignments": alignments,
        "bad_alignments": ["--drop_bad_alignments"] if drop_bad else [],
        "corpus_inputs": inputs,
        "prefix": preparation.PREFIX,  # type: ignore[attr-defined]
        "sets": [f"{name}={','.join(parts)}" for name, parts in sets.members.items()],
        "train_set": sets.train,
        "datadir": paths.datadir,
        "expdir": paths.expdir,
        "tokens": paths.tokens,
        "bpe_model": paths.bpe_model or "",
        "token_type": recipe.token_type,
        "nbpe": options.nbpe,
        "results": paths.results,
        "html": paths.expdir / f"report{paths.suffix}.html",
        "markdown": options.markdown or paths.expdir / f"RESULTS{paths.suffix}.md",
    }
    return "\n".join(f"{name}={_shell(value)}" for name, value in values.items())


def _check_machine(recipe: Recipe) -> None:
    options = recipe.options
    available = torch.cuda.device_count()
    if options.ngpu > available and not os.environ.get(jobs.TRAIN):
        raise ValueError(f"--ngpu {options.ngpu}: this machine has {available}")
    if options.ctc_aligner == "k2":
        import_k2()


def _check_teachers(recipe: Recipe) -> None:
    """Whoever is to be trained on a forced alignment needs somebody to align."""
    options = recipe.options
    trains = options.stage <= TRAINING_STAGES["ottc"] <= options.stop_stage
    name, given = options.ali_system, options.ali_from
    for seed in recipe.seeds:
        model = teacher(recipe, seed).model
        pupils = [system.name for system in recipe.systems if system.needs_alignment]
        known = given is not None or name in [system.name for system in recipe.systems]
        if trains and pupils and not known and not model.is_file():
            raise ValueError(
                f"{', '.join(pupils)}: trained on the forced alignment of {name}, and there is no {model}; "
                f"name {name} in --systems too, another one in --ali_system, or a model in --ali_from"
            )


def bind(folder: Path, made_for: dict[str, str], option: str) -> None:
    """Note what a folder is made for; refuse to use it for anything else.

    Raises:
        ValueError: it was made for something else.
    """
    path = folder / ".made_for.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        with written_aside(path) as aside:
            aside.write_text(json.dumps(made_for, indent=1) + "\n", encoding="utf-8")
        return
    for name, value in made_for.items():
        if before.get(name) != value:
            raise ValueError(
                f"{folder} was made for the {name} {before.get(name)}, not {value}; "
                f"give another folder ({option}) or remove this one"
            )


def _synthetic_options(recipe: Recipe) -> list[str]:
    options = []
    for part in ("", "dev_", "test_"):
        hours = getattr(recipe.options, f"synthetic_{part}hours")
        if hours is None:
            continue
        if recipe.options.corpus_dir is not None:
            raise ValueError(f"--synthetic_{part}hours has no meaning with a corpus given")
        try:
            positive = 0 < float(hours) < 10000
        except ValueError:
            positive = False
        if not positive:
            raise ValueError(f"--synthetic_{part}hours must be a positive number, got {hours}")
        options += [f"--{part}hours", hours]
    return options


def _alignment_options(recipe: Recipe) -> tuple[list[str], bool]:
    """`--alignments DIR`, if given, and whether bad ones are dropped."""
    options = recipe.options
    if options.alignments is None:
        return [], options.drop_bad_alignments
    if recipe.options.corpus_dir is None:
        raise ValueError("--alignments has no meaning without a corpus")
    for part in recipe.sets.parts:
        if not (options.alignments / part).is_dir():
            raise ValueError(f"--alignments: {options.alignments} has no {part}")
    return ["--alignments", str(options.alignments)], options.drop_bad_alignments


def _shell(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"({shlex.join(map(str, value))})"
    return shlex.quote(str(value))


if __name__ == "__main__":
    sys.exit(main())
