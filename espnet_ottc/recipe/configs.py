"""Configurations: what a system's YAML and the files that it is based on amount to.

    python -m espnet_ottc.recipe.configs conf/mini               the systems of a folder
    python -m espnet_ottc.recipe.configs conf/mini ottc_joint    one of them, as ESPnet reads it

A YAML may say `base: FILE`, relative to itself, and then only what differs:

* Mappings are merged, key by key; any other value replaces the base's, `null` too.
* A `ctc_conf` with a `ctc_type` replaces the base's whole `ctc_conf`, since options belong to one criterion.
  It starts from the options that `criteria: {<ctc_type>: {...}}` of the base gives to that criterion. In
  `ctc_conf`, `null` takes an option away, so that the criterion's own default holds.
* `overlay: FILE` puts what that file says between the base and what the YAML itself says, so that one file
  adds the same to several systems.
* Options of `ctc_conf` and of `model_conf: {transfer_conf: ...}` that count epochs (`..._epoch`,
  `..._epochs`) may be shares of `max_epoch`, as `75%` (rounded), or count from the end of the training, as
  `-10` for the last ten epochs.

A folder whose `base.yaml` is based on that of another folder inherits its systems: `train_<system>.yaml` is
looked for in the folder itself, then in those of the base, the base's base and so on. Where an inherited
system is based on one of these `base.yaml`, or on a system that the folder has its own YAML for, the folder's
own takes its place.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from espnet_ottc.utils.files import written_aside

BASE = "base.yaml"
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")
_EPOCHS = ("_epoch", "_epochs")


@dataclass(frozen=True)
class Config:
    """A configuration without `base`, `criteria` and shares.

    Attributes:
        values: ESPnet's options.
        files: that it was made from, the system's own first; each counts more than the next.
        criteria: the values of `ctc_type` that its bases have options for.
    """

    values: Mapping[str, Any]
    files: tuple[Path, ...]
    criteria: tuple[str, ...] = ()


def resolve(path: Path, instead: Mapping[Path, Path] | None = None) -> Config:
    """The configuration that a YAML and its bases amount to.

    Args:
        path: of the YAML.
        instead: what takes the place of a file in the chain of bases; the first one found does, and brings
            its own bases.

    Raises:
        ValueError: a missing or unreadable file, one that is based on itself, a value of the wrong kind.
    """
    chain = _chain(path, instead)
    merged: dict[str, Any] = {}
    for content in reversed(chain.values()):
        merged = _merge(merged, content)
    try:
        criteria = _criteria(merged)
        values = _finished(merged, criteria)
        return Config(values, tuple(map(_shown, chain)), tuple(criteria))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def resolve_system(folder: Path, name: str) -> Config:
    """The configuration of a system of a folder, its own or inherited.

    Raises:
        ValueError: there is no such system; as `resolve`.
    """
    systems = system_files(folder)
    if name not in systems:
        there = ", ".join(systems) or "none"
        raise ValueError(f"there is no train_{name}.yaml in {_places(folder)}, but {there}")
    return resolve(systems[name], _nearer(folder, systems))


def system_files(folder: Path) -> dict[str, Path]:
    """The systems that a folder has or inherits, in the order of their names, and their YAMLs.

    Raises:
        ValueError: as `resolve`, for the folder's base.
    """
    found: dict[str, Path] = {}
    for place in _folders(folder):
        for path in place.glob("train_*.yaml"):
            found.setdefault(path.stem.removeprefix("train_"), path)
    return dict(sorted(found.items()))


def write(config: Config, path: Path) -> None:
    """Write the YAML that ESPnet reads, unless the file has these values already.

    Raises:
        OSError: it cannot be written.
    """
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        before = None
    if before != config.values:
        with written_aside(path) as aside:
            aside.write_text(render(config), encoding="utf-8")


def render(config: Config) -> str:
    """The YAML that ESPnet reads, with a header that says what it was made from."""
    files = "".join(f"#   {file}\n" for file in config.files)
    header = (
        f"{purpose(config.files[0])}"
        "# Made from these files; the first counts most. Change them, not this one.\n"
    )
    body = yaml.dump(
        dict(config.values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, indent=4
    )
    return f"{header}{files}{body}"


class _Dumper(yaml.SafeDumper):
    """Writes a list of plain values on one line."""


def _represent_list(dumper: _Dumper, values: list[Any]) -> yaml.nodes.SequenceNode:
    plain = not any(isinstance(value, list | dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


_Dumper.add_representer(list, _represent_list)


def purpose(path: Path) -> str:
    """The comment at the start of a YAML, with which each says what it is for."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    end = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end])


def _folders(folder: Path) -> list[Path]:
    base = folder / BASE
    inherited = [_shown(file).parent for file in _chain(base)] if base.is_file() else []
    return [folder, *inherited[1:]]


