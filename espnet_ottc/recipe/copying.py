"""The recipes' folders (`egs2/*_ottc`), and copies of them to work in."""

import filecmp
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = "TEMPLATE"
_SUFFIX = "_ottc"
# Of the template: finds Python and the package.
_PATHS = "path.sh"
# What a recipe's folder holds; what its runs leave there (data, exp, ...) is not copied.  setup.py has the
# same list.
RECIPE_FILES = ("*.sh", "*.md", "conf/**/*.yaml", "local/**/*")


def recipes_folder() -> Path:
    """The folder of all recipes: that of the installed package, or the repository's `egs2`.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "recipe" / "egs2", package.parent / "egs2")
    for folder in candidates:
        if (folder / TEMPLATE).is_dir():
            return folder
    raise FileNotFoundError(
        f"the recipes must be in {candidates[0]} or {candidates[1]}, and neither has {TEMPLATE}/"
    )


def recipe_names() -> list[str]:
    """The recipes that can be copied, without their suffix `_ottc`; none where they cannot be found."""
    try:
        folders = list(recipes_folder().glob(f"*{_SUFFIX}"))
    except FileNotFoundError:
        return []
    return sorted(folder.name.removesuffix(_SUFFIX) for folder in folders)


def copy_recipe(name: str, target: Path) -> Path:
    """Copy a recipe and the template that it calls.

    Args:
        name: one of `recipe_names`.
        target: folder for both, made where it is missing; several recipes may share it.

    Returns:
        The recipe's folder in it.

    Raises:
        ValueError: there is no such recipe.
        FileExistsError: the recipe was copied there before, or another version's template was.
    """
    source = recipes_folder()
    if name not in recipe_names():
        raise ValueError(f"the recipe must be one of {', '.join(recipe_names())}; got {name!r}")
    recipe, template = target / f"{name}{_SUFFIX}", target / TEMPLATE
    if recipe.exists():
        raise FileExistsError(f"{recipe} must not exist yet; remove it, or name another folder")
    if template.exists() and not _same(source / TEMPLATE, template):
        raise FileExistsError(
            f"{template} differs from that of this version of espnet-ottc; name another folder"
        )
    if not template.exists():
        _copy(source / TEMPLATE, template)
        _name_environment(template / _PATHS)
    _copy(source / recipe.name, recipe)
    return recipe


def _files(folder: Path) -> Iterator[Path]:
    for pattern in RECIPE_FILES:
        yield from (path.relative_to(folder) for path in folder.glob(pattern) if path.is_file())


def _copy(source: Path, target: Path) -> None:
    for path in _files(source):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, target / path)


def _same(source: Path, target: Path) -> bool:
    """Whether a copied template is this one, but for the environment that it names."""
    names = {str(path) for path in _files(source)}
    equal, _, _ = filecmp.cmpfiles(source, target, names - {_PATHS}, shallow=False)
    paths = target / _PATHS
    return (
        set(equal) == names - {_PATHS}
        and paths.is_file()
        and paths.read_bytes().endswith((source / _PATHS).read_bytes())
    )


def _name_environment(path: Path) -> None:
    """Put the environment that this process runs in first in the copied template's `path.sh`."""
    folder = Path(sys.executable).parent
    if (folder / "python").exists():
        lines = path.read_text(encoding="utf-8")
        path.write_text(
            "# The environment that this folder was copied from.\n"
            f'export PATH={shlex.quote(str(folder))}:"$PATH"\n{lines}',
            encoding="utf-8",
        )
