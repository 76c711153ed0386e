"""The report and the table of an experiment folder (stage 11)."""

import shlex

from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.commands import say


def report(recipe: Recipe) -> None:
    """Stage 11: write the page and the table, and print the short table."""
    # Late: matplotlib takes long to import.
    from espnet_ottc.report.writing import ReportOptions, write_report

    paths = recipe.paths
    options = ReportOptions(
        results=(paths.results,),
        expdir=paths.expdir,
        data=paths.datadir,
        html=paths.html,
        markdown=recipe.options.markdown or paths.markdown,
    )
    # The page says how it is made again.
    words = ["--results", str(paths.results), "--expdir", str(options.expdir)]
    words += ["--data", str(options.data), "--html", str(options.html)]
    words += ["--markdown", str(options.markdown)]
    for missing in write_report(options, f"python -m espnet_ottc.bin.report {shlex.join(words)}"):
        say(f"missing from the report: {missing}")