def _nearer(folder: Path, systems: Mapping[str, Path]) -> dict[Path, Path]:
    """What takes the place of files that a folder inherits: its `base.yaml`, and the nearest systems."""
    base = folder / BASE
    if not base.is_file():
        return {}
    nearer = dict.fromkeys(list(_chain(base))[1:], base)
    for place in _folders(folder):
        for path in place.glob("train_*.yaml"):
            own = systems[path.stem.removeprefix("train_")].resolve()
            if own != path.resolve():
                nearer[path.resolve()] = own
    return nearer


def _places(folder: Path) -> str:
    return " or ".join(dict.fromkeys(map(str, _folders(folder))))


def _chain(path: Path, instead: Mapping[Path, Path] | None = None) -> dict[Path, dict[str, Any]]:
    """A YAML and the files that it is based on, without symbolic links, and what each says itself.

    An overlay, with its own bases, comes before the base: it counts more.
    """
    chain: dict[Path, dict[str, Any]] = {}
    instead = instead or {}
    file = path.resolve()
    while True:
        content = _read(file, because=_shown([*chain][-1]) if chain else None)
        base = content.pop("base", None)
        overlay = content.pop("overlay", None)
        chain[file] = content
        for name, value in (("base", base), ("overlay", overlay)):
            if value is not None and not isinstance(value, str):
                raise ValueError(
                    f"{_shown(file)}: {name} must be the name of a file, got {value!r}"
                )
        folder = file.parent
        if overlay is not None:
            chain |= _chain(folder / overlay)
        if base is None:
            return chain
        file = (folder / base).resolve()
        nearer = instead.get(file, file).resolve()
        if nearer in {own.resolve() for own in instead.values()}:
            file, instead = nearer, {}  # from here on these are the folder's own bases
        if file in chain:
            circle = " -> ".join(str(_shown(each)) for each in (*chain, file))
            raise ValueError(f"{path}: a configuration cannot be based on itself: {circle}")


def _read(file: Path, because: Path | None) -> dict[str, Any]:
    shown = _shown(file)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        origin = f"{because}: its base " if because else ""
        raise ValueError(f"{origin}{shown} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{shown}: must be YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{shown}: must be a mapping of ESPnet's options, got {content!r}")
    return content


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        anew = name == "ctc_conf" and isinstance(value, Mapping) and "ctc_type" in value
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not anew:
            merged[name] = _merge(old, value)
        else:
            merged[name] = value
    return merged


def _criteria(merged: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    criteria = merged.get("criteria") or {}
    if not isinstance(criteria, dict) or not all(
        isinstance(options, Mapping) and "ctc_type" not in options for options in criteria.values()
    ):
        raise ValueError(
            f"criteria must be options of ctc_conf for each ctc_type, without ctc_type, got {criteria!r}"
        )
    return criteria


def _finished(
    merged: Mapping[str, Any], criteria: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    values = {name: value for name, value in merged.items() if name != "criteria"}
    conf = values.get("ctc_conf")
    if isinstance(conf, Mapping):
        kind = conf.get("ctc_type")
        options = {"ctc_type": kind} if "ctc_type" in conf else {}
        options |= {**criteria.get(str(kind), {}), **conf}
        kept = {name: value for name, value in options.items() if value is not None}
        values["ctc_conf"] = dict(_with_epochs(kept, values.get("max_epoch")))
    model = values.get("model_conf")
    if isinstance(model, Mapping) and isinstance(model.get("transfer_conf"), Mapping):
        options = dict(_with_epochs(model["transfer_conf"], values.get("max_epoch")))
        values["model_conf"] = {**model, "transfer_conf": options}
    return values


def _with_epochs(options: Mapping[str, Any], max_epoch: object) -> Iterator[tuple[str, Any]]:
    """Options with numbers of epochs instead of shares."""
    for name, value in options.items():
        yield name, _epochs(name, value, max_epoch) if name.endswith(_EPOCHS) else value


def _epochs(name: str, value: object, max_epoch: object) -> object:
    share = _SHARE.fullmatch(value) if isinstance(value, str) else None
    from_end = isinstance(value, int) and value < 0
    if share is None and not from_end:
        return value
    if not isinstance(max_epoch, int) or max_epoch < 1:
        raise ValueError(f"{name}: {value} needs max_epoch, a number of epochs, got {max_epoch!r}")
    epochs = Fraction(share[1]) / 100 * max_epoch if share else max_epoch + int(str(value))
    if not 0 <= epochs <= max_epoch:
        raise ValueError(f"{name} must lie in the training's {max_epoch} epochs, got {value}")
    return round(epochs)


def _shown(file: Path) -> Path:
    """A file as seen from the current folder, from where recipes run."""
    return Path(os.path.relpath(file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_ottc.recipe.configs",
        description="List the systems of a folder of configurations, or print one as ESPnet reads it.",
    )
    parser.add_argument("folder", type=Path, help="such as conf/mini of a recipe")
    parser.add_argument("system", nargs="?", help="its name, as for --systems")
    options = parser.parse_args(arguments)
    try:
        if options.system is not None:
            print(render(resolve_system(options.folder, options.system)), end="")
            return 0
        for name, path in system_files(options.folder).items():
            print(f"{name:<32} {path}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
