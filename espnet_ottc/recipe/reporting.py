"""The report and the table of an experiment folder (stage 11)."""

import shlex

from espnet_ottc.recipe.recipe import Recipe


def report(recipe: Recipe) -> None:
    """Stage 11: write the page and the table, and print the short table."""
    # Late: matplotlib takes long to import.
    from espnet_ottc.bin.report import parser, write

    paths = recipe.paths
    words = ["--results", str(paths.results), "--expdir", str(paths.expdir)]
    words += ["--data", str(paths.datadir), "--html", str(paths.html)]
    words += ["--markdown", str(recipe.options.markdown or paths.markdown)]
    # The page says how it is made again.
    write(parser().parse_args(words), f"python -m espnet_ottc.bin.report {shlex.join(words)}")
