"""What is checked before any stage runs.

Nothing that an option, a path or a YAML holds is given to a shell.  What ESPnet would misread, or take for a
Python object to make, is refused here.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from espnet_ottc.alignment.boundary.options import parse_boundary_conf
from espnet_ottc.espnet.criteria.options import OPTIONS, parse_conf
from espnet_ottc.espnet.transfer.options import parse_transfer_conf
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.alignment_source import alignment_source
from espnet_ottc.recipe.clusters import TRAINING, Clusters
from espnet_ottc.recipe.configs import write
from espnet_ottc.recipe.other_tools import other_tools
from espnet_ottc.recipe.paths import made_for_file
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import TRAINING_STAGES, System
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.json_files import read_json_object

# ESPnet's options take `path,name,type` and `key=value`.
_UNFIT = re.compile(r"[,=\x00-\x1f\x7f]")
_NAME = re.compile(r"[\w.+][\w.+-]*")


def check(recipe: Recipe) -> None:
    """Check the options of a run, note what its folders are made for, and write its configurations.

    Raises:
        ValueError: options that cannot be or do not fit together, a folder that was made for other data
            or configurations, too few GPUs, --ali_from without a model, a system that trains on a forced
            alignment and nobody to align.
        ImportError: --ctc_aligner k2 without k2.
        OSError: a corpus that is not there.
    """
    _check_systems(recipe)
    _check_names(recipe)
    _check_other_tools(recipe)
    _check_training_options(recipe)
    _check_synthetic(recipe)
    _check_machine(recipe)
    _check_alignment_source(recipe)
    _check_decoders(recipe)
    _check_shar(recipe)
    sets, paths = recipe.sets, recipe.paths
    if recipe.options.corpus_dir is not None:
        # A fault of the corpus is found before a folder is made.
        recipe.corpus_inputs()
    bind(
        paths.datadir,
        {"corpus": recipe.corpus_dir, "training set": sets.train},
        "--datadir",
    )
    bind(
        paths.expdir,
        {
            "data": paths.datadir,
            "configurations": recipe.conf,
            "tokens": paths.token_dir.name,
        },
        "--expdir",
    )
    for system in recipe.systems:
        write(system.made_of, paths.configuration(system.name))


def bind(folder: Path, made_for: Mapping[str, str | Path], option: str) -> None:
    """Note what a folder is made for; refuse to use it for anything else.

    A relative path is noted as seen from the folder, so that a copy of both is made for the copy.

    Args:
        folder: the folder; made where there is none.
        made_for: what is noted; each value by its name.
        option: that names the folder, for the message.

    Raises:
        ValueError: it was made for something else.
    """
    path = made_for_file(folder)
    try:
        before = read_json_object(path)
    except FileNotFoundError:
        write_json(path, {name: _noted(value, folder) for name, value in made_for.items()})
        return
    for name, value in made_for.items():
        noted, now = before.get(name), str(value)
        if isinstance(value, Path):
            noted = str((folder.resolve() / str(noted)).resolve())
            now = str(value.resolve())
        if noted != now:
            raise ValueError(
                f"{folder} was made for the {name} {noted}, not {now}; "
                f"give another folder ({option}) or remove this one"
            )


def _noted(value: str | Path, folder: Path) -> str:
    if isinstance(value, Path):
        there = value.resolve()
        return str(there) if value.is_absolute() else os.path.relpath(there, folder.resolve())
    return value


def _check_systems(recipe: Recipe) -> None:
    """Systems that share statistics, and criteria that ESPnet can make."""
    for system in recipe.systems:
        if system.times_only:
            _check_times_only(recipe, system)
    for system in recipe.recognisers:
        first = recipe.recognisers[0]
        if system.features != first.features:
            raise ValueError(
                f"{system.path} must have the frontend and normalisation of {first.path}, since "
                f"they share {recipe.paths.stats}; or run them with an --expdir each"
            )
        unknown = set(system.made_of.criteria) - {"builtin", *OPTIONS}
        if unknown:
            raise ValueError(
                f"{system.path}: criteria of its bases must be among builtin, {', '.join(OPTIONS)}, "
                f"got {', '.join(sorted(unknown))}"
            )
        _check_transfer(recipe, system)
        conf = system.ctc_conf
        kind = OPTIONS.get(str(conf.get("ctc_type")))
        if kind is not None:
            try:
                parse_conf(conf, kind)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{system.path}: {error}") from error


def _check_times_only(recipe: Recipe, system: System) -> None:
    """Options of a boundary model, and a recogniser for what tunes one."""
    unknown = sorted(set(system.config) - {"boundary_conf", "tune"})
    if unknown:
        raise ValueError(
            f"{system.path}: a system of times has boundary_conf and tune, got {', '.join(unknown)}"
        )
    try:
        parse_boundary_conf(system.boundary_conf).check_dictionary()
    except (OSError, ValueError) as error:
        raise ValueError(f"{system.path}: {error}") from error
    name = system.tunes
    known = name is None or name in [one.name for one in recipe.recognisers]
    for seed in recipe.seeds:
        if not known and not recipe.paths.model(str(name), seed).is_file():
            raise ValueError(
                f"{system.name}: it tunes {name}, which is not trained: name {name} in --systems too"
            )


def _check_transfer(recipe: Recipe, system: System) -> None:
    conf = system.transfer_conf
    if conf is None:
        return
    if system.needs_teacher:
        conf = {**conf, "teacher_path": str(recipe.paths.teacher)}
    try:
        parse_transfer_conf(conf)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{system.path}: {error}") from error


def _check_names(recipe: Recipe) -> None:
    """What becomes part of ESPnet's options has to be read by ESPnet as it stands."""
    options = recipe.options
    folders = {"--datadir": options.datadir, "--expdir": options.expdir, "--conf": options.conf}
    if options.ali_from is not None:
        folders["--ali_from"] = options.ali_from
    if options.shar is not None:
        folders["--shar"] = options.shar
    for option, folder in folders.items():
        text = str(folder)
        if _UNFIT.search(text) or text.startswith("-") or _as_yaml(f"{text}/x") != f"{text}/x":
            raise ValueError(
                f"{option}: ESPnet cannot take this path, got {text!r}: no comma, equals sign, line break or "
                "other control character, no - or YAML sign at its start, no ': ' or ' #' in it"
            )
    names = {"--inference_model": [options.inference_model], "--ali_system": [options.ali_system]}
    names["--systems"] = [system.name for system in recipe.systems]
    names["--decoders"] = list(recipe.decoders)
    for option, texts in names.items():
        for text in texts:
            if not _NAME.fullmatch(text):
                raise ValueError(f"{option}: must be of letters, digits and _ . + -, got {text!r}")


