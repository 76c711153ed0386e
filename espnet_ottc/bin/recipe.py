"""Recipes: copy one out of the package, or run stages of the one in this folder.

    ottc-recipe new librispeech work      work/librispeech_ottc and work/TEMPLATE, then: ./run.sh
    ottc-recipe run --help                the options of run.sh

`ottc-recipe run` is what run.sh calls: `python -m espnet_ottc.recipe`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.recipe.copying import copy_recipe, recipe_names
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.extras import MissingExtraError, require_extra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        return _run(given[1:])
    options = _parser().parse_args(given)
    return run(lambda: _new(options))


def _new(options: argparse.Namespace) -> None:
    folder = copy_recipe(options.recipe, options.directory)
    print(f"{folder}: cd there, see its run.sh, and start with ./run.sh")
    try:
        require_extra("recipe", "the recipe", ("espnet2",))
    except MissingExtraError as missing:
        print(f"note: {missing}", file=sys.stderr)


def _run(arguments: Sequence[str]) -> int:
    if status := run(lambda: require_extra("recipe", "ottc-recipe run", ("espnet2", "lhotse"))):
        return status
    stages = importlib.import_module("espnet_ottc.recipe.__main__")
    return int(stages.main(arguments) or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ottc-recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="copy a recipe's folder, with the template that it calls")
    new.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(recipe_names())}")
    new.add_argument("directory", type=Path, metavar="DIR", help="folder for both copies")
    commands.add_parser("run", add_help=False, help="the stages of the recipe in this folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