def _check_other_tools(recipe: Recipe) -> None:
    taken = {model.name for model in recipe.models}
    for tool in other_tools(recipe):
        if not _NAME.fullmatch(tool) or tool in taken:
            raise ValueError(
                f"--other_times: {tool!r} must be of letters, digits and _ . + -, and no system of the run"
            )


def _check_training_options(recipe: Recipe) -> None:
    """ESPnet makes any Python object that the YAML in its options names: only plain YAML goes through."""
    try:
        words = shlex.split(recipe.options.train_args)
    except ValueError as error:
        raise ValueError(f"--train_args: {error}, got {recipe.options.train_args!r}") from error
    for word in words:
        for text in (word, word.partition("=")[2]):
            try:
                yaml.safe_load(text)
            except yaml.constructor.ConstructorError as error:
                raise ValueError(f"--train_args: must be plain YAML, got {word!r}") from error
            except yaml.YAMLError:
                continue  # no YAML at all, or ESPnet says so


def _as_yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _check_synthetic(recipe: Recipe) -> None:
    for name, hours in recipe.synthetic_hours.items():
        option = f"--synthetic_{name}"
        if recipe.options.corpus_dir is not None:
            raise ValueError(f"{option} has no meaning with a corpus given")
        try:
            positive = 0 < float(hours) < 10000
        except ValueError:
            positive = False
        if not positive:
            raise ValueError(f"{option} must be a positive number, got {hours}")
    alignments = recipe.options.alignments
    if alignments is None:
        return
    if recipe.options.corpus_dir is None:
        raise ValueError("--alignments has no meaning without a corpus")
    for part in recipe.sets.parts:
        if not (alignments / part).is_dir():
            raise ValueError(f"--alignments: {alignments} has no {part}")


def _check_machine(recipe: Recipe) -> None:
    options = recipe.options
    if options.ngpu and not os.environ.get(jobs.TRAIN) and options.cluster is None:
        # Late: it takes long to import.
        import torch

        available = torch.cuda.device_count()
        if options.ngpu > available:
            raise ValueError(f"--ngpu {options.ngpu}: this machine has {available}")
    clusters = Clusters(options.cluster)
    if clusters.elsewhere:
        trains = clusters.workers(TRAINING)
        if trains.cluster != "address" and trains.gpus < options.ngpu:
            raise ValueError(
                f"--ngpu {options.ngpu}: workers of {options.cluster} have {trains.gpus}"
            )
    if options.ctc_aligner == "k2":
        from espnet_ottc.alignment.aligners.k2_ctc import import_k2

        import_k2()


def _check_alignment_source(recipe: Recipe) -> None:
    """A system that trains on a forced alignment needs somebody to align."""
    options = recipe.options
    trains = options.stage <= TRAINING_STAGES["ottc"] <= options.stop_stage
    name, given = options.ali_system, options.ali_from
    learners = [system.name for system in recipe.systems if system.needs_alignment]
    known = given is not None or name in [system.name for system in recipe.systems]
    for seed in recipe.seeds:
        model = alignment_source(recipe, seed).model
        if trains and learners and not known and not model.is_file():
            raise ValueError(
                f"{', '.join(learners)}: trained on the forced alignment of {name}, and there is no {model}; "
                f"name {name} in --systems too, another one in --ali_system, or a model in --ali_from"
            )


def _check_shar(recipe: Recipe) -> None:
    if recipe.options.shar is None:
        return
    for system in recipe.systems:
        if system.needs_alignment:
            raise ValueError(
                f"{system.name} trains on a forced alignment, which --shar has not: "
                "streams have audio and texts alone"
            )


def _check_decoders(recipe: Recipe) -> None:
    for path in recipe.decoders.values():
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path}: must be YAML: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: must be a mapping of ESPnet's options, got {content!r}")
